"""response_format and tool_choice through the official client: the output satisfies them."""

import json

import openai
import pytest

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 16},
        "kind": {"enum": ["king", "prophet"]},
        "age": {"type": "integer", "minimum": 1, "maximum": 969},
        "sons": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 2},
    },
    "required": ["name", "kind", "age", "sons"],
    "additionalProperties": False,
}
MESSAGES = [{"role": "user", "content": "Who was Noah?"}]
TOOLS = [
    {"type": "function", "function": {"name": "look_up", "parameters": {
        "type": "object",
        "properties": {"book": {"type": "string", "maxLength": 12}, "chapter": {"type": "integer", "minimum": 1, "maximum": 150}},
        "required": ["book", "chapter"]}}},
    {"type": "function", "function": {"name": "stop"}},
]


def json_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


@pytest.fixture(scope="module", params=[0, 1, 3])
def speculating(request, serve):
    options = ["--no-speculation"] if request.param == 0 else [
        "--speculative-config", json.dumps({"method": "mtp", "num_speculative_tokens": request.param})]
    return serve("--max-model-len", 4096, *options).client()


def ask(client, **options):
    return client.chat.completions.create(**{"model": "kjv", "messages": MESSAGES, "max_tokens": 1000, "seed": 3, **options})


def check(text):
    answer = json.loads(text)
    assert list(answer) == list(SCHEMA["properties"])
    assert 1 <= len(answer["name"]) <= 16 and answer["kind"] in ("king", "prophet") and 1 <= answer["age"] <= 969
    assert len(answer["sons"]) <= 2 and all(len(son) <= 8 for son in answer["sons"])


@pytest.fixture(scope="module")
def greedy():
    return {}  # outputs with other numbers of draft tokens


@pytest.mark.parametrize("temperature", [0, 0.7, 1.5])
def test_the_schema_is_satisfied(speculating, greedy, temperature):
    answer = ask(speculating, response_format=json_schema(SCHEMA), temperature=temperature, n=3)
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        check(choice.message.content)
    if temperature == 0:
        text = answer.choices[0].message.content
        assert {choice.message.content for choice in answer.choices} == {text}
        assert greedy.setdefault("schema", text) == text


def test_streams_have_the_same_output(client):
    options = {"response_format": json_schema(SCHEMA), "temperature": 0}
    whole = ask(client, **options).choices[0].message.content
    chunks = ask(client, stream=True, **options)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole


def test_json_objects(client):
    for seed in range(4):
        answer = ask(client, response_format={"type": "json_object"}, temperature=1, seed=seed, max_tokens=4000 - 300)
        if answer.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(answer.choices[0].message.content), dict)
        else:
            assert answer.choices[0].message.content.startswith("{")


def test_completions_are_constrained_too(client):
    answer = client.completions.create(model="kjv", prompt="And the king said", max_tokens=400, temperature=0.8, seed=1,
                                       extra_body={"response_format": json_schema(SCHEMA)})
    check(answer.choices[0].text)


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_call_is_required(speculating, greedy, temperature):
    answer = ask(speculating, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, temperature=temperature)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name in ("look_up", "stop")
    if temperature == 0:
        text = call.function.name + call.function.arguments
        assert greedy.setdefault("call", text) == text


def test_a_named_function_is_called(client):
    named = {"type": "function", "function": {"name": "look_up"}}
    for stream in (False, True):
        answer = ask(client, tools=TOOLS, tool_choice=named, temperature=0, stream=stream)
        if stream:
            calls = [call for chunk in answer for call in chunk.choices[0].delta.tool_calls or []]
        else:
            calls = answer.choices[0].message.tool_calls
        (call,) = calls
        arguments = json.loads(call.function.arguments)
        assert call.function.name == "look_up" and list(arguments) == ["book", "chapter"]
        assert isinstance(arguments["book"], str) and 1 <= arguments["chapter"] <= 150


def test_only_the_answer_after_reasoning_is_constrained(client):
    # The bundled model would reason forever; this makes </think> likely.
    think_end = 2046
    answer = ask(client, response_format=json_schema(SCHEMA), temperature=0.5,
                 logit_bias={str(think_end): 14}, extra_body={"chat_template_kwargs": {"thinking": True}})
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "stop" and "</think>" not in message.reasoning_content
    check(message.content)


@pytest.mark.parametrize("options, said", [
    ({"response_format": json_schema({"properties": {"a": {"not": {}}}})}, ["\"not\"", "#/properties/a"]),
    ({"response_format": json_schema({"type": "string", "pattern": "(?=a)"})}, ["pattern", "(?"]),
    ({"response_format": json_schema({"type": "object", "properties": {"a": {"$ref": "#/x"}}})}, ["does not exist in the schema"]),
    ({"response_format": json_schema({"type": "array", "minItems": 10**9})}, ["too large"]),
    ({"response_format": json_schema({"type": "integer", "minimum": 2, "maximum": 1})}, ["no text"]),
    ({"tool_choice": "required"}, ["no tools"]),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}}, ["other"]),
    ({"tools": TOOLS, "tool_choice": "always"}, ["tool_choice"]),
])
def test_errors_name_unsupported_fields(client, options, said):
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, **options)
    assert all(each in error.value.message for each in said), error.value.message
