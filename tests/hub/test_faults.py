"""Servers that fail, change their mind, refuse ranges or send nonsense."""

import random
import shutil
import threading
import time
from pathlib import Path

import pytest
from conftest import MODEL

SHARD = "model-00001-of-00003.safetensors"


def times(count, action, host="storage", file=SHARD):
    """A fault that meets the first `count` requests for a file."""
    left, lock = [count], threading.Lock()

    def fault(handler, where, name):
        with lock:
            if where != host or name != file or left[0] == 0:
                return False
            left[0] -= 1
        action(handler)
        return True

    return fault


def truncated(handler):
    handler.raw(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 20000\r\nContent-Range: bytes 0-19999/3260989\r\n\r\n"
                + b"x" * 1000)


def hang_up(handler):
    handler.close_connection = True


@pytest.mark.parametrize("action", [
    lambda h: h.error(503, "", "overloaded"), lambda h: h.error(500, "", "oops"), truncated, hang_up,
    lambda h: h.error(429, "", "slow down", {"Retry-After": "1"})], ids=["503", "500", "truncated", "hang up", "429"])
def test_passing_faults_are_retried(check, hub, action):
    hub.add("fault/passing", MODEL, fault=times(2, action))
    result = check("hf://fault/passing")
    assert result.status == 0, result.text


def test_retry_after_is_honoured(check, hub):
    hub.add("fault/wait", MODEL, fault=times(1, lambda h: h.error(429, "", "slow", {"Retry-After": "3"}), "api", ""))
    begin = time.monotonic()
    assert check("hf://fault/wait").status == 0
    assert time.monotonic() - begin >= 3
    hub.add("fault/hour", MODEL, fault=times(9, lambda h: h.error(429, "", "slow", {"Retry-After": "3600"}), "api", ""))
    result = check("hf://fault/hour")
    assert result.status == 2 and "asks to wait for 3600 seconds" in result.err and "HF_TOKEN" in result.err


@pytest.mark.parametrize("action, text", [
    (lambda h: h.error(503, "", "overloaded"), "the server fails (status 503), 5 times in a row"),
    (truncated, "the answer ends after 1000 bytes"),
    (lambda h: h.error(429, "", "slow down"), "limits the number of requests")], ids=["503", "truncated", "429"])
def test_lasting_faults_are_told(check, hub, action, text):
    hub.add("fault/lasting", MODEL, fault=times(99, action))
    result = check("hf://fault/lasting")
    assert result.status == 2 and text in result.err and SHARD in result.err
    assert len(result.err.splitlines()) == 1


def test_status_is_told(check, hub):
    for status, text in ((403, "access is denied, status 403"), (401, "status 401"), (404, "but not there"),
                         (418, "answers with status 418")):
        hub.add("fault/status", MODEL, fault=times(99, lambda h, s=status: h.error(s, "", "no")))
        result = check("hf://fault/status")
        assert result.status == 2 and text in result.err, result.text


def test_refused_ranges_read_no_whole_file(check, hub, sharded):
    hub.add("fault/no-ranges", sharded, ranges=False)
    result = check("hf://fault/no-ranges", "--json")
    assert result.status == 0, result.text
    assert result.json["remote"]["bytes"] < 3_000_000  # of 15 GB
    assert sum(r.sent for r in hub.take_requests()) < 60_000_000  # what the sockets' buffers take


def test_a_file_that_changes_meanwhile(check, hub, tmp_path):
    directory = tmp_path / "changing"
    shutil.copytree(MODEL, directory)

    def change(handler, where, name):
        if where == "hub" and name == SHARD:
            with open(directory / SHARD, "ab") as stream:
                stream.write(b"more")
        return False

    hub.add("fault/changing", directory, fault=change, fixed_commit="a" * 40)
    result = check("hf://fault/changing")
    assert result.status == 2 and "changed while the repository was read" in result.err, result.text
    # Nothing of it is kept.
    assert check("hf://fault/changing", "--offline").status == 2
    hub.add("fault/commits", MODEL, told_commit="b" * 40)
    result = check("hf://fault/commits")
    assert result.status == 2 and f"commit {'b' * 40}, not " in result.err


def test_a_header_that_changes_meanwhile(check, hub, tmp_path):
    """The second part of a header is of the same version as the first, or the header is read again, once."""
    directory = tmp_path / "changing"
    directory.mkdir()
    shutil.copy(MODEL / "config.json", directory)
    data = (MODEL / SHARD).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8:8 + length] + b" " * 400_000
    whole = len(header).to_bytes(8, "little") + header + data[8 + length:]
    (directory / "model.safetensors").write_bytes(whole)
    changes = [1]

    def change(handler, where, name):
        if name == "model.safetensors" and handler.headers.get("Range", "").startswith("bytes=0-") and changes[0]:
            changes[0] -= 1
            threading.Timer(0.2, lambda: (directory / name).write_bytes(whole)).start()
        elif name == "model.safetensors":
            time.sleep(0.5)
        return False

    hub.add("fault/header", directory, fault=change)
    for times_changed, expected in ((1, "NOT COMPLETE"), (9, "changes while it is read")):
        changes[0] = times_changed
        hub.take_requests()
        result = check(hub.storage_url + "/fault/header", OUTRIDER_CACHE=tmp_path / str(times_changed))
        assert expected in result.text, result.text
        assert len([r for r in hub.take_requests() if "model.safetensors" in r.path and "index" not in r.path]) == 4


def test_slow_servers_end(check, hub):
    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 206 Partial Content\r\n")
        handler.wfile.flush()
        time.sleep(20)

    hub.add("fault/slow", MODEL, fault=times(99, drip))
    begin = time.monotonic()
    result = check("hf://fault/slow", HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert result.status == 2 and "timed out" in result.err
    assert time.monotonic() - begin < 25


def redirect(location):
    return lambda h: h.reply(302, headers={"Location": location(h) if callable(location) else location})


@pytest.mark.parametrize("location, text", [
    (lambda h: h.path, "over 10 redirects"), ("file:///etc/passwd", "is not a usable URL"),
    ("http://localhost:1/x", "redirects from https to http"), ("https://user:secret@localhost/", "are not sent"),
    ("ftp://localhost/x", "is not a usable URL"), ("", "leads nowhere")])
def test_bad_redirects(check, hub, location, text):
    hub.add("fault/redirect", MODEL, fault=times(99, redirect(location), "hub"))
    result = check("hf://fault/redirect")
    assert result.status == 2 and text in result.err, result.text
    assert "secret" not in result.err and "Signature" not in result.err


def test_the_token_does_not_follow_redirects(check, hub):
    hub.add("fault/away", MODEL, fault=times(99, redirect(lambda h: f"{hub.storage_url}/kjv/model/{SHARD}"), "hub"))
    assert check("hf://fault/away", HF_TOKEN="hf_secret").status == 0
    assert not any("authorization" in r.headers for r in hub.take_requests() if r.host == "storage")


@pytest.mark.parametrize("name", ["../../../../escaped.safetensors", "/tmp/escaped.safetensors", "a/../../b.safetensors",
                                  "config.json", "HEADERS_ONLY.txt", "a\\b.safetensors", "x" * 300 + ".safetensors"])
def test_hostile_names(check, hub, tmp_path, name):
    directory = tmp_path / "hostile"
    shutil.copytree(MODEL, directory)
    index = (directory / "model.safetensors.index.json").read_text().replace(SHARD, name.replace("\\", "\\\\"))
    (directory / "model.safetensors.index.json").write_text(index)

    def give(handler, where, file):
        """The server has files of such names, too."""
        if where == "storage" and file == name:
            handler.reply(200, (MODEL / SHARD).read_bytes())
            return True
        return False

    hub.add("fault/hostile", directory, fault=give if "/" in name else None)
    escaped = [Path("/tmp/escaped.safetensors")]
    for address in ("hf://fault/hostile", hub.storage_url + "/fault/hostile"):
        result = check(address, "--json")
        assert result.status in (1, 2) and result.json["findings"], result.text
    escaped += tmp_path.rglob("escaped*")
    assert not any(path.exists() for path in escaped)
    assert all(p.is_relative_to(tmp_path / "cache" / "headers-only") for p in (tmp_path / "cache").rglob("*.safetensors"))


ANSWERS = [
    b"HTTP/1.1 206 Partial Content\r\nContent-Length: 99999999999999\r\nContent-Range: bytes 0-1/2\r\n\r\nxx",
    b"HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\nContent-Range: bytes 5-8/100\r\n\r\nabcd",
    b"HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\n\r\nabcd",
    b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 0-3/4\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabcd",
    b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\x7f{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n\x02\0\0\0\0\0\0\0{}",
    b"HTTP/1.1 200 OK\r\n" + b"X-Header: " + b"y" * 200_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 20\r\n\r\n0123456789",
    b"HTTP/1.1 304 Not Modified\r\n\r\n", b"HTTP/1.1 416 No\r\nContent-Range: bytes */0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"\0" * 100, b"",
    b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n<!doctype html><html>log in</h>",
]


@pytest.mark.parametrize("host, file", [("storage", SHARD), ("storage", "model.safetensors.index.json"), ("api", ""),
                                        ("storage", "config.json")])
def test_hostile_answers(check, hub, host, file):
    """No crash, no hang, one sentence, whatever is sent; random cuts of each answer besides."""
    dice = random.Random(7)
    answers = ANSWERS + [answer[:dice.randrange(len(answer))] for answer in ANSWERS if len(answer) > 20]
    answers = answers[::1 if file == SHARD else 3]
    threads = []
    wrong = []

    def run(number, answer):
        name = f"fault/hostile-{host}-{len(file)}-{number}"
        hub.add(name, MODEL, fault=times(99, lambda h: h.raw(answer), host, file))
        result = check("hf://" + name, "--json", HF_HUB_DOWNLOAD_TIMEOUT="1")
        if result.status not in (1, 2) or result.json["sound"] or len(result.err.splitlines()) > 1:
            wrong.append((answer[:60], result.status, result.text[:300]))

    for number, answer in enumerate(answers):
        threads.append(threading.Thread(target=run, args=(number, answer)))
        threads[-1].start()
        if len(threads) == 8:
            threads.pop(0).join()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_endless_body_is_cut(check, hub):
    def endless(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b" " * 65536)

    hub.add("fault/endless", MODEL, fault=times(99, endless, file="generation_config.json"))
    result = check("hf://fault/endless")
    assert result.status == 2 and "is larger than 1.0 MiB" in result.err
