#!/usr/bin/env python3
"""Kills `outrider repair --in-place` at each system call that writes, and makes each such call fail, one at a time.

Of a call that is made often, each of the first ones and every third of the rest; every one with OUTRIDER_LONG_TESTS set.
After each kill the directory must be the old artifact or the new one, as `outrider check` sees it, and another repair
must end in the new one. After each failure there must be a message, and the directory must be the old artifact. Files
of the old artifact must never be written to. Needs strace; without it, and where tracing is forbidden, the test is
skipped (exit status 77).
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

SKIPPED = 77
ALL = "OUTRIDER_LONG_TESTS" in os.environ
# Opening to create is not included: it leaves an empty file, as a kill at the first write does.
WRITING = (
    "write pwrite64 writev copy_file_range ftruncate fallocate fsync fdatasync rename renameat renameat2 link linkat "
    "symlink symlinkat mkdir mkdirat unlink unlinkat rmdir chmod fchmod fchmodat chown fchown utimensat ioctl"
).split()
# A failing call, its error, and a word of the expected message.
FAILURES = [
    ("pwrite64", "ENOSPC", "space"),
    ("copy_file_range", "ENOSPC", "space"),
    ("write", "ENOSPC", "space"),
    ("fsync", "EIO", "flushed"),
    ("mkdir", "EROFS", "Read-only file system"),
    ("mkdir", "EACCES", "Permission denied"),
    ("renameat2", "EINVAL", "--output"),
]


def sums(directory: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(directory.iterdir()) if p.is_file()}


class Repairs:
    def __init__(self, program: Path, original: Path, reference: Path, scratch: Path):
        self.program, self.original, self.reference, self.scratch = program, original, reference, scratch

    def fresh(self, name: str) -> Path:
        """Returns a directory of hard links to the artifact's files."""
        directory = self.scratch / name / "artifact"
        directory.mkdir(parents=True)
        for path in self.original.iterdir():
            os.link(path, directory / path.name)
        return directory

    def repair(self, directory: Path, strace: list[str] = ()) -> subprocess.CompletedProcess:
        command = [str(self.program), "repair", str(directory), "--in-place", "--reference", str(self.reference)]
        return subprocess.run([*strace, *command], capture_output=True, text=True)

    def check(self, directory: Path) -> dict:
        output = subprocess.run([str(self.program), "check", "--json", str(directory)], capture_output=True, text=True)
        report = json.loads(output.stdout)
        return {k: v for k, v in report.items() if k in ("complete", "exit_status", "findings", "groups", "unused")}


def strace(*inject: str) -> list[str]:
    return ["strace", "-f", "-qq", "-o", "/dev/null", *(word for i in inject for word in ("-e", f"inject={i}"))]


def numbers() -> range | chain:
    """The calls to stop at, counted from 1."""
    return range(1, 10_000) if ALL else chain(range(1, 6), range(7, 10_000, 3))


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    probe = subprocess.run([*strace("mkdir:error=EROFS:when=1"), "true"], capture_output=True)
    return probe.returncode == 0


def kill_everywhere(repairs: Repairs, old: dict, new: dict) -> list[str]:
    def killed_at(call: str, n: int) -> tuple[str, list[str]]:
        directory = repairs.fresh(f"kill-{call}-{n}")
        # "?": not every machine has every call.
        run = repairs.repair(directory, strace(f"?{call}:signal=KILL:when={n}"))
        state, problems = "ended", []
        if run.returncode != 0:
            seen = repairs.check(directory)
            state = "old" if seen == old else "new" if seen == new else "neither"
            if state == "neither":
                problems.append(f"killed at {call} {n}: neither the old nor the new artifact")
            again = repairs.repair(directory)
            if again.returncode != 0 or repairs.check(directory) != new:
                problems.append(f"killed at {call} {n}: another repair did not produce the new artifact: {again.stderr}")
            left = [p.name for p in directory.parent.iterdir() if p.name != "artifact"]
            if left:
                problems.append(f"killed at {call} {n}: another repair left {left}")
        shutil.rmtree(directory.parent)
        return state, problems

    def all_of(call: str) -> tuple[dict[str, int], list[str]]:
        states, problems = {}, []
        for n in numbers():
            state, found = killed_at(call, n)
            if state == "ended":
                break
            states[state] = states.get(state, 0) + 1
            problems += found
        return states, problems

    problems, states = [], {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for of_call, found in pool.map(all_of, WRITING):
            problems += found
            for state, count in of_call.items():
                states[state] = states.get(state, 0) + count
    print(f"killed {sum(states.values())} times: {states}")
    if not states.get("old") or not states.get("new"):
        problems.append(f"the kills did not cover both sides of the exchange: {states}")
    return problems


def fail_everywhere(repairs: Repairs, old: dict, new: dict) -> list[str]:
    problems, failed = [], 0
    for call, error, message in FAILURES:
        for n in numbers():
            directory = repairs.fresh(f"{call}-{error}-{n}")
            run = repairs.repair(directory, strace(f"{call}:error={error}:when={n}"))
            failed_here = run.returncode == 2
            if failed_here:
                failed += 1
                if message not in run.stderr:
                    problems.append(f"{call} {n} {error}: the message does not say '{message}': {run.stderr}")
                # After the exchange, only flushing and reporting follow.
                late = (call == "fsync" and "could not be flushed" in run.stderr) or "Standard output" in run.stderr
                in_place = late and repairs.check(directory) == new
                if not in_place and repairs.check(directory) != old:
                    problems.append(f"{call} {n} {error}: the directory is not the old artifact")
                if not in_place and any(p.name != "artifact" for p in directory.parent.iterdir()):
                    problems.append(f"{call} {n} {error}: something was left beside the artifact")
            shutil.rmtree(directory.parent)
            if not failed_here and n > 3:
                break
    print(f"failed {failed} times")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outrider", type=Path)
    parser.add_argument("variants", type=Path, help="directory written by make_variants.py")
    args = parser.parse_args()
    if not can_trace():
        print("strace is not installed, or not permitted")
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory(dir=args.variants) as scratch:
        # Rewrites a file, adds one, keeps one, and changes config.json.
        repairs = Repairs(args.outrider, args.variants / "mtp-quantised", args.variants / "official", Path(scratch))
        before = sums(repairs.original)
        reference = sums(repairs.reference)
        directory = repairs.fresh("sound")
        old = repairs.check(directory)
        run = repairs.repair(directory)
        new = repairs.check(directory)
        problems = [] if run.returncode == 0 and new != old else [f"repair does nothing: {run.stdout} {run.stderr}"]
        problems += kill_everywhere(repairs, old, new)
        problems += fail_everywhere(repairs, old, new)
        if sums(repairs.original) != before or sums(repairs.reference) != reference:
            problems.append("a file of the original artifact, or of the reference, was written to")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
