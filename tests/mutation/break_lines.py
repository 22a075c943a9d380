#!/usr/bin/env python3
"""Breaks central lines one by one and runs the tests that must notice: each of lines.toml.

    tests/mutation/break_lines.py [--build BUILD] [--only TEXT]

BUILD, build/release by default, is a finished build of the tree. It and the tree stay as they are: what holds the line is
compiled again to a folder of its own, with the command of BUILD, and linked with the rest of BUILD. Exits 1 if a broken
line passed its tests, or if they fail without it.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]


def run(command: list, where: Path) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in command], cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace")


def require(command: list, where: Path) -> None:
    done = run(command, where)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))}\n{done.stdout}")


def translation_unit(build: Path, file: Path) -> tuple[Path, list[str]]:
    """What of the library compiles the file, by itself or among its folder's, and its command."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        unit = Path(entry["file"])
        if "outrider_lib.dir" not in entry["command"]:
            continue
        if unit == file or (unit.suffix == ".cxx" and f'"{file}"' in unit.read_text()):
            return unit, shlex.split(entry["command"])
    sys.exit(f"{build / 'compile_commands.json'}: nothing compiles {file}")


def compile_broken(build: Path, work: Path, line: dict) -> Path:
    """Compiles the file with its line broken, to an object of the name that it has in the library."""
    file = SOURCE / line["file"]
    text = file.read_text()
    if text.count(line["old"]) != 1:
        sys.exit(f"{file}: the line to break occurs {text.count(line['old'])} times: {line['old']}")
    broken = work / file.name
    broken.write_text(text.replace(line["old"], line["new"]))
    unit, words = translation_unit(build, file)
    if unit != file:
        together = work / unit.name
        together.write_text(unit.read_text().replace(f'"{file}"', f'"{broken}"'))
        broken = together
    output = work / Path(words[words.index("-o") + 1]).name
    words[words.index("-o") + 1] = str(output)
    words[words.index("-c") + 1] = str(broken)
    # A broken line may leave a variable unused.
    require([*words, "-Wno-error"], build)
    return output


def link(build: Path, work: Path, program: str, broken: Path) -> Path:
    library = work / "liboutrider.a"
    shutil.copy(build / library.name, library)
    require(["ar", "r", library, broken], work)
    listed = run(["ninja", "-t", "commands", program], build).stdout.splitlines()
    command = next(c for c in reversed(listed) if re.search(rf" -o {re.escape(program)} ", c))
    words = shlex.split(command.split(" && ")[1])
    words[words.index("-o") + 1] = str(work / "broken_tests")
    require([library if word.endswith(library.name) else word for word in words], build)
    return work / "broken_tests"


def tests_fail(program: Path, line: dict, where: Path) -> tuple[bool, str]:
    """Whether they fail, and the first that did. A process that dies or that does not end has failed."""
    command = [program, f"--gtest_filter={line['tests']}", "--gtest_fail_fast", "--gtest_brief=1"]
    done = run(["timeout", "600", *command], where)
    failed = re.search(r"\[  FAILED  \] ([\w/.]+)", done.stdout)
    if done.returncode == 0 and "[  PASSED  ] 0 tests" in done.stdout:
        sys.exit(f"{line['program']}: no test is called {line['tests']}")
    return done.returncode != 0, failed[1] if failed else f"exit status {done.returncode}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=SOURCE / "build/release")
    parser.add_argument("--only", default="", help="lines whose description or file contains this")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    lines = tomllib.loads((Path(__file__).parent / "lines.toml").read_text())["line"]
    bad = 0
    for line in lines:
        if arguments.only not in line["what"] + line["file"]:
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            sound, first = tests_fail(build / line["program"], line, build)
            if sound:
                verdict = f"NOT SOUND: {first} fails without a broken line"
            else:
                program = link(build, Path(folder), line["program"], compile_broken(build, Path(folder), line))
                caught, first = tests_fail(program, line, build)
                verdict = f"caught by {first}" if caught else "NOT CAUGHT"
        bad += verdict.startswith("NOT")
        print(f"{line['what']} ({line['file']}): {verdict}, {time.monotonic() - begun:.0f} s", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
