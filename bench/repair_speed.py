#!/usr/bin/env python3
"""Times the repair of vLLM issue 43456 (797 -> 799 mtp.* keys) at full size.

`outrider repair` runs on a directory of V4-Flash's shape, W4A16 with its MTP block in BF16, in sparse files: values take
no disk space and reading them costs no I/O. Beside it, the published approach (load a shard with safetensors, add a
tensor, save) on one shard of real size whose bytes are really there, in the same run. Everything is deleted again.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from check_speed import ROOT, describe_machine, run_child

PUBLISHED = """
import sys
from safetensors import safe_open
from safetensors.torch import load_file, save_file
shard, out = sys.argv[1:]
tensors = load_file(shard)
tensors["mtp.0.head.weight"] = tensors["head.weight"].float()
tensors["mtp.0.emb.tok_emb.weight"] = tensors["embed.weight"].clone()
save_file(tensors, out, metadata={"format": "pt"})
"""
MAKE_SHARD = """
import sys, torch
from safetensors.torch import save_file
gigabytes = float(sys.argv[2])
tensors = {name: torch.randn(129280, 4096, dtype=torch.bfloat16) for name in ("head.weight", "embed.weight")}
left = int(gigabytes * 1e9) - sum(t.nbytes for t in tensors.values())
for i in range(left // (2048 * 4096 * 2)):
    tensors[f"layers.0.ffn.experts.{i}.w1.weight"] = torch.randn(2048, 4096, dtype=torch.bfloat16)
save_file(tensors, sys.argv[1])
"""


def mtp_keys(directory: Path) -> int:
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    return sum(name.startswith("mtp.") for name in index["weight_map"])


def timed(name: str, command: list[str]) -> None:
    result = run_child(command)
    if result["status"] != 0:
        sys.exit(f"repair_speed.py: {' '.join(command)} failed:\n{result['output']}")
    print(f"{name:58} {result['seconds']:8.2f} s   {result['peak_kib'] / 1024:8.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with torch and safetensors")
    parser.add_argument("--gigabytes", type=float, default=5.0, help="size of the real shard; needs 3 times as much on disk")
    parser.add_argument("--directory", type=Path, help="working directory (default: the build directory)")
    args = parser.parse_args()
    outrider = str(args.build / "outrider")
    print(json.dumps(describe_machine()))
    with tempfile.TemporaryDirectory(dir=args.directory or args.build) as scratch:
        artifact, repaired = Path(scratch) / "w4a16", Path(scratch) / "repaired"
        options = ["--like", "flash", "--form", "w4a16", "--shards", "46", "--sparse"]
        subprocess.run([outrider, "make-model", str(artifact), *options], check=True, stdout=sys.stderr)
        before = mtp_keys(artifact)
        repair = [outrider, "repair", str(artifact), "--only", "mtp-shares-head"]
        timed("outrider repair --dry-run", [*repair, "--dry-run"])
        timed("outrider repair --output, sparse", [*repair, "--output", str(repaired)])
        print(f"    mtp.* keys: {before} -> {mtp_keys(repaired)}; head {head_dtype(repaired)}")
        shutil.rmtree(repaired)
        timed("outrider repair --output --widen-head, sparse", [*repair, "--widen-head", "--output", str(repaired)])
        timed("outrider repair --in-place, sparse", [*repair, "--in-place"])
        shutil.rmtree(repaired)
        shutil.rmtree(artifact)
        real = Path(scratch) / "real"
        real.mkdir()
        shard = real / "model-00001-of-00001.safetensors"
        subprocess.run([args.python, "-c", MAKE_SHARD, str(shard), str(args.gigabytes)], check=True)
        make_real_artifact(args.build, real, shard)
        print(f"    one shard of {shard.stat().st_size / 1e9:.2f} GB, not sparse:")
        out = Path(scratch) / "published.safetensors"
        timed("load, add, save (Python safetensors)", [args.python, "-c", PUBLISHED, str(shard), str(out)])
        out.unlink()
        # The artifact is not a whole model, so the exit status reports errors that it had before.
        result = run_child([outrider, "repair", str(real), "--only", "mtp-shares-head", "--output", str(repaired)])
        if not (repaired / "config.json").exists():
            sys.exit(f"repair_speed.py: repair of the real shard failed:\n{result['output']}")
        print(f"{'outrider repair --output, flushed to disk':58} {result['seconds']:8.2f} s   "
              f"{result['peak_kib'] / 1024:8.0f} MiB")


def make_real_artifact(build: Path, directory: Path, shard: Path) -> None:
    """Writes config.json and an MTP tensor beside the real shard, so that repair knows what to add."""
    subprocess.run([str(build / "outrider"), "make-model", str(directory / "config-of"), "--like", "flash", "--form", "bf16",
                    "--sparse"], check=True, stdout=subprocess.DEVNULL)
    shutil.copy(directory / "config-of" / "config.json", directory / "config.json")
    shutil.rmtree(directory / "config-of")
    names = json.loads(header(shard))
    norm = directory / "model-mtp.safetensors"
    text = json.dumps({"mtp.0.enorm.weight": {"dtype": "BF16", "shape": [4096], "data_offsets": [0, 8192]}}).encode()
    text += b" " * (-len(text) % 8)
    norm.write_bytes(len(text).to_bytes(8, "little") + text + b"\x80\x3f" * 4096)
    files = {name: shard.name for name in names if name != "__metadata__"} | {"mtp.0.enorm.weight": norm.name}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


def header(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(int.from_bytes(file.read(8), "little"))


def head_dtype(directory: Path) -> str:
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    return json.loads(header(directory / index["weight_map"]["mtp.0.head.weight"]))["mtp.0.head.weight"]["dtype"]


if __name__ == "__main__":
    main()
