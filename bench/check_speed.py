#!/usr/bin/env python3
"""Times `outrider check` against a listing of the same checkpoint with the safetensors package.

Both run as child processes, in turn, on the same directory, with its headers in the page cache. Without --directory
the checkpoint is made on the spot: the shapes of DeepSeek-V4-Flash in 46 sparse files, about 13 MB on the disk.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTING = ROOT / "bench" / "list_with_safetensors.py"
VENV = ROOT / "build" / "bench-venv"
REQUIREMENTS = ["safetensors", "numpy"]


def stop(message: str) -> None:
    sys.exit(f"check_speed.py: {message}")


def python_with_safetensors(preferred: str | None) -> str:
    """Returns an interpreter that can import safetensors and numpy; creates build/bench-venv if there is none."""
    imports = ["-c", "import numpy, safetensors"]
    candidates = [preferred] if preferred else [sys.executable, str(VENV / "bin" / "python")]
    for candidate in candidates:
        if shutil.which(candidate) and subprocess.run([candidate, *imports], capture_output=True).returncode == 0:
            return candidate
    if preferred:
        stop(f"{preferred} cannot import numpy and safetensors; choose another with --python, or leave the option out")
    print(f"Creating {VENV} for {' and '.join(REQUIREMENTS)}", file=sys.stderr)
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], stdout=sys.stderr).returncode == 0
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not made or subprocess.run([*pip, *REQUIREMENTS], stdout=sys.stderr).returncode != 0:
        stop(f"could not install {' and '.join(REQUIREMENTS)} in {VENV}; install them yourself and give --python")
    return str(VENV / "bin" / "python")


def make_model(program: Path, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    command = [str(program), "make-model", str(directory), "--like", "flash", "--shards", "46", "--sparse"]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
        stop(f"{' '.join(command)} failed")


def run_child(command: list[str]) -> dict:
    """Runs `command`; returns wall seconds, peak resident memory in KiB, exit status and standard output."""
    with tempfile.TemporaryFile() as output:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
        ]
        started = time.perf_counter()
        pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - started
        output.seek(0)
        return {
            "seconds": seconds,
            "peak_kib": usage.ru_maxrss,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "status": os.waitstatus_to_exitcode(status),
            "output": output.read().decode(errors="replace"),
        }


def describe_machine() -> dict:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "system": f"{platform.system()} {platform.release()}"}


def summary(values: list[float]) -> dict:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure(arguments: argparse.Namespace, directory: Path, python: str) -> dict:
    check = [str(arguments.outrider), "check", str(directory)]
    listing = [python, str(LISTING), str(directory)]
    checks, listings, inner = [], [], []
    tensors = 0
    for repetition in range(-1, arguments.repetitions):  # the first of each warms the page cache and is discarded
        checked = run_child(check)
        if checked["status"] not in ((0, 1) if arguments.accept_findings else (0,)):
            print(checked["output"][:4000], file=sys.stderr)
            stop(f"`{' '.join(check)}` ended with status {checked['status']}; only a sound checkpoint is timed")
        listed = run_child(listing)
        if listed["status"] != 0:
            stop(f"`{' '.join(listing)}` ended with status {listed['status']}")
        answer = json.loads(listed["output"])
        tensors = answer["tensors"]
        if tensors == 0:
            stop(f"{directory} has no tensors")
        if repetition >= 0:
            checks.append(checked)
            listings.append(listed)
            inner.append(answer["seconds"])

    # On Linux a child's peak starts at its parent's memory when it was spawned; /bin/true shows that floor.
    floor = run_child(["/bin/true"])["peak_kib"]
    peak = max(run["peak_kib"] for run in checks)
    versions = "import sys, numpy, safetensors; print(sys.version.split()[0], safetensors.__version__, numpy.__version__)"
    python_version, safetensors_version, numpy_version = run_child([python, "-c", versions])["output"].split()
    outrider, whole, inside = (
        summary([run["seconds"] for run in checks]),
        summary([run["seconds"] for run in listings]),
        summary(inner),
    )
    return {
        "machine": describe_machine(),
        "versions": {"python": python_version, "safetensors": safetensors_version, "numpy": numpy_version},
        "tensors": tensors,
        "shards": len(list(directory.glob("*.safetensors"))),
        "repetitions": arguments.repetitions,
        "outrider_seconds": outrider,
        "python_process_seconds": whole,
        "python_inner_seconds": inside,
        "outrider_cpu_seconds": summary([run["cpu_seconds"] for run in checks]),
        "ratio_to_python_process": whole["median"] / outrider["median"],
        "ratio_to_python_inner": inside["median"] / outrider["median"],
        "outrider_peak_kib": peak,
        "outrider_peak_is_upper_bound": peak <= floor,
        "peak_floor_kib": floor,
        "python_peak_kib": max(run["peak_kib"] for run in listings),
    }


def print_table(result: dict) -> None:
    machine, versions = result["machine"], result["versions"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}")
    print(f"Python {versions['python']}, safetensors {versions['safetensors']}, numpy {versions['numpy']}")
    print(f"{result['tensors']} tensors in {result['shards']} shards; {result['repetitions']} repetitions, interleaved\n")
    print(f"{'':34}{'median':>10}{'min':>10}{'max':>10}{'peak memory':>14}")
    bound = "<=" if result["outrider_peak_is_upper_bound"] else ""
    rows = [
        ("outrider check, whole process", "outrider_seconds", f"{bound}{result['outrider_peak_kib'] / 1024:.1f} MiB"),
        ("safetensors, whole process", "python_process_seconds", f"{result['python_peak_kib'] / 1024:.1f} MiB"),
        ("safetensors, after the imports", "python_inner_seconds", ""),
    ]
    for label, key, memory in rows:
        times = "".join(f"{result[key][which] * 1000:>7.1f} ms" for which in ("median", "min", "max"))
        print(f"{label:34}{times}{memory:>14}")
    print(
        f"\nBy medians, outrider takes 1/{result['ratio_to_python_process']:.2f} of the Python process's time "
        f"and 1/{result['ratio_to_python_inner']:.2f} of its time after the imports."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="checkpoint to time; default: a generated one")
    parser.add_argument("--outrider", type=Path, default=ROOT / "build" / "release" / "outrider")
    parser.add_argument("--python", help="interpreter with safetensors and numpy")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--accept-findings", action="store_true", help="accept a checkpoint with findings")
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.repetitions < 1:
        stop("--repetitions must be at least 1")
    if not arguments.outrider.exists():
        stop(f"{arguments.outrider} does not exist; build it with `make release`, or give its path with --outrider")
    directory = arguments.directory
    if directory is None:
        directory = ROOT / "build" / "bench" / "flash"
        make_model(arguments.outrider, directory)
    result = measure(arguments, directory, python_with_safetensors(arguments.python))
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
