"""Flags of `vllm serve` that change responses."""

import json

import pytest

from conftest import MODEL

QUESTION = {"model": "kjv", "messages": [{"role": "user", "content": "Psalms 23"}]}


def prompt_ids(server, **fields):
    return server.post("/tokenize", {**QUESTION, **fields})[1]["tokens"]


def test_default_chat_template_kwargs(server, serve):
    thinking = serve("--max-model-len", 512, "--default-chat-template-kwargs.thinking=true")
    asked = {"chat_template_kwargs": {"thinking": True}}
    assert prompt_ids(thinking) == prompt_ids(server, **asked) != prompt_ids(server)
    assert prompt_ids(thinking, chat_template_kwargs={"thinking": False}) == prompt_ids(server)
    assert prompt_ids(thinking, reasoning_effort="none") == prompt_ids(server)
    assert thinking.post("/v1/chat/completions", {**QUESTION, "max_tokens": 4})[1]["usage"]["prompt_tokens"] == len(
        prompt_ids(server, **asked))


def test_the_prompt_encoding_is_that_of_the_release(serve):
    asked = {"reasoning_effort": "max"}
    dspark = MODEL.parent / "deepseek-v4-kjv-dspark"
    preview = prompt_ids(serve("--max-model-len", 512), **asked)
    of_0731 = prompt_ids(serve("--max-model-len", 512, model=dspark), **asked)
    assert preview != of_0731
    assert prompt_ids(serve("--max-model-len", 512, "--prompt-encoding", "0731"), **asked) == of_0731
    assert prompt_ids(serve("--max-model-len", 512, "--prompt-encoding", "preview", model=dspark), **asked) == preview


def test_a_seed_means_the_same_text_whatever_is_drafted(serve):
    dspark = MODEL.parent / "deepseek-v4-kjv-dspark"
    options = [("--no-speculation",), (), ("-sc", '{"method": "dspark", "num_speculative_tokens": 5}')]
    texts = [[serving.client().completions.create(model="kjv", prompt="Job 3", max_tokens=40, temperature=1, seed=seed)
              .choices[0].text for seed in range(6)]
             for serving in (serve("--max-model-len", 512, *each, model=dspark) for each in options)]
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0])) > 1


def test_generation_config_is_overridden(serve):
    greedy = serve("--max-model-len", 512, "--generation-config", "vllm", "--override-generation-config",
                   '{"temperature": 0}', "--seed", 1)
    texts = {greedy.client().completions.create(model="kjv", prompt="Job 3", max_tokens=24).choices[0].text for _ in range(4)}
    assert len(texts) == 1
    warm = {greedy.client().completions.create(model="kjv", prompt="Job 3", max_tokens=24, temperature=1.5).choices[0].text
            for _ in range(4)}
    assert len(warm) > 1


@pytest.mark.parametrize("options, known", [([], True), (["--no-enable-prefix-caching"], False)])
def test_prefix_caching(serve, options, known):
    client = serve("--max-model-len", 512, *options).client()
    prompt = "In the beginning God created the heaven and the earth. " * 3
    texts = []
    for turn in range(2):
        answer = client.completions.create(model="kjv", prompt=prompt, max_tokens=8, temperature=0)
        texts.append(answer.choices[0].text)
        assert (answer.usage.prompt_tokens_details.cached_tokens > 0) == (known and turn == 1)
    assert texts[0] == texts[1]


def test_a_published_command_starts(serve):
    server = serve("--trust-remote-code", "--kv-cache-dtype", "fp8", "--block-size", 256, "--enable-expert-parallel",
                   "--tensor_parallel_size", 8, "--moe-backend", "auto", "--attention_config.use_fp4_indexer_cache", "False",
                   "--tokenizer-mode", "deepseek_v4", "--tool-call-parser", "deepseek_v4", "--enable-auto-tool-choice",
                   "--reasoning-parser", "deepseek_v4", "--max-model-len", "4k", "--disable-log-stats", "--per-request-spec-decode-metrics", "summary",
                   "--speculative-config.method", "mtp", "--speculative-config.num_speculative_tokens", 2)
    lines = [line for line in server.log if "has no effect" in line or "matches the default" in line]
    assert len(lines) == 11
    assert json.loads(server.get("/v1/models"))["data"][0]["max_model_len"] == 4000
    assert server.metrics()['vllm:spec_decode_num_accepted_tokens_per_pos_total{position="1"}'] == 0
    _, answer = server.post("/v1/completions", {"prompt": "Genesis 1", "max_tokens": 24, "temperature": 0})
    told = answer["metrics"]["speculative_decoding"]
    assert told["num_spec_tokens"] == 2 and len(told["acceptance_histogram"]) == 3
    assert told["num_draft_tokens"] == server.metrics()["vllm:spec_decode_num_draft_tokens_total"] > 0
    assert server.stop() == 0
    assert not [line for line in server.log if "Avg prompt throughput" in line]
