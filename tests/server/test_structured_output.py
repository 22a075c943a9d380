"""Constraints of the output through the official client: the output satisfies them."""

import json
import re

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
            chunks = list(answer)
            calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
            reason = chunks[-1].choices[0].finish_reason
        else:
            calls = answer.choices[0].message.tool_calls
            reason = answer.choices[0].finish_reason
        assert reason == "stop"  # "tool_calls" where the model chose to call
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


ARITHMETIC = """
    root ::= sum
    sum ::= sum "+" value | sum "-" value | value
    value ::= [0-9]{1,2} | "(" sum ")"
"""
SQL = """
    root ::= select_statement
    select_statement ::= "SELECT " column " from " table " where " condition
    column ::= "col_1 " | "col_2 "
    table ::= "table_1 " | "table_2 "
    condition ::= column "= " number
    number ::= "1 " | "2 "
"""
BOOLEANS = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
EMAIL = r"[a-z]{1,8}@[a-z]{1,8}\.com\n"


def has_a_boolean(text):
    answer = json.loads(text)
    return list(answer) == ["a"] and isinstance(answer["a"], bool)


# The fields of extra_body, and what they require of the output.
CONSTRAINTS = [
    ({"structured_outputs": {"choice": ["positive", "negative"]}}, lambda text: text in ("positive", "negative")),
    ({"structured_outputs": {"regex": EMAIL}}, lambda text: re.fullmatch(EMAIL, text)),
    ({"structured_outputs": {"json": BOOLEANS}}, has_a_boolean),
    ({"structured_outputs": {"json": json.dumps(BOOLEANS), "_backend": None}}, has_a_boolean),
    ({"structured_outputs": {"json": BOOLEANS, "disable_any_whitespace": True, "disable_additional_properties": True}},
     lambda text: re.fullmatch(r'{"a":(true|false)}', text)),
    ({"structured_outputs": {"grammar": SQL}},
     lambda text: re.fullmatch("SELECT col_[12]  from table_[12]  where col_[12] = [12] ", text)),
    ({"guided_json": BOOLEANS, "guided_decoding_backend": "xgrammar"}, has_a_boolean),
    ({"guided_regex": "[0-9]{3}"}, lambda text: re.fullmatch("[0-9]{3}", text)),
    ({"guided_choice": ["yes", "no"]}, lambda text: text in ("yes", "no")),
    ({"guided_grammar": SQL}, lambda text: text.startswith("SELECT col_")),
    ({"response_format": {"type": "json_object", "schema": BOOLEANS}}, has_a_boolean),
    ({"json_schema": BOOLEANS}, has_a_boolean),
    ({"grammar": 'root ::= "a" "b"{2}'}, lambda text: text == "abb"),
]


@pytest.mark.parametrize("fields, satisfied", CONSTRAINTS, ids=lambda value: None if callable(value) else ",".join(value))
def test_fields_of_vllm_and_llama_cpp(client, fields, satisfied):
    body = {"prompt": "And the king said", "max_tokens": 200, "temperature": 1, "seed": 2, **fields}
    choice = client.post("/completions", body=body, cast_to=object)["choices"][0]
    assert satisfied(choice["text"]) and choice["finish_reason"] == "stop", choice
    choice = ask(client, temperature=1, extra_body=fields).choices[0]
    assert satisfied(choice.message.content) and choice.finish_reason == "stop", choice


@pytest.mark.parametrize("constraint", [{"regex": r"([A-Z][a-z]{2,7} ){3,9}\."}, {"grammar": ARITHMETIC}], ids=list)
def test_drafts_do_not_change_the_output(speculating, greedy, constraint):
    # Without a preference for its end, the sum would go on.
    options = {"temperature": 0, "max_tokens": 60, "extra_body": {"structured_outputs": constraint}}
    text = ask(speculating, **options).choices[0].message.content
    assert greedy.setdefault(str(constraint), text) == text
    chunks = ask(speculating, stream=True, **options)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text


def test_reasoning_precedes_a_choice(client):
    think_end = 2046
    answer = ask(client, temperature=0.5, logit_bias={str(think_end): 14}, extra_body={
        "chat_template_kwargs": {"thinking": True}, "structured_outputs": {"choice": ["yes", "no"]}})
    assert answer.choices[0].message.content in ("yes", "no") and answer.choices[0].message.reasoning_content


def test_tools_may_be_called_instead_of_a_choice(client):
    for seed in range(3):
        choice = ask(client, tools=TOOLS, temperature=1, seed=seed,
                     extra_body={"structured_outputs": {"choice": ["yes", "no"]}}).choices[0]
        assert choice.message.tool_calls or choice.message.content in ("yes", "no")


@pytest.mark.parametrize("fields, said", [
    ({"structured_outputs": {}}, "needs one of"),
    ({"structured_outputs": {"json_object": False}}, "needs one of"),
    ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "both constrain"),
    ({"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}}, "both constrain"),
    ({"structured_outputs": {"regex": "a"}, "guided_json": {}}, "both constrain"),
    ({"structured_outputs": {"regex": "a", "whitespace_pattern": " "}}, "structured_outputs.whitespace_pattern"),
    ({"structured_outputs": {"regex": "a", "colour": 1}}, "structured_outputs.colour"),
    ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag"),
    ({"structured_outputs": {"regex": "(?=a)"}}, 'structured_outputs.regex: the regular expression "(?=a)"'),
    ({"structured_outputs": {"regex": "[]a]"}}, "begins with"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice is empty"),
    ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
    ({"structured_outputs": {"json": {"not": {}}}}, 'structured_outputs.json: at #: "not"'),
    ({"structured_outputs": {"grammar": 'root ::= x\nx ::= root "a" | "b"'}}, "may begin with itself"),
    ({"structured_outputs": {"grammar": 'start: "a"'}}, "Lark"),
    ({"structured_outputs": {"regex": "a"}, "tools": TOOLS, "tool_choice": "required"}, "requires a tool call, but"),
    ({"guided_whitespace_pattern": " "}, "guided_whitespace_pattern"),
    ({"response_format": {"type": "structural_tag"}}, "structural_tag"),
])
def test_constraints_that_cannot_be_obeyed_are_refused(client, fields, said):
    with pytest.raises(openai.BadRequestError, match=re.escape(said)):
        ask(client, extra_body=fields)


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
