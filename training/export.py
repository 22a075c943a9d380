"""Writes a trained model as a checkpoint directory, stored as the official release is."""

import argparse
import json
from pathlib import Path

import torch

from deepseek_v4 import checkpoint, stored
from deepseek_v4.config import Config
from deepseek_v4.model import Model

QUANTIZATION = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "scale_fmt": "ue8m0",
    "weight_block_size": [128, 128],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path, help="what train.py wrote (.pt)")
    parser.add_argument("output", type=Path, help="the directory; its tokenizer files stay as they are")
    parser.add_argument("--shards", type=int, default=3)
    args = parser.parse_args()

    config = Config()
    model = Model(config)
    model.load_state_dict(torch.load(args.trained, map_location="cpu")["model"])
    args.output.mkdir(parents=True, exist_ok=True)
    for old in args.output.glob("*.safetensors"):
        old.unlink()
    stored.write_sharded(stored.stored(checkpoint.parameters(model)), args.output, args.shards)
    document = {**config.to_json(), "expert_dtype": "fp4", "quantization_config": QUANTIZATION}
    generation = {"bos_token_id": config.bos_token_id, "do_sample": True, "eos_token_id": config.eos_token_id}
    generation |= {"temperature": 1.0, "top_p": 1.0}
    for name, content in (("config.json", document), ("generation_config.json", generation)):
        (args.output / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    total = sum(file.stat().st_size for file in args.output.iterdir())
    print(f"{args.output}: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
