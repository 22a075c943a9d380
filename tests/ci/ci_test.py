#!/usr/bin/env python3
"""Runs the steps of action.yml in bash as GitHub does, and the pre-commit hook on the files that pre-commit would name.

ci_test.py OUTRIDER: the program to test.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models" / "deepseek-v4-kjv"


def steps(text: str) -> list[dict]:
    """The steps of a composite action: the names of the inputs in their environments, and their commands."""
    out = []
    for step in re.split(r"\n    - ", text.split("\n  steps:\n")[1]):
        run = re.search(r"\n      run: (?:\|\n((?:        .*\n|\n)+)|(.*))", step)
        environment = dict(re.findall(r"\n        (\w+): \$\{\{ inputs\.([\w-]+) \}\}", step))
        out.append({"environment": environment, "run": textwrap.dedent(run[1]) if run[1] else run[2]})
    return out


def run_action(program: Path, directory: Path, inputs: dict) -> tuple[int, dict, str]:
    text = (ROOT / "action.yml").read_text()
    defaults = dict(re.findall(r'^  ([\w-]+):\n    description: .*\n    default: "?(.*?)"?$', text, re.MULTILINE))
    inputs = defaults | inputs
    output = directory / "output"
    output.write_text("")
    log = ""
    for step in steps(text):
        environment = os.environ | {name: inputs[value] for name, value in step["environment"].items()}
        environment |= {"GITHUB_OUTPUT": str(output), "PATH": f"{program.parent}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd=directory,
                              env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        log += done.stdout
        if done.returncode != 0:
            break
    return done.returncode, dict(line.split("=", 1) for line in output.read_text().splitlines()), log


def run_hook(program: Path, directory: Path, *arguments: str) -> tuple[int, str]:
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / "tools" / "check_changed", *arguments], cwd=directory, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def expect(condition: bool, what: object) -> None:
    if not condition:
        sys.exit(f"failed: {what}")


def main() -> None:
    program = Path(sys.argv[1]).resolve()
    expect(len(steps((ROOT / "action.yml").read_text())) == 2, "steps of action.yml")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sound = directory / "a sound model"
        broken = directory / "broken"
        for copy in (sound, broken):
            shutil.copytree(MODEL, copy)
        next(iter(sorted(broken.glob("*.safetensors")))).unlink()

        status, outputs, log = run_action(program, directory, {"path": str(sound), "args": "--strict --data"})
        expect((status, outputs) == (0, {"sarif": "outrider.sarif", "exit-status": "0"}), (status, outputs, log))
        status, outputs, log = run_action(program, directory, {"path": "broken", "sarif": "found.sarif"})
        expect((status, outputs) == (1, {"sarif": "found.sarif", "exit-status": "1"}), (status, outputs, log))
        expect("error OUT004" in log, log)
        results = json.loads((directory / "found.sarif").read_text())["runs"][0]["results"]
        expect(any(result["ruleId"] == "OUT004" for result in results), results)

        (directory / "elsewhere").mkdir()
        (directory / "elsewhere" / "config.json").write_text("{}")
        files = ["elsewhere/config.json", *(f"{sound.name}/{file.name}" for file in sound.iterdir())]
        status, log = run_hook(program, directory, "--strict", *files)
        expect(status == 0 and log.count("SOUND") == 1, (status, log))
        status, log = run_hook(program, directory, *files, "broken/config.json")
        expect(status == 1 and "NOT COMPLETE" in log and log.count("SOUND") == 1, (status, log))
        expect(run_hook(program, directory) == (0, ""), "no files")


if __name__ == "__main__":
    main()
