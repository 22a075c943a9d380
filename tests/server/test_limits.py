"""What clients can occupy is bounded, and nobody keeps others waiting."""

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import BINARY, MODEL, Server

LARGE = "In the beginning "


@pytest.fixture
def serve():
    """Starts servers that are stopped after the test."""
    servers = []

    def start(*options):
        servers.append(Server(*options))
        return servers[-1]

    yield start
    assert [server.stop() for server in servers] == [0] * len(servers)


def address(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def resident(server):
    """MiB."""
    status = open(f"/proc/{server.process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024


def begin_body(server, length, key=None):
    connection = socket.create_connection(address(server))
    connection.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       f"Content-Length: {length}\r\n".encode())
    if key:
        connection.sendall(f"Authorization: Bearer {key}\r\n".encode())
    connection.sendall(b"\r\n")
    return connection


def status_of(connection):
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status


def is_served(server):
    connection = http.client.HTTPConnection(*address(server), timeout=10)
    connection.request("GET", "/health")
    return connection.getresponse().status == 200


def test_without_the_key_no_body_is_read(serve):
    server = serve("--max-model-len", 256, "--api-key", "K")
    before = resident(server)
    connections = [begin_body(server, 33554432) for _ in range(50)]
    piece = b" " * (1 << 20)
    for connection in connections:
        try:
            for _ in range(31):
                connection.sendall(piece)
        except OSError:  # the server has answered and closed the connection
            pass
    assert resident(server) < before + 30
    fresh = begin_body(server, 33554432)
    assert status_of(fresh) == 401
    assert is_served(server)


def test_bodies_share_their_memory(serve):
    server = serve("--max-model-len", 256, "--max-body-bytes", "4MiB", "--max-pending-bytes", "8MiB")
    before = resident(server)
    piece = b" " * (1 << 20)
    connections = [begin_body(server, 4 << 20) for _ in range(20)]
    for connection in connections:
        try:
            for _ in range(3):
                connection.sendall(piece)
        except OSError:
            pass
    refused = begin_body(server, 4 << 20)
    try:
        for _ in range(3):
            refused.sendall(piece)
    except OSError:
        pass
    assert status_of(refused) == 503
    assert resident(server) < before + 40
    for connection in connections:
        connection.close()
    assert status_of(begin_body(server, 5 << 20)) == 413
    for _ in range(100):  # what they held is given back
        last = begin_body(server, 2)
        last.sendall(b"{}")
        if status_of(last) == 422:
            return
        time.sleep(0.05)
    raise AssertionError("no memory came back")


def test_headers_reserve_no_address_space(tmp_path):
    limited = f"ulimit -v 4200000; exec {BINARY} serve {MODEL} --port 0 --max-model-len 4096"
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(["bash", "-c", limited], stderr=log)
    try:
        for _ in range(200):
            found = re.search(r"Listening on http://127.0.0.1:(\d+)", (tmp_path / "log").read_text())
            if found:
                break
            time.sleep(0.05)

        class Limited:
            url = f"http://127.0.0.1:{found[1]}"

        connections = [begin_body(Limited, 33554432) for _ in range(200)]
        for connection in connections:
            connection.sendall(b"{")
        time.sleep(0.5)
        assert process.poll() is None
        assert is_served(Limited)
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_idle_connections_give_way(serve):
    server = serve("--max-model-len", 256, "--max-connections", 50)
    idle = [socket.create_connection(address(server)) for _ in range(200)]
    assert is_served(server)
    assert len(os.listdir(f"/proc/{server.process.pid}/fd")) < 100
    for connection in idle:
        connection.close()
    assert is_served(server)


def test_the_limit_of_descriptors_is_raised(serve):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server = serve("--max-model-len", 256)
    limits = open(f"/proc/{server.process.pid}/limits").read()
    assert int(re.search(r"Max open files\s+(\d+)", limits)[1]) == hard


def test_the_server_outlives_the_reader_of_its_log():
    process = subprocess.Popen([BINARY, "serve", MODEL, "--port", "0", "--max-model-len", "256"], stderr=subprocess.PIPE,
                               text=True)
    for line in process.stderr:
        if found := re.search(r"Listening on http://127.0.0.1:(\d+)", line):
            break
    process.stderr.close()
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
        connection.request("GET", "/nope")
        assert connection.getresponse().status == 404
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_a_log_that_nobody_reads_delays_no_request():
    process = subprocess.Popen([BINARY, "serve", MODEL, "--port", "0", "--max-model-len", "256"], stderr=subprocess.PIPE,
                               text=True)
    for line in process.stderr:
        if found := re.search(r"Listening on http://127.0.0.1:(\d+)", line):
            break
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
    path = "/" + "x" * 3000
    for _ in range(100):  # 300 kB, of which a pipe takes 64
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 404
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def post(server, path, body):
    connection = http.client.HTTPConnection(*address(server), timeout=120)
    began = time.monotonic()
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    status = connection.getresponse().status
    return status, time.monotonic() - began


def test_large_texts_delay_no_small_request(serve):
    server = serve("--max-model-len", 4096)
    large = threading.Thread(target=post, args=(server, "/tokenize", {"prompt": LARGE * 400_000}), daemon=True)
    alone = post(server, "/tokenize", {"prompt": LARGE * 400_000})[1]
    large.start()
    time.sleep(0.3)
    small = [post(server, "/v1/completions", {"model": "kjv", "prompt": "Genesis 1", "max_tokens": 4})[1] for _ in range(5)]
    assert large.is_alive()
    assert max(small) < alone / 2
    large.join()


def test_work_for_a_client_that_left_ends(serve):
    server = serve("--max-model-len", 4096)
    body = json.dumps({"prompt": LARGE * 400_000}).encode()
    for _ in range(6):
        connection = begin_body(server, len(body))
        connection.sendall(body)
        connection.close()
    alone = post(server, "/tokenize", {"prompt": LARGE * 400_000})
    began = time.monotonic()
    assert post(server, "/tokenize", {"prompt": LARGE * 400_000})[0] == 200
    assert alone[0] == 200
    assert alone[1] < 4 * (time.monotonic() - began)


def test_a_text_that_cannot_fit_is_refused_at_once(serve):
    server = serve("--max-model-len", 256)
    status, took = post(server, "/v1/completions", {"model": "kjv", "prompt": LARGE * 400_000})
    assert status == 400 and took < 10


def test_a_short_prompt_passes_long_ones(serve):
    server = serve("--max-model-len", 65536, "--max-num-seqs", 4, "--shutdown-timeout", 0)
    text = "And it came to pass in those days, that he went up. " * 2000
    finished = []

    def long_prompt(number):
        post(server, "/v1/completions", {"model": "kjv", "prompt": f"{number} {text}", "max_tokens": 1})
        finished.append(number)

    for number in range(6):
        threading.Thread(target=long_prompt, args=(number,), daemon=True).start()
    time.sleep(1)
    assert post(server, "/v1/completions", {"model": "kjv", "prompt": "Genesis 1", "max_tokens": 2})[0] == 200
    assert len(finished) < 2


def test_lists_of_tokens_have_limits(serve):
    server = serve()
    status, answer = server.post("/detokenize", {"tokens": [300] * (2**20 + 1)})
    assert status == 400 and answer["error"]["param"] == "tokens"
    # Repeated ids are as one.
    status, answer = server.post("/v1/completions", {"prompt": "a", "max_tokens": 4, "n": 16, "temperature": 0,
                                                     "stop_token_ids": [7] * 10**6, "allowed_token_ids": [300, 301] * 10**5})
    assert status == 200 and len(answer["choices"]) == 16
    status, answer = server.post("/v1/completions", {"prompt": "a", "bad_words": ["a" * 4000] * 20})
    assert status == 400 and answer["error"]["param"] == "bad_words"


def test_log_probabilities_of_an_answer_have_a_limit(serve):
    server = serve()
    status, answer = server.post("/v1/completions", {"prompt": [[300 + i] * 4000 for i in range(5)], "max_tokens": 1,
                                                     "prompt_logprobs": 20})
    assert status == 400 and "ask for fewer" in answer["error"]["message"]


def test_no_body_without_a_key(serve):
    server = serve("--api-key", "secret")
    with socket.create_connection(address(server)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n" + b"x" * 1000)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
