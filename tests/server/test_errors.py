"""Rejected requests, as the official client sees them."""

import json
import signal
import socket
import threading
import time
import urllib.error

import openai
import pytest
from conftest import wait_until


def complete(client, **options):
    return client.completions.create(**{"model": "kjv", "prompt": "Genesis 1", "max_tokens": 4, **options})


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as error:
        complete(client, model="gpt-4")
    assert error.value.body["code"] == "model_not_found" and "gpt-4" in error.value.body["message"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_models_are_listed(client):
    (model,) = client.models.list().data
    assert model.id == "kjv" and model.model_extra["max_model_len"] == 4096
    assert client.models.retrieve("kjv").id == "kjv"


@pytest.mark.parametrize("options, param", [
    ({"temperature": -1}, "temperature"),
    ({"top_p": 2}, "top_p"),
    ({"n": 1000}, "n"),
    ({"prompt": ["a"] * 100, "n": 100}, "max_waiting"),
    ({"logprobs": 100}, "logprobs"),
    ({"max_tokens": 5000}, "max_model_len"),
    ({"prompt": "word " * 5000}, "max_model_len"),
    ({"stop": [""]}, "stop"),
    ({"extra_body": {"response_format": {"type": "no such"}}}, "response_format"),
])
def test_values_out_of_range_are_bad_requests(client, options, param):
    with pytest.raises(openai.BadRequestError) as error:
        complete(client, **options)
    assert param in error.value.body["message"] + str(error.value.body["param"]) or param == "max_model_len"
    assert error.value.body["type"] == "invalid_request_error"


def test_a_context_that_is_too_long_has_its_code(client):
    with pytest.raises(openai.BadRequestError) as error:
        complete(client, prompt="word " * 5000)
    assert error.value.body["code"] == "context_length_exceeded"


@pytest.mark.parametrize("options", [
    {"temperature": "hot"}, {"prompt": 7}, {"prompt": [1, "a"]}, {"stream": "yes"}, {"logit_bias": {"a": 1}},
    {"max_tokens": 1.5}, {"stop": 4},
])
def test_wrong_types_are_unprocessable(client, options):
    with pytest.raises(openai.UnprocessableEntityError) as error:
        complete(client, **options)
    assert error.value.body["param"] is None or error.value.body["param"].split(".")[0] in options


def test_invalid_json_is_rejected(server):
    for body in (b"", b"{", b'{"prompt": "a"', b"\xff\xfe", b"[" * 10000, b'{"prompt": NaN}'):
        status, answer = server.post("/v1/completions", body)
        assert status == 400 and answer["error"]["message"]
    assert server.post("/v1/completions", b"[]")[0] == 422
    assert server.post("/v1/completions", b"{}", {"Content-Type": "text/plain"})[0] == 415
    assert server.post("/v1/completions", b'{"prompt": "' + b"a" * (33 << 20) + b'"}')[0] == 413


def test_paths_and_methods(server):
    assert server.post("/v1/nothing", {})[0] == 404
    assert server.post("/health", {})[0] == 405
    with pytest.raises(urllib.error.HTTPError) as error:
        server.get("/v1/completions")
    assert error.value.code == 405 and error.value.headers["Allow"] == "POST"
    assert json.loads(server.get("/health")) == {"status": "ok"}
    assert json.loads(server.get("/version"))["version"]
    assert server.get("/")


def test_tokenize_and_back(server):
    _, answer = server.post("/tokenize", {"prompt": "In the beginning", "return_token_strs": True})
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] == 4096
    assert server.post("/detokenize", {"tokens": answer["tokens"][1:]})[1]["prompt"] == "In the beginning"
    _, chat = server.post("/tokenize", {"messages": [{"role": "user", "content": "In the beginning"}]})
    assert chat["count"] == answer["count"] + 3
    assert server.post("/detokenize", {"tokens": [-1]})[0] == 422
    for id in (2048, 1 << 31):
        assert server.post("/detokenize", {"tokens": [id]})[0] == 400


def test_it_listens_on_ipv6(serve):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("IPv6 is not available")
    server = serve("--max-model-len", 256, "--host", "::1")
    assert server.url.startswith("http://[::1]:")
    assert complete(server.client()).choices[0].text


def test_a_name_may_have_a_slash(serve):
    client = serve("--max-model-len", 256, "--served-model-name", "deep/seek v4").client()
    assert client.models.retrieve("deep/seek v4").id == "deep/seek v4"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("deep/blue")


HOSTILE = {
    "patterns": {"properties": {str(i): {"type": "string", "pattern": f"^(a|b)*a(a|b){{8}}c{{{i}}}$"} for i in range(2000)}},
    "references": {"$defs": {"a": {"enum": list(range(50_000))}},
                   "properties": {str(i): {"$ref": "#/$defs/a", "title": str(i)} for i in range(5000)}},
    "length": {"type": "string", "minLength": 10**9},
    "alternatives": {"anyOf": [{"type": "string", "pattern": f"^[a-zA-Z ]{{1,8}}{i}$"} for i in range(3000)]},
    "keys": {"properties": {"k" * 200_000: {}}, "additionalProperties": True},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_delay_no_other_request(server, client, name):
    body = {"prompt": "Genesis 1\n\n", "max_tokens": 50, "response_format": {
        "type": "json_schema", "json_schema": {"name": "x", "schema": HOSTILE[name]}}}
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.post("/v1/completions", body))) for _ in range(4)]
    waits = []

    def measure(work):
        begun = time.monotonic()
        work()
        waits.append(time.monotonic() - begun)

    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        measure(lambda: server.get("/health"))
        measure(lambda: complete(client, max_tokens=1))
    for thread in threads:
        thread.join()
    assert max(waits) < 2
    for status, answer in answers:
        assert status == 200 or (status == 400 and answer["error"]["message"])
    if name == "length":
        assert all("too large" in answer["error"]["message"] for _, answer in answers)


def test_bodies_with_many_keys_are_read_quickly(server):
    body = b'{"prompt": "a", ' + b",".join(b'"key %d": 1' % i for i in range(1_000_000)) + b"}"
    begun = time.monotonic()
    status, answer = server.post("/v1/completions", body)
    assert status == 400 and answer["error"]["param"] == "key 0"
    assert time.monotonic() - begun < 20


def test_an_api_key_is_required(serve):
    server = serve("--max-model-len", 256, "--api-key", "open sesame")
    with pytest.raises(openai.AuthenticationError) as error:
        complete(server.client(api_key="open says me"))
    assert error.value.body["code"] == "invalid_api_key"
    assert complete(server.client(api_key="open sesame")).choices[0].text
    assert server.post("/tokenize", {"prompt": "a"}, {"Authorization": "bearer open sesame"})[0] == 200
    assert server.post("/tokenize", {"prompt": "a"})[0] == 401
    assert server.get("/health") and server.get("/metrics")
    assert server.stop() == 0
    server = serve("--max-model-len", 256, environment={"OUTRIDER_API_KEY": "of the environment"})
    assert server.post("/tokenize", {"prompt": "a"})[0] == 401


def endless(client):
    """A running stream that would go on for long."""
    stream = complete(client, prompt="Genesis 2\n\n", max_tokens=3000, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    return stream


def test_a_full_queue_is_too_many_requests(serve):
    server = serve("--max-model-len", 4096, "--max-num-seqs", 1, "--max-waiting", 1)
    stream = endless(server.client())
    waiting = threading.Thread(target=lambda: complete(server.client()))
    waiting.start()
    wait_until(lambda: server.metrics()["vllm:num_requests_waiting"] == 1)
    with pytest.raises(openai.RateLimitError):
        complete(server.client())
    stream.close()
    waiting.join()
    assert complete(server.client()).choices[0].text


def test_disconnected_clients_are_cancelled(serve):
    server = serve("--max-model-len", 4096, "--max-num-seqs", 4)
    streams = [endless(server.client()) for _ in range(2)]
    wait_until(lambda: server.metrics()["vllm:num_requests_running"] == 2)
    assert server.metrics()["vllm:kv_cache_usage_perc"] > 0
    for stream in streams:
        stream.close()
    wait_until(lambda: server.metrics()["vllm:num_requests_running"] == 0)
    # Also without a stream.
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"prompt": "Genesis 2\n\n", "max_tokens": 3000, "ignore_eos": True})
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: "
                           f"{len(body)}\r\n\r\n{body}".encode())
        wait_until(lambda: server.metrics()["vllm:num_requests_running"] >= 1)
    wait_until(lambda: server.metrics()["vllm:num_requests_running"] == 0)
    metrics = server.metrics()
    assert metrics['vllm:request_success_total{finished_reason="abort"}'] == 3
    assert metrics["vllm:kv_cache_usage_perc"] == 0


def test_a_shutdown_finishes_running_requests(serve):
    server = serve("--max-model-len", 4096)
    client = server.client()
    stream = complete(client, prompt="Genesis 2\n\n", max_tokens=200, stream=True, extra_body={"ignore_eos": True})
    chunks = [next(iter(stream))]
    server.process.send_signal(signal.SIGTERM)
    chunks += stream
    assert chunks[-1].choices[0].finish_reason == "length"
    assert server.process.wait(30) == 0
    assert "Stopped." in "".join(server.log)


def test_a_shutdown_does_not_wait_forever(serve):
    server = serve("--max-model-len", 4096, "--shutdown-timeout", 0)
    chunks = endless(server.client())
    server.process.send_signal(signal.SIGTERM)
    *_, last = chunks
    assert last.choices[0].finish_reason == "abort"
    assert server.process.wait(30) == 0


def test_logs_can_be_json(serve):
    server = serve("--max-model-len", 256, "--log-format", "json")
    answer = complete(server.client())
    assert server.stop() == 0
    (line,) = [json.loads(line) for line in server.log if '"id"' in line]
    assert line["id"] == answer.id and line["completion_tokens"] == 4 and line["status"] == 200
    quiet = serve("--max-model-len", 256, "--disable-log-requests")
    complete(quiet.client())
    assert quiet.stop() == 0
    assert "completions" not in "".join(quiet.log)


@pytest.mark.parametrize("options, because", [
    (["--speculative-config", '{"method":"mtp","num_speculative_tokens":1,"rejection_sample_method":"block"}'],
     "rejection_sample_method"),
    (["--speculative-config", '{"method":"eagle"}'], "eagle"),
    (["--max-model-len", "2000000"], "1048576"),
    (["--max-num-seqs", "4096", "--max-num-batched-tokens", "10000", "--max-model-len", "1048576"], "--max-model-len"),
    (["--max-num-batched-tokens", "5"], "max_num_batched_tokens"),
    (["--host", "256.1.1.1", "--insecure"], "256.1.1.1"),
    (["--host", "0.0.0.0"], "--insecure"),
    (["--api-key", ""], "--api-key is empty"),
])
def test_invalid_options_are_rejected_at_startup(serve, options, because):
    with pytest.raises(RuntimeError) as error:
        serve(*options)
    assert because in str(error.value)
