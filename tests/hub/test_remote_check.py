"""`outrider check hf://…` against a server that behaves as the Hub."""

import json
import os
import shutil
import subprocess
import time

from conftest import BINARY, MODEL
from hub_server import TOKEN, HubServer


def findings(result):
    return [(f["code"], f["message"]) for f in result.json["findings"]]


def local(directory):
    return json.loads(subprocess.run([BINARY, "check", directory, "--json"], capture_output=True, text=True,
                                     encoding="utf-8", check=False).stdout)


def test_reports_what_a_local_check_reports(check, hub, sharded):
    for name, directory in (("kjv/model", MODEL), ("big/model", sharded)):
        hub.add(name, directory)
        result = check(f"hf://{name}", "--json")
        assert result.status == 0, result.text
        here, there = local(directory), result.json
        remote = there.pop("remote")
        assert there.pop("path") == f"hf://{name}" and here.pop("path") == str(directory)
        if not (directory / "tokenizer.json").exists():
            assert "tokenizer.json is missing" in str(there["findings"])
        assert there == here
        assert remote["commit"] == hub.repositories[name].commit
        assert remote["requests"] == len(hub.take_requests())


def test_reads_headers_only(check, hub, sharded):
    hub.add("big/model", sharded)
    result = check("hf://big/model", "--json")
    requests = hub.take_requests()
    storage = [r for r in requests if r.host == "storage"]
    headers = 0
    for shard in sharded.glob("*.safetensors"):
        with open(shard, "rb") as stream:
            headers += 8 + int.from_bytes(stream.read(8), "little")
    small = sum((sharded / name).stat().st_size for name in ("config.json", "model.safetensors.index.json"))
    sent = sum(r.sent for r in storage)
    assert headers + small <= sent < 1.2 * (headers + small)
    # One range request for each shard, and nothing of a file that check does not read.
    assert sorted(r.path.split("?")[0].split("/")[-1] for r in storage) == sorted(p.name for p in sharded.iterdir())
    assert all("range" in r.headers for r in storage if ".safetensors?" in r.path and "index" not in r.path)
    assert result.json["remote"]["bytes"] < 1.3 * (headers + small)
    assert len([r for r in requests if r.host == "hub"]) == 1 + len(storage)


def test_headers_longer_than_expected_take_a_second_request(check, hub, sharded, tmp_path):
    directory = tmp_path / "padded"
    directory.mkdir()
    for file in MODEL.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, directory)
            continue
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = data[8:8 + length] + b" " * 400_000  # as the format allows
        (directory / file.name).write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length:])
    hub.add("kjv/padded", directory)
    result = check("hf://kjv/padded", "--json")
    assert result.status == 0, result.text
    ranges = [r.headers["range"] for r in hub.take_requests() if r.host == "storage" and "range" in r.headers]
    assert len(ranges) == 6


def test_a_second_run_asks_for_the_commit_alone(check, hub):
    assert check("hf://kjv/model").status == 0
    commit = hub.repositories["kjv/model"].commit
    hub.take_requests()
    result = check("hf://kjv/model")
    assert result.status == 0 and "unchanged since the last time" in result.out
    assert [r.path.split("?")[0] for r in hub.take_requests()] == ["/api/models/kjv/model/revision/main"]
    result = check(f"hf://kjv/model@{commit}", "--json")  # a commit does not change
    assert result.json["remote"]["requests"] == 0 and hub.take_requests() == []


def test_a_new_commit_reads_what_changed(check, hub, tmp_path):
    directory = tmp_path / "moving"
    shutil.copytree(MODEL, directory)
    repository = hub.add("kjv/moving", directory)
    assert check("hf://kjv/moving").status == 0
    first = repository.commit
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"note": "changed"}))
    assert repository.commit != first
    hub.take_requests()
    result = check("hf://kjv/moving", "--json")
    assert result.status == 0 and result.json["remote"]["commit"] == repository.commit
    assert [r.path.split("?")[0] for r in hub.take_requests()] == [
        "/api/models/kjv/moving/revision/main", f"/kjv/moving/resolve/{repository.commit}/config.json",
        "/kjv/moving/config.json"]


def test_offline(check, hub):
    result = check("hf://kjv/model", "--offline")
    assert result.status == 2 and "nothing of it is in the cache" in result.err
    assert check("hf://kjv/model").status == 0
    hub.take_requests()
    for result in (check("hf://kjv/model", "--offline"), check("hf://kjv/model", HF_HUB_OFFLINE="1")):
        assert result.status == 0 and "from the cache, offline" in result.out
    assert hub.take_requests() == []


def test_pages_and_revisions(check, hub):
    for address in ("hf://kjv/model@main", "hf://kjv/model@refs/pr/1", hub.url + "/kjv/model",
                    hub.url + "/kjv/model/tree/main", hub.url + "/kjv/model/resolve/refs%2Fpr%2F1"):
        assert check(address).status == 0, address
    result = check("hf://kjv/model@v9")
    assert result.status == 2 and "has no revision v9" in result.err


def test_subfolder(check, hub, tmp_path):
    shutil.copytree(MODEL, tmp_path / "repository" / "inner" / "model")
    (tmp_path / "repository" / "README.md").write_text("x")
    hub.add("kjv/nested", tmp_path / "repository")
    assert check("hf://kjv/nested/inner/model").status == 0
    result = check("hf://kjv/nested")
    assert result.status == 2 and "has no .safetensors file" in result.err


def test_plain_url(check, hub):
    url = f"{hub.storage_url}/kjv/model"
    first = check(url, "--json")
    assert first.status == 0 and first.json["path"] == url
    hub.take_requests()
    again = check(url + "/", "--json")
    assert again.status == 0 and again.json["remote"]["files_read"] == 0
    assert {r.status for r in hub.take_requests() if r.method == "GET"} == {304, 404}
    assert again.json["remote"]["bytes"] < 5000
    assert check(url, "--offline").status == 0
    result = check(hub.storage_url + "/kjv/nothing")
    assert result.status == 2 and "there is neither model.safetensors.index.json nor model.safetensors" in result.err


def test_http_without_tls(check, tmp_path):
    server = HubServer(tmp_path, tls=False)
    server.add("kjv/model", MODEL)
    try:
        assert check(server.storage_url + "/kjv/model").status == 0
        assert check("hf://kjv/model", HF_ENDPOINT=server.url).status == 0
    finally:
        server.close()


def test_token(check, hub, tmp_path):
    hub.add("kjv/gated", MODEL, gated=True)
    result = check("hf://kjv/gated")
    assert result.status == 2 and "status 401" in result.err and "set HF_TOKEN" in result.err
    hub.take_requests()
    assert check("hf://kjv/gated", HF_TOKEN=TOKEN).status == 0
    requests = hub.take_requests()
    assert all(r.headers.get("authorization") == f"Bearer {TOKEN}" for r in requests if r.host == "hub")
    assert not any("authorization" in r.headers for r in requests if r.host == "storage")
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    assert check("hf://kjv/gated", HF_TOKEN_PATH=token, OUTRIDER_CACHE=tmp_path / "other").status == 0
    result = check("hf://kjv/gated", HF_TOKEN="hf_wrong", OUTRIDER_CACHE=tmp_path / "third")
    assert result.status == 2 and "Check that HF_TOKEN is valid" in result.err
    # A URL elsewhere gets no token.
    hub.take_requests()
    check(hub.storage_url + "/kjv/model", HF_TOKEN=TOKEN)
    assert not any("authorization" in r.headers for r in hub.take_requests())


def test_missing_repository(check):
    result = check("hf://nobody/nothing")
    assert result.status == 2 and "no public repository of this name" in result.err
    result = check("hf://nobody/nothing", "--json", HF_TOKEN=TOKEN)
    assert result.status == 2 and result.json["exit_status"] == 2 and "your HF_TOKEN may not read it" in result.json["error"]


def test_certificates_are_verified(check, hub, tmp_path):
    result = check("hf://kjv/model", SSL_CERT_FILE=None)
    assert result.status == 2 and "is not trusted" in result.err and "self-signed" in result.err
    assert check("hf://kjv/model", SSL_CERT_FILE=None, REQUESTS_CA_BUNDLE=hub.certificate).status == 0
    result = check("hf://kjv/model", SSL_CERT_FILE="/nowhere.pem")
    assert result.status == 2 and "SSL_CERT_FILE is /nowhere.pem" in result.err
    other = HubServer(tmp_path, names="DNS:elsewhere.example")
    other.add("kjv/model", MODEL)
    try:
        result = check("hf://kjv/model", HF_ENDPOINT=other.url, SSL_CERT_FILE=other.certificate)
        assert result.status == 2 and "is not trusted" in result.err and "hostname mismatch" in result.err.lower()
    finally:
        other.close()


def test_no_server(check):
    begin = time.monotonic()
    result = check("hf://kjv/model", HF_ENDPOINT="https://localhost:9")
    assert result.status == 2 and "cannot connect to localhost:9" in result.err and "--offline" in result.err
    assert time.monotonic() - begin < 20


def test_values_are_refused(check, hub):
    for arguments in (["--data"], ["--probe"], ["--reference", MODEL]):
        result = check("hf://kjv/model", *arguments)
        assert result.status == 2 and f"{arguments[0]} reads values" in result.err
    result = check(MODEL, "--reference", "hf://kjv/model")
    assert result.status == 2 and "Download the reference" in result.err
    assert hub.take_requests() == []


def test_no_other_command_takes_the_headers_for_weights(check, tmp_path):
    assert check("hf://kjv/model").status == 0
    (directory,) = (tmp_path / "cache").rglob("snapshots/*")
    for command in (["check", directory], ["check", directory, "--data"], ["generate", directory],
                    ["check", next(directory.glob("*.safetensors"))]):
        result = subprocess.run([BINARY, *command], input="Genesis", capture_output=True, text=True, check=False)
        assert result.returncode == 2 and "its files have headers only" in result.stderr
    result = subprocess.run([BINARY, "repair", "hf://kjv/model", "--in-place"], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "`outrider check hf://kjv/model` checks it there" in result.stderr


def test_findings_name_the_address(check, hub, tmp_path):
    directory = tmp_path / "broken"
    shutil.copytree(MODEL, directory)
    shard = directory / "model-00002-of-00003.safetensors"
    os.truncate(shard, shard.stat().st_size - 100)
    (directory / "model-00003-of-00003.safetensors").unlink()
    hub.add("kjv/broken", directory)
    result = check("hf://kjv/broken", "--json")
    assert result.status == 2
    assert "100 of" in result.out and "hf://kjv/broken/model-00002-of-00003.safetensors" in result.out
    assert str(tmp_path) not in result.out and "hf download kjv/broken" in result.out
    here = local(directory)
    assert [f["code"] for f in here["findings"]] == [f["code"] for f in result.json["findings"]]


def test_two_processes_at_once(hub, check, tmp_path):
    hub.delay = 0.02
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "SSL_CERT_FILE": str(hub.certificate),
                   "OUTRIDER_CACHE": str(tmp_path / "shared")}
    try:
        processes = [subprocess.Popen([BINARY, "check", "hf://kjv/model"], env=environment, stdout=subprocess.PIPE,
                                      text=True) for _ in range(6)]
        outputs = [process.communicate(timeout=60)[0] for process in processes]
    finally:
        hub.delay = 0
    assert [process.returncode for process in processes] == [0] * 6
    assert sum("unchanged since the last time" in output for output in outputs) == 5


def test_interrupt_ends_it_at_once(hub, check, tmp_path):
    hub.delay = 30
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "SSL_CERT_FILE": str(hub.certificate),
                   "OUTRIDER_CACHE": str(tmp_path / "cache")}
    try:
        process = subprocess.Popen([BINARY, "check", "hf://kjv/model"], env=environment)
        time.sleep(0.5)
        begin = time.monotonic()
        process.send_signal(2)
        assert process.wait(10) == -2 and time.monotonic() - begin < 1
    finally:
        hub.delay = 0
    assert check("hf://kjv/model").status == 0
