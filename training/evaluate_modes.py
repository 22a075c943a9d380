"""Perplexity and acceptance of the bundled model in the engine, for each numeric mode and the kernels given.

    evaluate_modes.py --kernels avx2

Perplexity as in evaluate.py, from the logprobs of prompts that `outrider serve` echoes; acceptance is that of one
drafted token with the prompts of evaluate_artifacts.py.
"""

import argparse
import json
import math
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from evaluate import CONTEXT, held_out
from evaluate_artifacts import ROOT, acceptance

MODEL = ROOT / "models" / "deepseek-v4-kjv"


def perplexity(program: Path, mode: str) -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([program, "serve", MODEL, "--port", str(port), "--mode", mode], stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/health")
                break
            except OSError:
                time.sleep(0.1)
        total, count = 0.0, 0
        for ids in held_out(CONTEXT + 1):
            body = {"prompt": ids, "echo": True, "max_tokens": 0, "logprobs": 0}
            request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(),
                                             {"Content-Type": "application/json"})
            logprobs = json.load(urllib.request.urlopen(request))["choices"][0]["logprobs"]["token_logprobs"][1:]
            total, count = total - sum(logprobs), count + len(logprobs)
        return math.exp(total / count)
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outrider", type=Path, default=ROOT / "build" / "release" / "outrider")
    parser.add_argument("--kernels", default="", help="as OUTRIDER_KERNELS; default: the fastest")
    args = parser.parse_args()
    os.environ["OUTRIDER_KERNELS"] = args.kernels
    for mode in ("exact", "official", "fast"):
        accepted, made = acceptance(args.outrider, MODEL, 32, 128, mode)
        print(f"{mode}: perplexity {perplexity(args.outrider, mode):.3f}; "
              f"acceptance {accepted}/{made} = {accepted / made:.1%}", flush=True)


if __name__ == "__main__":
    main()
