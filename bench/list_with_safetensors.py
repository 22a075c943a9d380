"""The Python side of check_speed.py: list every tensor of a checkpoint with the safetensors package.

Prints one JSON line: seconds spent after the interpreter and the imports were ready, and how many tensors it saw.
"""

import sys
import time
from pathlib import Path

import numpy  # noqa: F401  safe_open(framework="np") needs it; imported here so the clock starts after it
from safetensors import safe_open


def main() -> None:
    directory = Path(sys.argv[1])
    started = time.perf_counter()
    tensors = []
    for shard in sorted(directory.glob("*.safetensors")):
        with safe_open(shard, framework="np") as opened:
            for name in opened.keys():
                part = opened.get_slice(name)
                tensors.append((name, part.get_dtype(), part.get_shape()))
    seconds = time.perf_counter() - started
    print(f'{{"seconds": {seconds:.9f}, "tensors": {len(tensors)}}}')


if __name__ == "__main__":
    main()
