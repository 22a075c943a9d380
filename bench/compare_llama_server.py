#!/usr/bin/env python3
"""Times `outrider serve` and llama.cpp's server (llama_cpp.server), in turn, with 1, 4, 16 and 64 clients.

The models are those of compare_llama_cpp.py, random weights of DeepSeek-V4-Flash's widths, with the bundled model's tokenizer
(filled up to the vocabulary's size), so that both servers take text. Requests are the same: chapters of the bundled model's
book as prompts, a fixed number of greedy tokens. `outrider bench serve` sends them to either. llama_cpp.server works on one
request at a time.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import compare_llama_cpp
from compare_llama_cpp import ROOT

OUTRIDER = ROOT / "build" / "release" / "outrider"
VOCABULARY = 129280
NORMAL, CONTROL = 1, 3  # GGUF's kinds of tokens


def tokenizer() -> dict:
    """The bundled model's, with tokens that no text has after them."""
    value = json.loads((ROOT / "models" / "deepseek-v4-kjv" / "tokenizer.json").read_text())
    used = value["model"]["vocab"]
    taken = {*used.values(), *(token["id"] for token in value["added_tokens"])}
    used.update({f"filler{i}": i for i in range(VOCABULARY) if i not in taken})
    return value


def add_tokenizer(writer) -> None:
    value = tokenizer()
    tokens = {i: (text, NORMAL) for text, i in value["model"]["vocab"].items()}
    tokens |= {token["id"]: (token["content"], CONTROL) for token in value["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-v3")
    writer.add_token_list([tokens[i][0] for i in range(VOCABULARY)])
    writer.add_token_types([tokens[i][1] for i in range(VOCABULARY)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in value["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)


def write_prompts(path: Path, count: int, words: int, output_tokens: int) -> None:
    choose = random.Random(1)
    books = ["Genesis", "Exodus", "and", "it", "came", "to", "pass", "that", "the", "king", "of", "Israel", "said", "unto"]
    with path.open("w") as file:
        for _ in range(count):
            text = " ".join(choose.choice(books) for _ in range(words))
            file.write(json.dumps({"prompt": text, "output_tokens": output_tokens}) + "\n")


class Served:
    def __init__(self, command: list, url: str, log: Path):
        self.url = url
        self.process = subprocess.Popen(command, stdout=log.open("w"), stderr=subprocess.STDOUT)
        for _ in range(1200):
            if self.process.poll() is not None:
                sys.exit(f"{command[0]} ended:\n{log.read_text()[-2000:]}")
            try:
                urllib.request.urlopen(url + "/v1/models", timeout=5).read()
                return
            except OSError:
                time.sleep(0.25)
        sys.exit(f"{command[0]} does not answer")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def benchmark(url: str, prompts: Path, clients: int, count: int, folder: Path) -> dict:
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    subprocess.run([OUTRIDER, "bench", "serve", "--base-url", url, "--dataset-name", "custom", "--dataset-path", prompts,
                    "--disable-shuffle", "--num-prompts", str(count), "--max-concurrency", str(clients), "--temperature", "0",
                    "--extra-body", json.dumps({"logit_bias": {"1": -100}}), "--save-result", "--result-dir", folder,
                    "--result-filename", result.name, "--disable-tqdm"],
                   check=True, stdout=subprocess.DEVNULL)
    return json.loads(result.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "bench" / "served")
    parser.add_argument("--experts", type=int, default=32, help="routed experts per layer, of three layers")
    parser.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[1, 4, 16, 64])
    parser.add_argument("--words", type=int, default=100, help="of a prompt")
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=2, help="the servers take turns this often; the better turn counts")
    parser.add_argument("--write-gguf", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    directory, gguf = arguments.directory, arguments.directory.with_suffix(".gguf")
    if arguments.write_gguf:
        return compare_llama_cpp.write_gguf(directory, gguf, add_tokenizer)

    python = compare_llama_cpp.ensure_python("native")
    if subprocess.run([python, "-c", "import llama_cpp.server.app"], capture_output=True).returncode != 0:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "llama-cpp-python[server]"], check=True)
    if not directory.exists():
        subprocess.run([OUTRIDER, "make-model", directory, "--like", "flash", "--layers", "3", "--experts",
                        str(arguments.experts), "--no-mtp"], check=True)
        (directory / "tokenizer.json").write_text(json.dumps(tokenizer()))
    if not gguf.exists():
        subprocess.run([python, __file__, "--directory", directory, "--write-gguf"], check=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prompts = folder / "prompts.jsonl"
        write_prompts(prompts, 256, arguments.words, arguments.output_tokens)
        threads = str(arguments.threads)
        sides = {
            "Outrider": Served([OUTRIDER, "serve", directory, "--port", "8791", "--threads", threads, "--max-model-len", "4096",
                                "--max-num-seqs", "64", "--no-enable-prefix-caching", "--disable-log-requests"],
                               "http://127.0.0.1:8791", folder / "outrider.log"),
            "llama.cpp": Served([python, "-m", "llama_cpp.server", "--model", gguf, "--n_ctx", "4096", "--n_threads", threads,
                                 "--n_threads_batch", threads, "--n_batch", "512", "--port", "8792",
                                 "--interrupt_requests", "False"],
                                "http://127.0.0.1:8792", folder / "llama.log"),
        }
        for side in sides.values():
            benchmark(side.url, prompts, 1, 2, folder)  # maps the pages
        print(f"{'clients':>8}{'':12}{'tokens/s':>10}{'TTFT p50 ms':>13}{'TTFT p99':>11}{'TPOT p50':>11}{'prompt':>9}")
        for clients in arguments.clients:
            best = {}
            for _ in range(arguments.rounds):
                for name, side in sides.items():
                    result = benchmark(side.url, prompts, clients, max(4, clients), folder)
                    if name not in best or result["output_throughput"] > best[name]["output_throughput"]:
                        best[name] = result
            for name, result in best.items():
                print(f"{clients:8}{name:>12}{result['output_throughput']:10.1f}{result['median_ttft_ms']:13.0f}"
                      f"{result['p99_ttft_ms']:11.0f}{result['median_tpot_ms']:11.1f}"
                      f"{result['total_input_tokens'] / result['completed']:9.0f}", flush=True)
        for side in sides.values():
            side.stop()


if __name__ == "__main__":
    main()
