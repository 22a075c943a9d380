"""A checkpoint in memory, from which variants are made."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from safetensors_file import Tensors, read_checkpoint, shard_names, write_checkpoint

SIDE_FILES = ("generation_config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass
class Artifact:
    config: dict
    tensors: Tensors
    side_files: dict[str, str] = field(default_factory=dict)
    shards: int = 3
    files: dict[str, str] | None = None  # the file of each tensor, if shards of equal size will not do
    damage: Callable[[Path], None] | None = None  # applied to the written directory

    @staticmethod
    def read(directory: Path) -> "Artifact":
        side_files = {n: (directory / n).read_text() for n in SIDE_FILES if (directory / n).exists()}
        config = json.loads((directory / "config.json").read_text())
        return Artifact(config, read_checkpoint(directory), side_files)

    def copy(self) -> "Artifact":
        return Artifact(copy.deepcopy(self.config), dict(self.tensors), dict(self.side_files), self.shards)

    def write(self, directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        write_checkpoint(directory, self.tensors, self.files or shard_names(self.tensors, self.shards))
        (directory / "config.json").write_text(json.dumps(self.config, indent=2) + "\n")
        for name, text in self.side_files.items():
            (directory / name).write_text(text)
        if self.damage:
            self.damage(directory)
