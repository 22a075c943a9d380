"""Writes the random models with DSpark of tests/variants/random_models.py, stored by deepseek_v4/stored.py.

    python -m oracle.dspark_models build/dspark         # in training/: writes random-dspark-SHAPE and …-float32
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from deepseek_v4.config import Config
from deepseek_v4.stored import stored
from export import QUANTIZATION

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "variants"))

import random_models  # noqa: E402

SHAPES = [name.removeprefix("dspark-") for name in random_models.SHAPES if name.startswith("dspark-")]


def write(shape: str, in_float32: bool, directory: Path) -> Config:
    """The model as released, or unquantised in float32."""
    config = random_models.config_of(f"dspark-{shape}")
    parameters = random_models.random_parameters(config)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in parameters.items()}
    if in_float32:
        config["torch_dtype"] = "float32"
    else:
        config |= {"expert_dtype": "fp4", "quantization_config": QUANTIZATION}
        tensors = stored(tensors)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return Config.load(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="output directory, with a subdirectory per model")
    args = parser.parse_args()
    for shape in SHAPES:
        write(shape, False, args.output / f"random-dspark-{shape}")
        write(shape, True, args.output / f"random-dspark-{shape}-float32")


if __name__ == "__main__":
    main()
