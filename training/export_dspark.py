"""Writes a trained DSpark drafter as a checkpoint directory beside the bundled model's, whose files it links to.

Shards of the bundled model that hold no tensor of its MTP block are linked; the other tensors of the model are stored
again, and the drafter in a shard of its own.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from deepseek_v4 import checkpoint, stored
from documents import MODEL
from train_dspark import dspark_config, make_model

LINKED = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="what train_dspark.py wrote (.pt)")
    parser.add_argument("output", type=Path, help="the directory, beside the bundled model's")
    args = parser.parse_args()

    state = torch.load(args.trained, map_location="cpu")
    config = dspark_config(state["run"]["stages"], state["run"]["rank"])
    model = make_model(config, 0)
    model.mtp.load_state_dict(state["mtp"])
    parameters = checkpoint.parameters(model)
    drafter = stored.stored({name: v for name, v in parameters.items() if name.startswith("mtp.")})

    args.output.mkdir(parents=True, exist_ok=True)
    for old in args.output.glob("*.safetensors"):
        old.unlink()

    def link(name: str, target: str) -> None:
        path = args.output / name
        path.unlink(missing_ok=True)
        path.symlink_to(os.path.relpath(MODEL / target, args.output))

    weight_map = json.loads((MODEL / "model.safetensors.index.json").read_text())["weight_map"]
    with_mtp = {file for name, file in weight_map.items() if name.startswith("mtp.")}
    linked = sorted(set(weight_map.values()) - with_mtp)
    tensors = stored.read_tensors(MODEL)
    again = {name: tensors[name] for name, file in weight_map.items() if file in with_mtp and name[:4] != "mtp."}
    own = [again] * bool(again) + [drafter]
    shards = len(linked) + len(own)
    files = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    new_map = {}
    for file, target in zip(files, linked):
        link(file, target)
        new_map |= {name: file for name, of in weight_map.items() if of == target}
    for file, part in zip(files[len(linked) :], own):
        save_file(part, args.output / file, metadata={"format": "pt"})
        os.chmod(args.output / file, 0o644)
        new_map |= dict.fromkeys(part, file)
    total = sum(t.nbytes for name, t in (tensors | drafter).items() if name in new_map)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(new_map.items()))}
    (args.output / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")

    document = json.loads((MODEL / "config.json").read_text())
    document |= {k: v for k, v in config.to_json().items() if k.startswith("dspark_") or k == "compress_ratios"}
    (args.output / "config.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    for name in LINKED:
        link(name, name)
    sizes = [f"{(args.output / file).stat().st_size / 1e6:.2f} MB" for file in files[len(linked) :]]
    print(f"{args.output}: {len(linked)} shards linked; own: {', '.join(sizes)}")


if __name__ == "__main__":
    main()
