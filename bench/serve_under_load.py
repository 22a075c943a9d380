#!/usr/bin/env python3
"""What do clients of `outrider serve` notice of each other? Time to first token of short requests, /health, and memory.

The bundled model is served to them alone; beside 1,000 connections that stall; beside the crowd of
tests/server/test_stress.py, 80 clients who ask, leave, hang up and send nonsense; beside 16 clients with prompts of 900 kB;
and beside all of these at once. Run it with build/server-venv/bin/python, which `make server-venv` makes.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import random
import socket
import statistics
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "server"))
os.environ["OUTRIDER_STRESS_CLIENTS"] = os.environ.get("OUTRIDER_STRESS_CLIENTS", "80")

import test_stress  # noqa: E402
from conftest import Server, generate  # noqa: E402

MAX_WAITING = 128
LONG_PROMPTS = 16
LONG_BYTES = 900_000
STALLED = 1000
PROBES = 2  # clients whose short requests are timed


class Repeated:
    """Does something again and again in threads, until it is stopped."""

    def __init__(self, work, threads):
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(work, i), daemon=True) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, work, number):
        while not self.stopping.is_set():
            work(number)

    def stop(self, wait=True):
        self.stopping.set()
        for thread in self.threads if wait else []:
            thread.join()


def connect(server):
    return http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=600)


def first_token(server, prompt, max_tokens):
    """Seconds until the first event of a streamed completion; its status. Reads the answer to its end."""
    connection = connect(server)
    began = time.perf_counter()
    body = {"model": "kjv", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.readline()
    seconds = time.perf_counter() - began
    answer.read()
    connection.close()
    return seconds, answer.status


def health(server):
    began = time.perf_counter()
    connection = connect(server)
    connection.request("GET", "/health")
    if connection.getresponse().status != 200:
        raise RuntimeError("/health does not answer 200")
    connection.close()
    return time.perf_counter() - began


def stall(server):
    """STALLED connections: half of them stop in the header, half in the body, and twenty do not read their answer."""
    host, port = server.url.removeprefix("http://").split(":")
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    question = json.dumps({"prompt": "Genesis", "max_tokens": 100, "stream": True, "logprobs": 20}).encode()
    begun = [head[:40], head + b"100000\r\n\r\n" + b" " * 2000, head + b"%d\r\n\r\n" % len(question) + question]
    connections = []
    for i in range(STALLED):
        connections.append(socket.create_connection((host, int(port))))
        connections[-1].sendall(begun[2 if i < 20 else i % 2])
    return connections


def stall_for_a_while(server):
    connections = stall(server)
    time.sleep(20)
    for connection in connections:
        connection.close()


def run_crowd(url, expected, seconds, answers):
    server = Server.__new__(Server)  # the one that runs already
    server.url = url
    test_stress.MAX_WAITING = MAX_WAITING
    crowd = test_stress.Crowd(server, expected, seconds)
    crowd.run()
    answers.put((crowd.counts, crowd.problems))


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Stage:
    """Times short requests and /health for `seconds`, and what else there is in the meantime."""

    def __init__(self, server, name, seconds):
        self.times, self.healths, self.refused, self.memory = [], [], 0, []
        choose = random.Random(name)

        def probe(_):
            took, status = first_token(server, f"Genesis {choose.randrange(1, 50)}\n\n", 8)
            if status == 200:
                self.times.append(took)
            else:
                self.refused += 1
                time.sleep(0.1)

        def ask_health(_):
            self.healths.append(health(server))
            time.sleep(0.1)

        both = [Repeated(probe, PROBES), Repeated(ask_health, 1)]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(10, seconds / 4))
            self.memory.append(server.resident_bytes() >> 20)
        for each in both:
            each.stop()
        ms = [1e3 * quantile(self.times, share) for share in (0.5, 0.99)] + [1e3 * max(self.times)]
        print(f"{name:34}{len(self.times):8}{ms[0]:9.0f}{ms[1]:9.0f}{ms[2]:9.0f}{self.refused:9}"
              f"{1e3 * statistics.median(self.healths):9.1f}{1e3 * max(self.healths):9.0f}"
              f"   {self.memory[0]} to {self.memory[-1]}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180, help="of the last stage; the others take a quarter")
    arguments = parser.parse_args()
    stage_seconds = arguments.seconds / 4

    prompts = [f"{book} {chapter}\n\n" for book in ("Genesis", "Exodus", "Job", "Psalms")
               for chapter in range(1, test_stress.CHAPTERS + 1)]
    expected = {prompt: generate(prompt, 16)[0] for prompt in prompts}
    server = Server("--max-model-len", 524288, "--max-num-seqs", test_stress.MAX_NUM_SEQS, "--max-waiting", MAX_WAITING,
                    "--disable-log-requests", "--shutdown-timeout", 0)
    text = "And it came to pass in those days, that he went up into the mountain. "

    def ask_long(number):
        try:
            prompt = f"{number} {random.random()} " + text * (LONG_BYTES // len(text))
            status = first_token(server, prompt, 1)[1]
        except OSError:  # the server stops
            status = 0
        if status != 200:
            time.sleep(0.5)

    def with_crowd(name, seconds):
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        process = context.Process(target=run_crowd, args=(server.url, expected, seconds + 8, answers))
        process.start()
        time.sleep(4)
        Stage(server, name, seconds)
        counts, problems = answers.get()
        process.join()
        print(f"    the crowd: {sum(counts.values())} deeds, {len(problems)} problems {problems[:3]}", flush=True)

    print(f"{'':34}{'short':>8}{'TTFT ms':>9}{'':9}{'':9}{'':9}{'/health':>9}{'ms':>9}   resident")
    print(f"{'':34}{'requests':>8}{'p50':>9}{'p99':>9}{'max':>9}{'refused':>9}{'p50':>9}{'max':>9}   MiB", flush=True)
    Stage(server, "nobody else", stage_seconds)

    before = server.resident_bytes() >> 20
    stalled = stall(server)
    time.sleep(1)
    print(f"    {STALLED} stalled connections take {(server.resident_bytes() >> 20) - before} MiB", flush=True)
    Stage(server, f"{STALLED} stalled connections", min(stage_seconds, 40))
    for connection in stalled:
        connection.close()

    with_crowd("a crowd of 80", stage_seconds)
    long = Repeated(ask_long, LONG_PROMPTS)
    time.sleep(2)
    Stage(server, f"{LONG_PROMPTS} prompts of {LONG_BYTES // 1000} kB", stage_seconds)
    stalling = Repeated(lambda _: stall_for_a_while(server), 1)
    with_crowd("all of it", arguments.seconds)
    long.stop(wait=False)
    stalling.stop()
    sys.exit(server.stop())


if __name__ == "__main__":
    main()
