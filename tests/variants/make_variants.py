#!/usr/bin/env python3
"""Creates variants of the bundled model, and models of other shapes with random weights, for tests.

Five kinds: sound ones (every storage form and naming), broken ones (every row of the catalogue of artifacts that go
wrong), trained ones (broken ones whose values no release has), foreign ones (forms of other engines) and random ones
(random-SHAPE as the release stores it, random-SHAPE-float32). Needs numpy.

    make_variants.py build/variants               # all of them
    make_variants.py build/variants w4a16 no-head # some
    make_variants.py --list
"""

import argparse
import sys
from pathlib import Path

import forms
import random_models
import sound
import transformers_saved
from artifact import Artifact
from broken import BROKEN
from foreign import FOREIGN
from trained import TRAINED

SOUND = sound.SOUND | transformers_saved.SAVED
BUNDLED = Path(__file__).resolve().parents[2] / "models" / "deepseek-v4-kjv"
QUANTIZATION = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "scale_fmt": "ue8m0",
    "weight_block_size": [128, 128],
}


def random_artifact(shape: str, in_float32: bool) -> Artifact:
    config = random_models.config_of(shape)
    parameters = random_models.random_parameters(config)
    if in_float32:
        return sound.float32(Artifact(config, {}), parameters)
    config |= {"expert_dtype": "fp4", "quantization_config": QUANTIZATION}
    return Artifact(config, sound.store(parameters, sound.OFFICIAL))


def all_names() -> list[str]:
    shapes = [f"random-{shape}{form}" for shape in random_models.SHAPES for form in ("", "-float32")]
    return [*SOUND, *BROKEN, *FOREIGN, *TRAINED, *shapes]


class Maker:
    def __init__(self, model: Path = BUNDLED):
        self._model = model
        self._base = None

    def make(self, name: str) -> Artifact:
        if name.startswith("random-"):
            shape = name.removeprefix("random-").removesuffix("-float32")
            return random_artifact(shape, name.endswith("-float32"))
        if self._base is None:
            self._base = Artifact.read(self._model)
            self._parameters = forms.read_official(self._base.tensors)
        make = SOUND[name] if name in SOUND else (BROKEN | FOREIGN | TRAINED)[name].make
        return make(self._base, self._parameters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?", help="output directory, with a subdirectory per variant")
    parser.add_argument("names", nargs="*", help="names of variants; default: all")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="source checkpoint")
    parser.add_argument("--list", action="store_true", help="print the names and exit")
    args = parser.parse_args()
    if args.list:
        print("\n".join(all_names()))
        return
    if args.output is None:
        parser.error("give an output directory, or use --list")
    if unknown := sorted(set(args.names) - set(all_names())):
        sys.exit(f"make_variants.py: unknown variants {', '.join(unknown)}; --list prints all names")
    maker = Maker(args.model)
    for name in args.names or all_names():
        maker.make(name).write(args.output / name)


if __name__ == "__main__":
    main()
