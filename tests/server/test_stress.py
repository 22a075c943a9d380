"""Many concurrent clients, some of them ill-behaved. OUTRIDER_STRESS_SECONDS sets the duration (default 10).

Under ThreadSanitizer (make test-server-tsan) there are fewer clients and prompts, and memory is not checked."""

import json
import os
import random
import socket
import threading
import time

import openai
from conftest import generate

SECONDS = float(os.environ.get("OUTRIDER_STRESS_SECONDS", "10"))
CLIENTS = int(os.environ.get("OUTRIDER_STRESS_CLIENTS", "64"))
CHAPTERS = int(os.environ.get("OUTRIDER_STRESS_CHAPTERS", "8"))  # chapters of each of four books: prompts
GROWTH_MIB = int(os.environ.get("OUTRIDER_STRESS_GROWTH_MIB", "24"))  # maximum growth of resident memory; 0: any
MAX_NUM_SEQS = 16
MAX_WAITING = 32


class Crowd:
    def __init__(self, server, expected, seconds):
        self.server = server
        self.expected = expected
        self.prompts = list(expected)
        self.end = time.monotonic() + seconds
        self.counts = {}
        self.problems = []
        self.lock = threading.Lock()

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def run(self):
        threads = [threading.Thread(target=self.live, args=(seed,)) for seed in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            metrics = self.server.metrics()
            if metrics["vllm:num_requests_running"] > MAX_NUM_SEQS or (
                    metrics["vllm:num_requests_waiting"] > MAX_NUM_SEQS + MAX_WAITING):
                self.problems.append(f"more requests than allowed: {metrics}")
            time.sleep(0.2)
        for thread in threads:
            thread.join()

    def live(self, seed):
        choose = random.Random(seed)
        client = self.server.client()
        deeds = [self.ask, self.ask, self.ask, self.stream, self.stream, self.leave, self.hang_up, self.nonsense,
                 self.long_prompt, self.stop_early, self.structured, self.hostile]
        while time.monotonic() < self.end:
            deed = choose.choice(deeds)
            try:
                deed(client, choose)
                self.count(deed.__name__)
            except openai.RateLimitError:
                self.count("too many")
                time.sleep(choose.random() * 0.2)
            except Exception as error:  # noqa: BLE001
                self.problems.append(f"{deed.__name__}: {error!r}")

    def create(self, client, prompt, max_tokens=16, **options):
        return client.completions.create(**{"model": "kjv", "prompt": prompt, "max_tokens": max_tokens,
                                            "temperature": 0, **options})

    def check(self, prompt, text):
        if text != self.expected[prompt]:
            self.problems.append(f"{prompt!r}: {text!r} is not {self.expected[prompt]!r}")

    def ask(self, client, choose):
        prompt = choose.choice(self.prompts)
        self.check(prompt, self.create(client, prompt).choices[0].text)

    def stream(self, client, choose):
        prompt = choose.choice(self.prompts)
        self.check(prompt, "".join(c.choices[0].text for c in self.create(client, prompt, stream=True)))

    def leave(self, client, choose):
        with self.create(client, choose.choice(self.prompts), 900, stream=True,
                         extra_body={"ignore_eos": True}) as stream:
            for _, _ in zip(range(choose.randrange(5)), stream):
                pass

    def hang_up(self, client, choose):
        host, port = self.server.url.removeprefix("http://").split(":")
        body = json.dumps({"prompt": choose.choice(self.prompts), "max_tokens": 900, "ignore_eos": True})
        request = (f"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                   f"\r\n\r\n{body}").encode()
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(request[: choose.randrange(len(request) + 1)])
            time.sleep(choose.random() * 0.1)

    def nonsense(self, client, choose):
        body = choose.choice([b"{", b"[]", b'{"prompt": 3}', b'{"prompt": "a", "n": -1}', b'{"model": "x", "prompt": "a"}'])
        status, answer = self.server.post("/v1/completions", body)
        if status not in (400, 404, 422) or "error" not in answer:
            self.problems.append(f"{body} was answered with {status}")

    def long_prompt(self, client, choose):
        prompt = " ".join(choose.choice(self.prompts) for _ in range(choose.randrange(20, 90)))
        answer = self.create(client, prompt, 2)
        if answer.usage.completion_tokens not in (1, 2):
            self.problems.append(f"a long prompt: {answer.usage}")

    def stop_early(self, client, choose):
        prompt = choose.choice([p for p in self.prompts if " the" in self.expected[p]])
        text = self.create(client, prompt, stop=" the").choices[0].text
        if text != self.expected[prompt].split(" the")[0]:
            self.problems.append(f"{prompt!r} stopped: {text!r}")


    def structured(self, client, choose):
        schema = {"type": "object", "properties": {"verse": {"type": "integer", "minimum": 1, "maximum": 176},
                                                   "text": {"type": "string", "maxLength": choose.choice([8, 9])}},
                  "required": ["verse", "text"], "additionalProperties": False}
        answer = client.chat.completions.create(
            model="kjv", messages=[{"role": "user", "content": choose.choice(self.prompts)}], max_tokens=200,
            response_format={"type": "json_schema", "json_schema": {"name": "verse", "schema": schema}})
        value = json.loads(answer.choices[0].message.content)
        if not 1 <= value["verse"] <= 176 or len(value["text"]) > 9:
            self.problems.append(f"structured: {value}")

    def hostile(self, client, choose):
        pattern = choose.choice(["^(a|b)*a(a|b){40}$", "^((((a{99}){99}){99}){99}){99}$"])
        status, answer = self.server.post("/v1/completions", {"prompt": "a", "response_format": {
            "type": "json_schema", "json_schema": {"schema": {"pattern": pattern}}}})
        if status != 400 or "too many states" not in answer["error"]["message"]:
            self.problems.append(f"{pattern} was answered with {status}: {answer}")


def test_a_crowd_is_served(serve):
    server = serve("--max-model-len", 1024, "--max-num-seqs", MAX_NUM_SEQS, "--max-waiting", MAX_WAITING,
                   "--disable-log-requests")
    prompts = [f"{book} {chapter}\n\n" for book in ("Genesis", "Exodus", "Job", "Psalms") for chapter in range(1, CHAPTERS + 1)]
    expected = {prompt: generate(prompt, 16)[0] for prompt in prompts}
    if GROWTH_MIB:
        # Memory reaches its size once all sequences have been full and every thread has worked.
        Crowd(server, expected, max(SECONDS / 3, 3)).run()
        fill = [threading.Thread(target=lambda: server.client().completions.create(
            model="kjv", prompt="Genesis 2\n\n", max_tokens=1000, temperature=1, extra_body={"ignore_eos": True}))
            for _ in range(MAX_NUM_SEQS)]
        for thread in fill:
            thread.start()
        for thread in fill:
            thread.join()
    before = server.resident_bytes()
    crowd = Crowd(server, expected, SECONDS)
    crowd.run()
    print(crowd.counts, "resident MiB", before >> 20, server.resident_bytes() >> 20)
    assert crowd.problems == []
    assert crowd.counts["ask"] > (5 if GROWTH_MIB else 0)
    end = time.monotonic() + 60
    while server.metrics()["vllm:num_requests_running"] + server.metrics()["vllm:num_requests_waiting"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert server.metrics()['vllm:request_success_total{finished_reason="error"}'] == 0
    assert not GROWTH_MIB or server.resident_bytes() < before + (GROWTH_MIB << 20)
    assert server.stop() == 0, "".join(server.log)
