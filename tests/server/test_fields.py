"""Every field of a request is obeyed, or refused by name."""

import openai
import pytest
from conftest import wait_until

QUESTION = [{"role": "user", "content": "Genesis 1"}]
THINKING = {"chat_template_kwargs": {"thinking": True}}
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]


def complete(client, prompt="Genesis 1\n\n", max_tokens=24, **fields):
    return client.completions.create(model="kjv", prompt=prompt, max_tokens=max_tokens, temperature=0, extra_body=fields)


def chat(client, max_tokens=24, messages=QUESTION, **fields):
    return client.chat.completions.create(model="kjv", messages=messages, max_tokens=max_tokens, temperature=0,
                                          extra_body=fields)


@pytest.fixture(scope="module")
def ids(server):
    """Token ids of a text, which must be one token if `one` is set."""

    def encode(text, one=False):
        tokens = server.post("/tokenize", {"prompt": text, "add_special_tokens": False})[1]["tokens"]
        assert not one or len(tokens) == 1
        return tokens[0] if one else tokens

    return encode


@pytest.fixture(scope="module")
def plain(serve):
    """A client of a server without drafts."""
    return serve("--max-model-len", 512, "--no-speculation").client()


@pytest.mark.parametrize("fields", [
    {"min_tokens": 16, "stop": ["have"]},
    {"bad_words": ["the", "and", "God"]},
    {"allowed_token_ids": list(range(260, 900))},
    {"thinking_token_budget": 5, **THINKING},
    {"thinking_token_budget": 4, "response_format": {"type": "json_object"}, **THINKING},
    {"min_tokens": 30, "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": [1, 2]}}}},
    {"bad_words": [",", "the"], "thinking_token_budget": 9, "min_tokens": 20, **THINKING},
], ids=lambda fields: "+".join(fields))
def test_rules_do_not_depend_on_drafts(client, plain, fields):
    answers = [chat(each, max_tokens=40, return_token_ids=True, **fields).choices[0] for each in (client, plain)]
    assert answers[0].message == answers[1].message
    assert answers[0].model_extra["token_ids"] == answers[1].model_extra["token_ids"]
    assert answers[0].message != chat(client, max_tokens=40).choices[0].message


def test_min_tokens(client, ids):
    text = complete(client).choices[0].text
    stop = text[text.index(" ") + 1:][:3]
    early = complete(client, stop=[stop], return_token_ids=True).choices[0]
    late = complete(client, stop=[stop], min_tokens=12, return_token_ids=True).choices[0]
    assert len(early.model_extra["token_ids"]) < 12 <= len(late.model_extra["token_ids"])
    end = early.model_extra["token_ids"][-1]
    assert end in complete(client, return_token_ids=True).choices[0].model_extra["token_ids"][:6]
    tokens = complete(client, stop_token_ids=[end], min_tokens=12, return_token_ids=True).choices[0].model_extra["token_ids"]
    assert end not in tokens[:12]


def test_bad_words(client):
    text = complete(client, max_tokens=60).choices[0].text
    assert " the" in text
    assert "the" not in complete(client, max_tokens=60, bad_words=["the", "them", "they", "their"]).choices[0].text.split()


def test_allowed_token_ids(client, ids):
    allowed = [ids(" LORD", one=True), ids(" God", one=True)]
    choice = complete(client, allowed_token_ids=allowed, return_token_ids=True).choices[0]
    assert set(choice.model_extra["token_ids"]) <= {*allowed} and choice.finish_reason == "length"


def test_nothing_is_left(server, client, ids):
    with pytest.raises(openai.BadRequestError, match="No token is allowed as number 1 of the output"):
        complete(client, allowed_token_ids=[ids("</think>", one=True)], response_format={"type": "json_object"})
    with pytest.raises(openai.APIError, match="No token is allowed as number 3 "):
        list(client.completions.create(model="kjv", prompt="a", max_tokens=9, stream=True, extra_body={
            "allowed_token_ids": [ids(" God", one=True)], "bad_words": [" God God God"]}))
    wait_until(lambda: server.metrics()["vllm:num_requests_running"] == 0)  # without another request
    assert complete(client).choices[0].text


# The second token, which may be a draft, ends the text before a third is missing.
def test_an_output_that_ends_in_time_is_no_error(client, plain, ids):
    fields = {"allowed_token_ids": [ids(" God", one=True)], "bad_words": [" God God God"]}
    for each in (client, plain):
        choice = complete(each, "a", 9, stop=[" God God"], **fields).choices[0]
        assert (choice.finish_reason, choice.stop_reason, choice.text) == ("stop", " God God", "")
        stream = each.completions.create(model="kjv", prompt="a", max_tokens=9, stream=True, extra_body=fields)
        texts = []
        with pytest.raises(openai.APIError, match="No token is allowed as number 3 "):
            for chunk in stream:
                texts.append(chunk.choices[0].text)
        assert "".join(texts) == " God God"


def test_prompts_and_choices_are_sampled_independently(client):
    def texts(**fields):
        answer = client.completions.create(model="kjv", prompt=["Genesis 1\n\n"] * 3, max_tokens=40, temperature=1, n=2,
                                           **fields)
        return [choice.text for choice in answer.choices]

    assert len(set(texts())) == 6
    assert len(set(texts(seed=-1))) == 6 and texts(seed=-1) != texts(seed=-1)
    given = texts(seed=7)
    assert given == texts(seed=7) and given[:2] == given[2:4] == given[4:] and given[0] != given[1]


def test_stop_reason_is_the_token_that_stopped(client, ids):
    first = complete(client, return_token_ids=True).choices[0].model_extra["token_ids"]
    choice = complete(client, stop_token_ids=[first[3]]).choices[0]
    assert (choice.finish_reason, choice.model_extra["stop_reason"]) == ("stop", first[3])
    chunks = list(client.completions.create(model="kjv", prompt="Genesis 1\n\n", max_tokens=24, temperature=0, stream=True,
                                            extra_body={"stop_token_ids": [first[3]]}))
    assert chunks[-1].choices[0].model_extra["stop_reason"] == first[3]


@pytest.mark.parametrize("stream", [False, True])
def test_hidden_reasoning_is_not_told_by_tokens(client, stream):
    answer = client.chat.completions.create(model="kjv", messages=QUESTION, max_tokens=8, logprobs=True, stream=stream,
                                            extra_body={"include_reasoning": False, "return_token_ids": True,
                                                        "return_tokens": True, **THINKING})
    for each in answer if stream else [answer]:
        choice = each.choices[0]
        assert choice.logprobs is None and not {"token_ids", "tokens"} & set(choice.model_extra)


def test_reasoning_has_both_names(client):
    message = chat(client, **THINKING).choices[0].message.model_extra
    assert message["reasoning"] and message["reasoning"] == message["reasoning_content"]


def test_an_echoed_prompt_of_ids_has_its_special_tokens(client):
    answer = client.completions.create(model="kjv", prompt=[0, 300, 301], max_tokens=1, echo=True, logprobs=0)
    choice = answer.choices[0]
    assert choice.text.startswith("<｜begin▁of▁sentence｜>")
    for token, offset in zip(choice.logprobs.tokens, choice.logprobs.text_offset):
        assert choice.text[offset:].startswith(token)


def test_refusals_name_the_field(client):
    for fields in ({"allowed_token_ids": [1, -5]}, {"stop_token_ids": ["a"]}, {"temperature": -1}, {"top_p": 2},
                   {"repetition_penalty": 0}, {"logprob_token_ids": []}):
        with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError)) as refused:
            client.completions.create(model="kjv", prompt="a", max_tokens=1, extra_body=fields)
        assert refused.value.param == next(iter(fields)), refused.value
    for empty in ([[]], []):
        with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError)) as refused:
            client.completions.create(model="kjv", prompt=empty, max_tokens=1)
        assert refused.value.param == "prompt" and refused.value.code != "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match=r"messages\[0\]"):
        chat(client, messages=[{"role": "king", "content": ""}], tools=TOOLS)


def test_tools_of_a_message_are_called(client):
    schema = {"type": "object", "properties": {"book": {"enum": ["Job"]}}, "required": ["book"]}
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": schema}}]
    messages = [{"role": "system", "content": "", "tools": tools}, *QUESTION]
    message = chat(client, 200, messages, structured_outputs={"choice": [
        '\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="look_up">\n<｜DSML｜parameter name="book" string="true">Job'
        '</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>']}).choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["look_up"], message
    with pytest.raises(openai.BadRequestError, match="leave one of them") as refused:
        chat(client, 60, messages, tools=tools)
    assert refused.value.param == "tools"


@pytest.mark.parametrize("budget", [0, 1, 6])
def test_thinking_token_budget(client, ids, budget):
    choice = chat(client, thinking_token_budget=budget, return_token_ids=True, **THINKING).choices[0]
    assert choice.model_extra["token_ids"].index(ids("</think>", one=True)) == budget
    assert choice.message.content
    hidden = chat(client, thinking_token_budget=budget, include_reasoning=False, **THINKING).choices[0].message
    assert hidden.content == choice.message.content and "reasoning_content" not in hidden.model_extra


def test_the_last_message_is_continued(client, server):
    whole = chat(client).choices[0].message.content
    begun = whole[:whole.index(" ", 8)]
    messages = [*QUESTION, {"role": "assistant", "content": begun}]
    fields = {"continue_final_message": True, "add_generation_prompt": False}
    assert whole.startswith(begun + chat(client, 6, messages, **fields).choices[0].message.content)
    assert whole.startswith(chat(client, 6, messages, echo=True, **fields).choices[0].message.content)
    stream = client.chat.completions.create(model="kjv", messages=messages, max_tokens=6, temperature=0, stream=True,
                                            extra_body={"echo": True, **fields})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream).startswith(begun)
    prompt = server.post("/tokenize", {"messages": messages, **fields})[1]["tokens"]
    assert server.post("/detokenize", {"tokens": prompt})[1]["prompt"].endswith("</think>" + begun)


def test_prompt_logprobs(client):
    choice = complete(client, max_tokens=1, prompt_logprobs=2, return_token_ids=True).choices[0]
    prompt = choice.model_extra["prompt_token_ids"]
    first, *others = choice.model_extra["prompt_logprobs"]
    assert first is None and len(others) == len(prompt) - 1
    for token, entries in zip(prompt[1:], others):
        own = entries[str(token)]
        assert own["rank"] >= 1 and own["logprob"] < 0 and own["decoded_token"]
        assert sorted(entry["rank"] for entry in entries.values())[:2] == [1, 2]
        assert len(entries) == (2 if own["rank"] <= 2 else 3)
    # The same as those of an echo, and of a chat.
    echoed = client.completions.create(model="kjv", prompt="Genesis 1\n\n", max_tokens=1, echo=True, logprobs=1).choices[0]
    assert echoed.logprobs.token_logprobs[1:-1] == [e[str(t)]["logprob"] for t, e in zip(prompt[1:], others)]
    answer = chat(client, 1, prompt_logprobs=0, return_token_ids=True)
    assert len(answer.model_extra["prompt_logprobs"]) == len(answer.model_extra["prompt_token_ids"])


def test_logprobs_of_listed_tokens(client, ids):
    listed = ids(" God") + ids(" LORD")
    answer = client.chat.completions.create(model="kjv", messages=QUESTION, max_tokens=3, logprobs=True, extra_body={
        "logprob_token_ids": listed, "return_tokens_as_token_ids": True})
    for token in answer.choices[0].logprobs.content:
        names = [f"token_id:{id}" for id in listed]
        assert [top.token for top in token.top_logprobs] == [token.token] * (token.token not in names) + names


def test_truncate_prompt_tokens(client):
    whole = complete(client, return_token_ids=True).choices[0].model_extra["prompt_token_ids"]
    for fields, kept in (({}, whole[-3:]), ({"truncation_side": "right"}, whole[:3])):
        choice = complete(client, truncate_prompt_tokens=3, return_token_ids=True, **fields).choices[0]
        assert choice.model_extra["prompt_token_ids"] == kept
    answer = complete(client, "and " * 5000, max_tokens=2, truncate_prompt_tokens=-1)
    assert answer.usage.prompt_tokens == 4094
    assert chat(client, truncate_prompt_tokens=1).usage.prompt_tokens == 1


def test_other_fields_of_the_response(client):
    answer = chat(client, 2, request_id="of-mine", return_prompt_text=True, cache_salt="pepper")
    assert answer.id == "chatcmpl-of-mine"
    assert answer.model_extra["prompt_text"].endswith("Genesis 1<｜Assistant｜></think>")
    assert chat(client, 2, cache_salt="pepper").usage.prompt_tokens_details.cached_tokens == 0
    chunks = list(client.completions.create(model="kjv", prompt="Genesis 1\n\n", max_tokens=3, stream=True, stream_options={
        "include_usage": True, "continuous_usage_stats": True}))
    assert all(chunk.usage.total_tokens > chunk.usage.prompt_tokens for chunk in chunks)


@pytest.mark.parametrize("fields", [{}, THINKING, {"skip_special_tokens": False}, {"tools": TOOLS},
                                    {"tools": TOOLS, "skip_special_tokens": False, **THINKING}],
                         ids=lambda fields: "+".join(fields) or "plain")
def test_markers_never_leak(client, ids, fields):
    markers = [ids(marker, one=True) for marker in ("<｜Assistant｜>", "<｜User｜>")]
    bias = {str(marker): 100 for marker in markers}
    allowed = [*markers, ids(" God", one=True), ids("</think>", one=True)]
    for options in ({"logit_bias": bias}, {"allowed_token_ids": markers}, {"allowed_token_ids": allowed},
                    {"logit_bias": bias, "stop": ["ser｜>"]}, {"logit_bias": bias, "stop": ["nt｜>"]}):
        message = chat(client, 8, return_token_ids=True, **options, **fields).choices[0].message
        stream = client.chat.completions.create(model="kjv", messages=QUESTION, max_tokens=8, temperature=0, stream=True,
                                                extra_body={**options, **fields})
        deltas = [chunk.choices[0].delta for chunk in stream]
        streamed = "".join((d.content or "") + ((d.model_extra or {}).get("reasoning_content") or "") for d in deltas)
        for text in (message.content or "", message.model_extra.get("reasoning_content") or "", streamed):
            assert "｜" not in text and "think" not in text


@pytest.mark.parametrize("fields, param", [
    ({"typo_temprature": 0}, "typo_temprature"),
    ({"use_beam_search": True}, "use_beam_search"),
    ({"length_penalty": 2}, "length_penalty"),
    ({"chat_template": "{{ messages }}"}, "chat_template"),
    ({"mirostat": 2}, "mirostat"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"chat_template_kwargs": {"thinkng": True}}, "chat_template_kwargs.thinkng"),
    ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b.png"}}]}]},
     "messages[0].content"),
    ({"messages": [{"role": "user", "content": "a", "colour": "red"}]}, "messages[0].colour"),
    ({"stop_token_ids": [2048]}, "stop_token_ids"),
    ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
    ({"messages": [{"role": "user", "content": "a " * 2_000_000}]}, "messages"),
])
def test_what_is_not_obeyed_is_refused(server, fields, param):
    status, answer = server.post("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 1, **fields})
    assert status == 400 and answer["error"]["param"] == param and param.split(".")[0] in answer["error"]["message"] + param


def test_harmless_fields_are_ignored(server):
    body = {"messages": QUESTION, "max_tokens": 1, "user": "a", "store": True, "service_tier": "auto", "n_probs": 0,
            "use_beam_search": False, "length_penalty": 1.0, "zebra": None, "metadata": {"a": "b"}}
    assert server.post("/v1/chat/completions", body)[0] == 200
    assert server.post("/tokenize", {"prompt": "a", "temperature": 1})[0] == 400
    assert server.post("/detokenize", {"tokens": [2048]})[0] == 400
