"""Artifacts to check: the bundled model, and variants of it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/deepseek-v4-kjv"


@pytest.fixture(scope="session")
def variants(tmp_path_factory):
    """-> a function that makes a variant by its name and returns its directory."""
    directory = tmp_path_factory.mktemp("variants")

    def make(name):
        if not (directory / name).exists():
            subprocess.run([sys.executable, ROOT / "tests/variants/make_variants.py", directory, name], check=True)
        return directory / name

    return make
