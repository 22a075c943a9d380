"""Published dashboards on a real Prometheus that scrapes a server under load. `pytest -s` prints each query's answer."""

import concurrent.futures
import json
import math
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, wait_until
from dashboards import DASHBOARDS, WITHOUT_DATA

BINARY = shutil.which("prometheus") or next(iter(ROOT.glob("build/prometheus/usr/bin/prometheus")), None)

# Nothing fails, is preempted or comes from elsewhere; at a given moment nothing may run; a machine may be slow.
MAY_BE_ZERO = ('finished_reason="error"', "5xx", "num_preemptions", "external_kv_transfer", "engine_sleep_state", "up{",
               "num_requests_", "kv_cache_usage_perc", 'le="')


class Prometheus:
    def __init__(self, target, directory: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        labels = {"namespace": "test", "service": "outrider", "pod": "outrider-0"}
        config = {"global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"},
                  "scrape_configs": [{"job_name": "outrider", "static_configs": [{"targets": [target], "labels": labels}]}]}
        (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.process = subprocess.Popen(
            [BINARY, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error"])

    def query(self, expression):
        """Returns the series of the answer; none while Prometheus is starting."""
        address = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return []
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        except OSError:
            return []

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def prometheus(server, tmp_path):
    started = Prometheus(server.url.removeprefix("http://"), tmp_path)
    wait_until(lambda: started.query("up"))  # it looks for targets every five seconds
    yield started
    started.stop()


def load(server):
    client = server.client()

    def ask(i):
        prompt = f"Genesis {i % 5}\n\n" + "1 In the beginning. " * (i % 5)
        client.completions.create(model="kjv", prompt=prompt, max_tokens=24, temperature=0, n=1 + i % 2)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(20)))
    for _ in range(2):  # the second reuses the prompt
        client.completions.create(model="kjv", prompt="In the beginning God created the heaven. " * 3, max_tokens=8)
    assert server.post("/v1/completions", {"prompt": 3})[0] == 422


def values(series):
    return [float(each["value"][1]) for each in series]


def has_data(query, series):
    allowed = any(part in query for part in MAY_BE_ZERO)
    return any(math.isfinite(value) and (value > 0 or allowed) for value in values(series))


@pytest.mark.skipif(BINARY is None, reason="Prometheus is not installed (Debian: prometheus)")
def test_every_panel_that_makes_sense_here_has_data(server, prometheus):
    queries = {query for dashboard in DASHBOARDS.values() for _, query in dashboard}
    end = time.monotonic() + 60
    missing = queries
    while missing and time.monotonic() < end:
        with concurrent.futures.ThreadPoolExecutor(1) as background:
            background.submit(load, server)
            answers = {query: prometheus.query(query) for query in queries}
        missing = {query for query, series in answers.items() if not has_data(query, series)}
    for dashboard, panels in DASHBOARDS.items():
        print(f"\n{dashboard}")
        for panel, query in panels:
            shown = ", ".join(f"{value:.6g}" for value in values(answers[query])[:4])
            more = f", … ({len(answers[query])} series)" if len(answers[query]) > 4 else ""
            print(f"  {panel}: {query}\n    = {shown}{more}")
    assert not missing
    for name in WITHOUT_DATA:
        assert prometheus.query(name) == []

    (acceptance,) = values(prometheus.query("sum(rate(vllm:spec_decode_num_accepted_tokens_total[1m])) / "
                                            "sum(rate(vllm:spec_decode_num_draft_tokens_total[1m]))"))
    assert 0.3 < acceptance < 1
    handlers = {series["metric"]["handler"] for series in prometheus.query("http_requests_total")}
    assert "/v1/completions" in handlers and not handlers & {"/metrics", "/health"}
