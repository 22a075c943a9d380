"""The bundled model's own continuations of the training chapters, which train_dspark.py trains a drafter on.

Starts `outrider serve` and asks for two outputs for each training chapter: a whole chapter, sampled at temperature 1
from its title, and the greedy continuation of its first tokens (32, or 16 to 256). Outputs come back as text and are
encoded again. The seeds are fixed.
"""

import argparse
import json
import random
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from corpus import chapters
from deepseek_v4.config import Config
from documents import MODEL, prompt, tokenizer

ROOT = Path(__file__).resolve().parents[1]
CONCURRENT = 64
SAMPLED_TOKENS = 1024
GREEDY_TOKENS = 384


class Server:
    """`outrider serve`, in official arithmetic and without speculation."""

    def __init__(self, model: Path, program: Path = ROOT / "build" / "release" / "outrider", port: int = 8433):
        command = [program, "serve", model, "--port", port, "--max-num-seqs", CONCURRENT, "--max-model-len", 4096]
        command += ["--no-speculation", "--disable-log-requests", "--disable-log-stats"]
        self._model, self._port = str(model), port
        self._process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if f":{port}" in line:
                break

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.communicate()

    def complete(self, requests: list[dict]) -> list[list[int]]:
        """Completion requests, with prompts of token ids -> for each, the prompt's ids and those of the output."""
        encode, eos = tokenizer().encode, Config().eos_token_id

        def one(request: dict) -> list[int]:
            body = json.dumps({"model": self._model, **request}).encode()
            url = f"http://127.0.0.1:{self._port}/v1/completions"
            call = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            choice = json.load(urllib.request.urlopen(call))["choices"][0]
            ids = request["prompt"] + encode(choice["text"], add_special_tokens=False).ids
            return ids + [eos] * (choice["finish_reason"] == "stop")

        with ThreadPoolExecutor(CONCURRENT) as pool:
            return list(pool.map(one, requests))


def requests() -> list[dict]:
    encode, choose, out = tokenizer().encode, random.Random("sample.py"), []
    for i, chapter in enumerate(c for c in chapters() if not c.held_out):
        start = encode(prompt(chapter.title, False), add_special_tokens=False).ids
        ids = start + encode(chapter.text, add_special_tokens=False).ids
        out.append({"prompt": start, "temperature": 1.0, "seed": i, "max_tokens": SAMPLED_TOKENS})
        known = 32 if choose.random() < 0.5 else choose.randint(16, 256)
        out.append({"prompt": ids[:known], "temperature": 0.0, "max_tokens": GREEDY_TOKENS})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="file for the token ids (.pt)")
    args = parser.parse_args()

    asked = requests()
    with Server(MODEL) as server:
        outputs = server.complete(asked)
    documents = [(len(r["prompt"]), torch.tensor(ids, dtype=torch.int16)) for r, ids in zip(asked, outputs)]
    torch.save(documents, args.output)
    print(f"{len(documents)} outputs, {sum(len(ids) - known for known, ids in documents):,} tokens")


if __name__ == "__main__":
    main()
