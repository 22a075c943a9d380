#!/usr/bin/env python3
"""Compares `outrider check` with the package safetensors on generated files, valid and damaged in every way: which of the
two accepts each.

    python tests/python/safetensors_verdicts.py [--files 10000] [--seed 1] [--binary build/release/outrider]

Prints a table by kind of file. Where the two differ on purpose is listed in STRICTER and LAXER; exit status 1 if they differ
elsewhere.
"""

import argparse
import collections
import concurrent.futures
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors

from generated_safetensors import generated

ROOT = Path(__file__).resolve().parents[2]
UNREADABLE = {"shard-unreadable", "shard-truncated", "not-a-shard"}

# Kinds of files that Outrider refuses although safetensors accepts some of them, and why.
STRICTER = {
    "tensor named twice": "safetensors keeps the last; the format forbids it, and which one is meant is unknown",
    "metadata key twice": "likewise",
    "unknown field": "safetensors ignores it; nothing that writes the format has any",
    "entry as a list": "safetensors reads a list as an entry's fields in order; the format has objects",
    "null metadata": "safetensors takes null for none; the format has a map of strings",
    "rank": "shapes of more than 64 dimensions: nothing has them",
}
# Kinds that Outrider accepts although safetensors refuses them.
LAXER = {"negative zero": "-0 is a number of JSON, and is 0"}


def theirs(path: Path) -> tuple[str, int]:
    """Why safetensors refuses the file, empty if it accepts it; the number of its tensors."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = file.keys()
        safetensors.deserialize(path.read_bytes())
    except Exception as error:  # pylint: disable=broad-except
        return str(error) or type(error).__name__, 0
    return "", len(names)


def ours(binary: Path, path: Path) -> tuple[str, int]:
    """The same of Outrider."""
    run = subprocess.run([binary, "check", "--json", path], capture_output=True, text=True, timeout=60, check=False)
    if run.returncode not in (0, 1, 2) or not run.stdout:
        raise RuntimeError(f"{path}: exit status {run.returncode}: {run.stderr}")
    report = json.loads(run.stdout)
    if "error" in report:
        return report["error"], 0
    refusal = next((f["message"] for f in report["findings"] if f["slug"] in UNREADABLE), "")
    return refusal, 0 if refusal else report["tensors"]


def compare(binary: Path, count: int, seed: int) -> list[dict]:
    """The verdicts of both on `count` files."""
    with tempfile.TemporaryDirectory() as directory:
        config = ROOT / "models/deepseek-v4-kjv/config.json"

        def judge(number: int) -> dict:
            kind, content = generated(seed, number)
            path = Path(directory) / str(number) / "model.safetensors"
            path.parent.mkdir()
            path.write_bytes(content)
            shutil.copy(config, path.parent)
            (refusal, tensors), (their_refusal, their_tensors) = ours(binary, path), theirs(path)
            shutil.rmtree(path.parent)
            return {"number": number, "kind": kind, "ours": refusal, "theirs": their_refusal,
                    "alike": bool(refusal) == bool(their_refusal) and tensors == their_tensors}

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(judge, range(count)))


def differences(verdicts: list[dict]) -> list[dict]:
    """Those that differ without a reason: in the verdict, or in the number of tensors."""
    return [v for v in verdicts if not v["alike"] and v["kind"] not in (STRICTER if v["ours"] else LAXER)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--binary", type=Path, default=ROOT / "build/release/outrider")
    parser.add_argument("--keep", type=int, help="write the file of this number to model.safetensors, and no more")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        Path("model.safetensors").write_bytes(generated(arguments.seed, arguments.keep)[1])
        return 0
    verdicts = compare(arguments.binary, arguments.files, arguments.seed)
    table: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for v in verdicts:
        table[v["kind"]][(not v["ours"], not v["theirs"])] += 1
    print(f"{'kind of file':22} both accept  both refuse  only Outrider refuses  only safetensors refuses")
    for kind, counts in [*table.items(), ("all", sum(table.values(), collections.Counter()))]:
        print(f"{kind:22} {counts[True, True]:11,}  {counts[False, False]:11,}  {counts[False, True]:21,}  "
              f"{counts[True, False]:24,}")
    wrong = differences(verdicts)
    for v in wrong[:40]:
        print(f"file {v['number']} ({v['kind']}): Outrider: {v['ours'] or 'accepts'}; safetensors: {v['theirs'] or 'accepts'}")
    print(f"safetensors {safetensors.__version__}, seed {arguments.seed}: {len(verdicts):,} files, {len(wrong)} differences "
          "without a reason")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
