"""Safetensors files and checkpoint directories as raw bytes, using only numpy."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ONE_BYTE = ("F8_E4M3", "F8_E8M0", "I8", "U8")
BYTES_PER_ELEMENT = {"F32": 4, "BF16": 2, "F16": 2, "I16": 2, "I32": 4, "U32": 4, "I64": 8} | dict.fromkeys(ONE_BYTE, 1)


@dataclass
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self):
        if len(self.data) != int(np.prod(self.shape)) * BYTES_PER_ELEMENT[self.dtype]:
            raise ValueError(f"{len(self.data)} bytes for {self.dtype} {self.shape}")

    def array(self, dtype) -> np.ndarray:
        return np.frombuffer(self.data, dtype).reshape(self.shape)


Tensors = dict[str, Tensor]


def write_file(path: Path, tensors: Tensors) -> None:
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [offset, offset + len(t.data)]}
        offset += len(t.data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for t in tensors.values():
            file.write(t.data)


def read_file(path: Path) -> Tensors:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = Tensor(entry["dtype"], tuple(entry["shape"]), content[start + begin : start + end])
    return tensors


def read_checkpoint(directory: Path) -> Tensors:
    tensors: Tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        tensors.update(read_file(path))
    return tensors


def shard_names(tensors: Tensors, shards: int) -> dict[str, str]:
    """Assigns each tensor a file: files of about the same size, in order."""
    total, before, files = sum(len(t.data) for t in tensors.values()), 0, {}
    for name, t in tensors.items():
        shard = min(before * shards // max(total, 1), shards - 1)
        files[name] = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        before += len(t.data)
    return files


def write_checkpoint(directory: Path, tensors: Tensors, files: dict[str, str]) -> None:
    """Writes the files that `files` assigns tensors to, and their index."""
    for file in sorted(set(files.values())):
        write_file(directory / file, {name: t for name, t in tensors.items() if files[name] == file})
    write_index(directory, tensors, files)


def write_index(directory: Path, tensors: Tensors, files: dict[str, str]) -> None:
    index = {"metadata": {"total_size": sum(len(t.data) for t in tensors.values())}, "weight_map": files}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
