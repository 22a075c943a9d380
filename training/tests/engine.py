"""Runs the `outrider` that `make release` builds."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy
import pytest
import torch
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "models" / "deepseek-v4-kjv"
OUTRIDER = Path(os.environ.get("OUTRIDER", ROOT / "build" / "release" / "outrider"))
TOKENS = list(range(3, 300))

needs_outrider = pytest.mark.skipif(not OUTRIDER.exists(), reason="build/release/outrider is not built")


def outrider(*arguments) -> str:
    return subprocess.run([OUTRIDER, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def check(directory: Path) -> dict:
    """The report of `outrider check --json`, whatever its verdict."""
    run = subprocess.run([OUTRIDER, "check", directory, "--json"], capture_output=True, text=True)
    return json.loads(run.stdout)


def codes(report: dict) -> set[str]:
    return {finding["code"] for finding in report["findings"]}


def logits_of(directory: Path, *options) -> torch.Tensor:
    """The last token's logits, [1, V], with `--mtp` [2, V]."""
    with tempfile.TemporaryDirectory() as scratch:
        npy = Path(scratch) / "logits.npy"
        outrider("logits", directory, "--tokens", ",".join(map(str, TOKENS)), "--mode", "exact", "--npy", npy, *options)
        return torch.from_numpy(numpy.load(npy)).float()


def tensors_of(directory: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}
    return tensors
