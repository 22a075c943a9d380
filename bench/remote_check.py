#!/usr/bin/env python3
"""Times `outrider check hf://…` against huggingface_hub.get_safetensors_metadata, from a local HTTPS server.

The server is that of tests/hub: it behaves as the Hub, with redirects to a storage host. The checkpoint has the shapes
of DeepSeek-V4-Flash in 46 sparse files. Both sides run as child processes, in turn; the cache is empty each time.
--latency delays each answer, as a distance of so many milliseconds would.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "hub"))
from check_speed import ROOT, describe_machine, make_model, run_child, stop  # noqa: E402
from hub_server import HubServer  # noqa: E402

VENV = ROOT / "build" / "hub-venv"
LISTING = """
import json, time
begin = time.perf_counter()
import huggingface_hub
imported = time.perf_counter()
metadata = huggingface_hub.get_safetensors_metadata("bench/flash")
print(json.dumps({"seconds": time.perf_counter() - imported, "version": huggingface_hub.__version__,
                  "tensors": sum(len(file.tensors) for file in metadata.files_metadata.values())}))
"""


def measure(arguments: argparse.Namespace, directory: Path) -> dict:
    sides: dict[str, list] = {"outrider check": [], "outrider check, again": [], "get_safetensors_metadata": []}
    with tempfile.TemporaryDirectory() as temporary:
        hub = HubServer(temporary)
        hub.add("bench/flash", directory)
        hub.delay = arguments.latency / 1000
        cache = Path(temporary) / "cache"
        os.environ.update({"HF_ENDPOINT": hub.url, "SSL_CERT_FILE": str(hub.certificate), "OUTRIDER_CACHE": str(cache),
                           "REQUESTS_CA_BUNDLE": str(hub.certificate), "HF_HOME": str(Path(temporary) / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
        check = [str(arguments.outrider), "check", "hf://bench/flash", "--json"]
        listing = [str(VENV / "bin" / "python"), "-c", LISTING]
        for repetition in range(-1, arguments.repetitions):  # the first of each is discarded
            shutil.rmtree(cache, ignore_errors=True)
            for side, command in zip(sides, (check, check, listing)):
                hub.take_requests()
                result = run_child(command)
                if result["status"] != 0:
                    stop(f"`{' '.join(command[:3])}` ended with status {result['status']}: {result['output'][:2000]}")
                requests = hub.take_requests()
                result |= {"requests": len(requests), "sent": sum(r.sent for r in requests)}
                result["answer"] = json.loads(result.pop("output"))
                if repetition >= 0:
                    sides[side].append(result)
        hub.close()
    floor = run_child(["/bin/true"])["peak_kib"]
    first = sides["outrider check"][0]["answer"]
    listed = sides["get_safetensors_metadata"][0]["answer"]
    if first["tensors"] != listed["tensors"]:
        stop(f"outrider read {first['tensors']} tensors, huggingface_hub {listed['tensors']}")
    rows = {}
    for side, runs in sides.items():
        seconds = [run["seconds"] for run in runs]
        rows[side] = {"seconds": {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)},
                      "requests": runs[-1]["requests"], "bytes": runs[-1]["sent"],
                      "peak_kib": max(run["peak_kib"] for run in runs)}
    inner = [run["answer"]["seconds"] for run in sides["get_safetensors_metadata"]]
    rows["get_safetensors_metadata"]["seconds_after_imports"] = statistics.median(inner)
    return {"machine": describe_machine(), "huggingface_hub": listed["version"], "latency_ms": arguments.latency,
            "tensors": first["tensors"], "shards": len(first["files"]), "repetitions": arguments.repetitions,
            "peak_floor_kib": floor, "sides": rows}


def print_table(result: dict) -> None:
    machine = result["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; huggingface_hub {result['huggingface_hub']}")
    print(f"{result['tensors']} tensors in {result['shards']} shards; each answer delayed by {result['latency_ms']} ms; "
          f"{result['repetitions']} repetitions, interleaved\n")
    print(f"{'':28}{'median':>10}{'min':>10}{'max':>10}{'requests':>10}{'read':>12}{'peak memory':>14}")
    for side, row in result["sides"].items():
        times = "".join(f"{row['seconds'][which]:>8.2f} s" for which in ("median", "min", "max"))
        bound = "<=" if row["peak_kib"] <= result["peak_floor_kib"] else ""
        print(f"{side:28}{times}{row['requests']:>10}{row['bytes'] / 1e6:>9.2f} MB{bound + format(row['peak_kib'] / 1024, '.1f'):>10} MiB")
    inner = result["sides"]["get_safetensors_metadata"]["seconds_after_imports"]
    print(f"\nget_safetensors_metadata after Python's start and imports: {inner:.2f} s (median).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outrider", type=Path, default=ROOT / "build" / "release" / "outrider")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0, help="milliseconds by which the server delays each answer")
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.repetitions < 1:
        stop("--repetitions must be at least 1")
    if not arguments.outrider.exists():
        stop(f"{arguments.outrider} does not exist; build it with `make release`, or give its path with --outrider")
    if not (VENV / "bin" / "pytest").exists() and subprocess.run(["make", "hub-venv"], cwd=ROOT).returncode != 0:
        stop("`make hub-venv` failed; it installs huggingface_hub")
    directory = ROOT / "build" / "bench" / "flash"
    make_model(arguments.outrider, directory)
    result = measure(arguments, directory)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
