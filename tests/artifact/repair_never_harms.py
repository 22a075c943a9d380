#!/usr/bin/env python3
"""Repairs every variant, alone and with the release as reference, and compares the result with the original.

Either nothing changed, or the findings are a subset of those before, there is no error among them, and every tensor and
every field of config.json that no finding of before names is as it was, byte for byte. Where the artifact was trained
after the release, none of its values is the release's afterwards.
"""

import argparse
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "variants"))

from make_variants import all_names  # noqa: E402
from safetensors_file import read_checkpoint, read_file  # noqa: E402
from trained import TRAINED  # noqa: E402

REFERENCE = "official"
# Findings whose repair changes the description of storage forms in config.json.
DESCRIPTION = {"OUT024", "OUT025", "OUT041", "OUT051", "OUT053", "OUT055"}


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def tensors_of(directory: Path) -> dict:
    """The tensors of every readable file, in the index or not."""
    try:
        return read_checkpoint(directory)
    except Exception:  # damaged files: reads the intact ones
        out = {}
        for path in sorted(directory.glob("*.safetensors")):
            try:
                out |= read_file(path)
            except Exception:
                pass
        return out


def config_of(directory: Path) -> dict:
    try:
        return json.loads((directory / "config.json").read_text())
    except (OSError, ValueError):
        return {}


def findings_of(program: Path, directory: Path) -> tuple[list[dict], int]:
    ran = subprocess.run([program, "check", "--json", directory], capture_output=True, text=True)
    return json.loads(ran.stdout).get("findings", []), ran.returncode


def module(name: str) -> str:
    """The name that a weight and its scales share."""
    head, _, leaf = name.rpartition(".")
    return head if re.match(r"weight|scale|input_", leaf) else name


def is_named(name: str, findings: list[dict]) -> bool:
    patterns = [module(p["pattern"]) for f in findings for p in f["tensors"]]
    return any(fnmatch.fnmatchcase(module(name), p) for p in patterns) or any(name in f["message"] for f in findings)


def says_the_same(old: dict, new: dict, added: set[str]) -> bool:
    """Whether two quantization_configs are equal except for new tensors that the second one ignores."""
    more = [m for m in new.get("ignore", []) if m not in old.get("ignore", [])]
    rest = {k: v for k, v in new.items() if k != "ignore"} == {k: v for k, v in old.items() if k != "ignore"}
    return rest and set(more) <= {module(n) for n in added}


def problems_of(program: Path, variants: Path, name: str, reference: bool, scratch: Path) -> list[str]:
    source, work = variants / name, scratch / name
    shutil.copytree(source, work, copy_function=os.link, symlinks=True)
    before = snapshot(work)
    findings, _ = findings_of(program, work)
    options = ["--reference", variants / REFERENCE] if reference else []
    ran = subprocess.run([program, "repair", "--in-place", work, *options], capture_output=True, text=True)
    what = f"{name}{' beside the release' if reference else ''}"
    problems = [] if ran.returncode in (0, 1, 2) else [f"{what}: repair ends with {ran.returncode}: {ran.stderr}"]
    made = snapshot(work)
    after, status = findings_of(program, work)
    if before == made:
        shutil.rmtree(work)
        return problems
    if ran.returncode != status or status != 0:
        problems.append(f"{what}: changed, repair says {ran.returncode}, check says {status}")
    # A drafter that is present now may be reported ("info"); that is not a fault.
    new = {f["code"] for f in after if f["severity"] != "info"} - {f["code"] for f in findings}
    if new:
        problems.append(f"{what}: new findings {sorted(new)}")
    old_tensors, new_tensors = tensors_of(source), tensors_of(work)
    for tensor, value in old_tensors.items():
        if new_tensors.get(tensor) != value and not is_named(tensor, findings):
            problems.append(f"{what}: {tensor} changed, and no finding named it")
    old_config, new_config = config_of(source), config_of(work)
    messages = " ".join(f["message"] for f in findings)
    for field in old_config | new_config:
        old, new = old_config.get(field), new_config.get(field)
        if old == new or field in messages:
            continue
        described = field in ("quantization_config", "expert_dtype") and any(f["code"] in DESCRIPTION for f in findings)
        added = set(new_tensors) - set(old_tensors)
        if described or (field == "quantization_config" and says_the_same(old or {}, new or {}, added)):
            continue
        problems.append(f"{what}: {field} of config.json changed, and no finding named it")
    if name in TRAINED and reference:
        released = {t.data for t in read_checkpoint(variants / REFERENCE).values()}
        own = {t.data for t in old_tensors.values()}
        taken = [n for n, t in new_tensors.items() if t.data in released and t.data not in own]
        allowed = TRAINED[name].lacking
        problems += [
            f"{what}: {n} is the release's now" for n in taken if not any(fnmatch.fnmatchcase(n, a) for a in allowed)
        ]
    shutil.rmtree(work)
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outrider", type=Path)
    parser.add_argument("variants", type=Path, help="directory written by make_variants.py")
    parser.add_argument("names", nargs="*", help="names of variants; default: all")
    args = parser.parse_args()
    problems = []
    names = args.names or all_names()
    with tempfile.TemporaryDirectory(dir=args.variants) as scratch:
        for name in names:
            for reference in (False, True):
                problems += problems_of(args.outrider, args.variants, name, reference, Path(scratch))
    if problems:
        sys.exit("\n".join(problems))
    print(f"repaired {len(names)} variants, alone and beside the release")


if __name__ == "__main__":
    main()
