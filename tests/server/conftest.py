"""Fixtures: a running `outrider serve` and its clients."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import openai
import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("OUTRIDER_BINARY", ROOT / "build/release/outrider"))
MODEL = ROOT / "models/deepseek-v4-kjv"


class Server:
    """The program, serving a model on a free port. Its log lines are collected in `log`."""

    def __init__(self, *options, model=MODEL, environment=None):
        command = [BINARY, "serve", model, "--port", "0", "--served-model-name", "kjv", *map(str, options)]
        self.log = []
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8",
                                        env={**os.environ, **(environment or {})})
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"Listening on (http://[^\s\"]+)", line):
                self.url = found[1]
                break
        else:
            raise RuntimeError("the server did not start:\n" + "".join(self.log))
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self._reader.start()

    def client(self, **options):
        return openai.OpenAI(base_url=self.url + "/v1", **{"api_key": "none", "max_retries": 0, "timeout": 120, **options})

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()

    def post(self, path, body, headers=None):
        """Returns the status and JSON of a response, whatever the status."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def metrics(self):
        """Returns values by name and labels, without model_name and engine."""
        values = {}
        for line in self.get("/metrics").splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = re.sub(r'(model_name="kjv"|engine="0"),?', "", name).replace(",}", "}").replace("{}", "")
                values[name] = float(value)
        return values

    def resident_bytes(self):
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, signal_number=signal.SIGTERM, timeout=60):
        """Stops the server; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        status = self.process.wait(timeout)
        self._reader.join(10)
        return status


@pytest.fixture(scope="session")
def serve():
    """Starts servers, which are stopped at the end and must exit with status 0."""
    servers = []

    def start(*options, **keywords):
        servers.append(Server(*options, **keywords))
        return servers[-1]

    yield start
    statuses = [server.stop() for server in servers]
    failed = [server for server, status in zip(servers, statuses) if status != 0]
    assert statuses == [0] * len(statuses), "".join("".join(server.log[-200:]) for server in failed)


@pytest.fixture(scope="session")
def server(serve):
    """One server that most tests share."""
    return serve("--speculative-config", '{"num_speculative_tokens": 1}', "--max-model-len", 4096, "--max-num-seqs", 8)


@pytest.fixture(scope="session")
def client(server):
    return server.client()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def generate(prompt, max_tokens, *options, model=MODEL):
    """Returns the greedy output of `outrider generate`, and its accepted and draft tokens."""
    result = subprocess.run([BINARY, "generate", model, "-n", str(max_tokens), *map(str, options)], input=prompt,
                            capture_output=True, text=True, encoding="utf-8", check=True)
    drafts = re.search(r"acceptance [\d.]+% \((\d+) of (\d+)\)", result.stderr)
    return result.stdout.removesuffix("\n"), (int(drafts[1]), int(drafts[2])) if drafts else (0, 0)


@pytest.fixture(scope="session")
def variants():
    """Creates variants of the bundled model, by name."""
    with tempfile.TemporaryDirectory() as directory:

        def make(name):
            path = Path(directory) / name
            if not path.exists():
                subprocess.run([sys.executable, ROOT / "tests/variants/make_variants.py", directory, name], check=True)
            return path

        yield make
