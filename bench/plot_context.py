#!/usr/bin/env python3
"""Draws what a longer context costs: time of a decode step, and memory of the sequence, by bench_forward's model.

Three layers of V4-Flash's widths, one of each kind, and the head. Writes docs/images/context.svg. matplotlib is installed
from PyPI in build/bench-venv.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "bench-venv"
CHUNK = 512
REPETITIONS = 9


def anonymous_bytes(pid: int) -> int:
    return 1024 * int(re.search(r"RssAnon:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def measure(longest: int) -> list[dict]:
    forward = subprocess.Popen([ROOT / "build/release/bench/bench_forward", "--directory", ROOT / "build/bench/forward",
                                "--interactive", "--context", str(longest + 20 * REPETITIONS)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(line: str) -> str:
        forward.stdin.write(line + "\n")
        forward.stdin.flush()
        return forward.stdout.readline()

    forward.stdout.readline()
    for warmup in (CHUNK, 1):
        answer(f"run {warmup}")
    answer("reset")
    empty = anonymous_bytes(forward.pid)
    points, at = [], 0
    while at < longest:
        at += CHUNK
        answer(f"run {CHUNK}")
        if at & (at - 1) == 0:
            seconds = [float(answer("run 1")) for _ in range(REPETITIONS)]
            points.append({"tokens": at, "seconds": statistics.median(seconds),
                           "bytes": anonymous_bytes(forward.pid) - empty})
            print(points[-1], flush=True)
    return points


def draw(points: list[dict], to: Path) -> None:
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "outrider"
    from matplotlib import pyplot

    figure, (time, memory) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    tokens = [p["tokens"] for p in points]
    time.plot(tokens, [1e3 * p["seconds"] for p in points], "o-")
    time.set(title="Decode step", ylabel="ms", ylim=0)
    memory.plot(tokens, [p["bytes"] / 2**20 for p in points], "o-")
    memory.set(title="Memory of the sequence", ylabel="MiB", ylim=0)
    for axes in (time, memory):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("tokens of context")
        axes.grid(alpha=0.3)
    figure.savefig(to, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longest", type=int, default=16384, help="tokens of context; a power of two")
    parser.add_argument("--image", type=Path, default=ROOT / "docs" / "images" / "context.svg")
    parser.add_argument("--points", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.points:
        return draw(json.loads(arguments.points), arguments.image)
    python = VENV / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", "import matplotlib"], capture_output=True).returncode != 0:
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin" / "pip", "install", "--quiet", "matplotlib"], check=True)
    points = measure(arguments.longest)
    subprocess.run([python, __file__, "--image", arguments.image, "--points", json.dumps(points)], check=True)


if __name__ == "__main__":
    main()
