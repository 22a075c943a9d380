"""Completions through the official client."""

import concurrent.futures

import pytest
from conftest import generate

PROMPT = "Genesis 11\n\n"


def complete(client, prompt=PROMPT, max_tokens=32, **options):
    return client.completions.create(**{"model": "kjv", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0,
                                        **options})


@pytest.fixture(scope="module")
def expected():
    return generate(PROMPT, 32)[0]


def test_the_output_equals_generates(client, expected):
    answer = complete(client)
    assert answer.object == "text_completion"
    assert answer.choices[0].text == expected
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 32
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 32


def test_a_stream_has_the_same_output_and_ends_with_usage(client, expected):
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == expected
    assert len(chunks) > 10
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 32


def test_prompts_may_be_ids_and_lists(server, client, expected):
    _, tokenized = server.post("/tokenize", {"prompt": PROMPT})
    assert complete(client, tokenized["tokens"]).choices[0].text == expected
    answer = complete(client, [PROMPT, "Exodus 21\n\n"])
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].text == expected
    assert answer.choices[1].text == generate("Exodus 21\n\n", 32)[0]
    assert complete(client, [tokenized["tokens"]]).choices[0].text == expected


def test_concurrent_outputs_equal_outputs_alone(client):
    prompts = [f"{book} {chapter}\n\n" for book in ("Genesis", "Exodus", "Psalms", "Job") for chapter in (3, 7, 12, 20)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda prompt: complete(client, prompt, 24).choices[0].text, prompts))
    assert answers == [generate(prompt, 24)[0] for prompt in prompts]


def test_seeds_repeat_and_differ(client):
    def text(seed):
        return complete(client, temperature=1.0, seed=seed).choices[0].text

    assert text(7) == text(7)
    assert len({text(seed) for seed in range(5)}) > 1
    assert complete(client, temperature=1.0).choices[0].text != complete(client, temperature=1.0).choices[0].text


def test_n_choices(client):
    answer = complete(client, n=3, temperature=1.0, seed=1, max_tokens=12)
    assert len({choice.text for choice in answer.choices}) == 3
    assert answer.usage.completion_tokens == 36


def test_stop_strings(client, expected):
    at = expected.index("Philistines")
    answer = complete(client, stop=["Philistines", "no such words"])
    assert answer.choices[0].text == expected[:at]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].model_extra["stop_reason"] == "Philistines"
    chunks = list(complete(client, stop="Philistines", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected[:at]


def test_stop_tokens_and_ignore_eos(server, client, expected):
    _, tokenized = server.post("/tokenize", {"prompt": " it", "add_special_tokens": False})
    answer = complete(client, extra_body={"stop_token_ids": tokenized["tokens"]})
    assert answer.choices[0].text == expected[: expected.index(" it")]
    answer = complete(client, max_tokens=700, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 700 and answer.choices[0].finish_reason == "length"


def test_logprobs(client):
    logprobs = complete(client, logprobs=3, max_tokens=8).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 8
    for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
        assert len(top) == 3 and max(top.values()) == top[token] == logprob < 0


def test_echo(client, expected):
    answer = complete(client, echo=True, logprobs=0, max_tokens=4)
    choice = answer.choices[0]
    assert choice.text.startswith(PROMPT) and expected.startswith(choice.text[len(PROMPT):])
    assert len(choice.logprobs.tokens) == answer.usage.prompt_tokens + 4
    assert choice.logprobs.token_logprobs[0] is None
    assert all(logprob < 0 for logprob in choice.logprobs.token_logprobs[1:])


def test_penalties_and_logit_bias_change_the_output(server, client, expected):
    assert complete(client, presence_penalty=1.5, frequency_penalty=1).choices[0].text != expected
    assert complete(client, extra_body={"repetition_penalty": 1.4}).choices[0].text != expected
    _, tokenized = server.post("/tokenize", {"prompt": " LORD", "add_special_tokens": False})
    answer = complete(client, logit_bias={str(tokenized["tokens"][0]): 100}, max_tokens=3)
    assert answer.choices[0].text == " LORD LORD LORD"


def test_a_conversation_is_cached(client):
    text = "Deuteronomy 4\n\n"
    for turn in range(3):
        answer = complete(client, text, 24)
        assert answer.choices[0].text == generate(text, 24)[0]
        cached = answer.usage.prompt_tokens_details.cached_tokens
        assert cached >= answer.usage.prompt_tokens - 8 if turn else cached <= 1
        text += answer.choices[0].text + " And he said"


def test_return_tokens_marks_drafted_ones(client):
    choice = complete(client, extra_body={"return_tokens": True}).choices[0]
    tokens = choice.model_extra["tokens"]
    assert "".join(token["text"] for token in tokens) == choice.text
    speculation = choice.model_extra["speculation"]
    assert sum(token["drafted"] for token in tokens) <= speculation["num_accepted_tokens"] <= speculation["num_draft_tokens"]
    assert speculation["num_accepted_tokens"] > 0
