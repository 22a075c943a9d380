"""Fixtures: a server that behaves as the Hub, and the program that reads from it."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from hub_server import HubServer

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("OUTRIDER_BINARY", ROOT / "build/release/outrider"))
MODEL = ROOT / "models/deepseek-v4-kjv"


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    server = HubServer(tmp_path_factory.mktemp("certificate"))
    server.add("kjv/model", MODEL)
    yield server
    server.close()


@pytest.fixture(scope="session")
def sharded(tmp_path_factory):
    """Five shards of V4-Flash's layers, 15 GB of zeros that take no space."""
    directory = tmp_path_factory.mktemp("sharded") / "model"
    subprocess.run([BINARY, "make-model", directory, "--like", "flash", "--layers", "3", "--shards", "5", "--sparse"],
                   check=True, capture_output=True)
    return directory


class Result:
    def __init__(self, process):
        self.status, self.out, self.err = process.returncode, process.stdout, process.stderr
        self.text = self.out + self.err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def check(hub, tmp_path):
    """Runs `outrider check` with the hub as endpoint, trusting its certificate, and a cache of the test's own."""
    hub.take_requests()

    def run(*arguments, timeout=120, **environment):
        clean = {k: v for k, v in os.environ.items()
                 if not k.upper().endswith("_PROXY") and not k.startswith(("HF_", "SSL_CERT", "XDG_", "HUGGING"))}
        settings = {"HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "SSL_CERT_FILE": str(hub.certificate),
                    "OUTRIDER_CACHE": str(tmp_path / "cache"), **environment}
        settings = {name: value for name, value in settings.items() if value is not None}
        process = subprocess.run([BINARY, "check", *map(str, arguments)], env={**clean, **settings}, text=True,
                                 capture_output=True, timeout=timeout, encoding="utf-8")
        return Result(process)

    return run
