"""Chats through the official client."""

from conftest import generate

QUESTION = [{"role": "user", "content": "Psalms 23"}]
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Finds a verse.",
                                         "parameters": {"type": "object", "properties": {"verse": {"type": "string"}}}}}


def chat(client, messages=QUESTION, max_tokens=24, **options):
    return client.chat.completions.create(**{"model": "kjv", "messages": messages, "max_tokens": max_tokens,
                                             "temperature": 0, **options})


def test_the_output_equals_generates(client):
    answer = chat(client)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == generate("Psalms 23", 24, "--chat")[0]
    assert answer.choices[0].finish_reason == "length"


def test_a_stream_has_the_same_output(client):
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == chat(client).choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 24


def test_the_end_token_ends_the_output(client):
    # One of the few prompts whose output this model ends itself.
    answer = chat(client, [{"role": "user", "content": "Psalms 1"}], max_tokens=2000)
    assert answer.choices[0].finish_reason == "stop"
    assert "<" not in answer.choices[0].message.content
    assert answer.choices[0].message.content == generate("Psalms 1", 2000, "--chat")[0]
    limited = client.chat.completions.create(model="kjv", messages=QUESTION, temperature=0, max_completion_tokens=5)
    assert limited.usage.completion_tokens == 5


def test_reasoning_is_separate(client):
    message = chat(client, extra_body={"chat_template_kwargs": {"thinking": True}}).choices[0].message
    assert message.model_extra["reasoning_content"]
    assert not message.content
    message = chat(client, reasoning_effort="high").choices[0].message
    assert message.model_extra["reasoning_content"]
    message = chat(client, reasoning_effort="none").choices[0].message
    assert "reasoning_content" not in message.model_extra and message.content
    deltas = [chunk.choices[0].delta for chunk in chat(client, reasoning_effort="high", stream=True)]
    assert "".join((d.model_extra or {}).get("reasoning_content", "") for d in deltas)


def test_logprobs(client):
    choice = chat(client, logprobs=True, top_logprobs=2, max_tokens=6).choices[0]
    assert len(choice.logprobs.content) == 6
    text = b"".join(bytes(token.bytes) for token in choice.logprobs.content).decode()
    assert text == choice.message.content
    for token in choice.logprobs.content:
        assert [top.token for top in token.top_logprobs][0] == token.token
        assert token.top_logprobs[0].logprob == token.logprob > token.top_logprobs[1].logprob
    chunks = list(chat(client, logprobs=True, max_tokens=6, stream=True))
    streamed = [token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content]
    assert [token.token for token in streamed] == [token.token for token in choice.logprobs.content]


def test_tools_are_in_the_prompt(client):
    plain = chat(client).usage.prompt_tokens
    assert chat(client, tools=[TOOL]).usage.prompt_tokens > plain + 100
    assert chat(client, tools=[TOOL], tool_choice="none").usage.prompt_tokens == plain
    assert chat(client, tools=[TOOL], tool_choice="auto").choices[0].message.tool_calls is None


def test_tool_results_are_accepted(client):
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"verse": "Psalms 23:1"}'}}
    messages = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "The LORD is my shepherd."}]
    answer = chat(client, messages, tools=[TOOL])
    assert answer.choices[0].message.content


def test_parts_of_content_are_joined(client):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Psalms 23"}]}]
    assert chat(client, parts).choices[0].message.content == chat(client).choices[0].message.content


def test_a_conversation_is_cached(client):
    messages = [{"role": "user", "content": "Psalms 1"}]
    first = chat(client, messages, max_tokens=2000)
    assert first.choices[0].finish_reason == "stop"
    messages += [{"role": "assistant", "content": first.choices[0].message.content}, {"role": "user", "content": "Psalms 2"}]
    second = chat(client, messages, max_tokens=16)
    # The whole of the first exchange, except for how its text is tokenized.
    known = first.usage.total_tokens
    assert second.usage.prompt_tokens_details.cached_tokens in (known - 1, 0)
    again = chat(client, messages, max_tokens=16)
    assert again.choices[0].message.content == second.choices[0].message.content
