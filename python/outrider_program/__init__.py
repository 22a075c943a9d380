"""Starts the program `outrider`, which the package `outrider` brings. Apart from it, whose import takes longer than the program."""

import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "outrider" / "bin" / "outrider"


def main() -> None:
    os.environ.setdefault("OUTRIDER_PYTHON", sys.executable)  # for preflight
    os.execv(PROGRAM, ["outrider", *sys.argv[1:]])
