"""The tensors of an artifact: names, dtypes and shapes from the headers, values on demand."""

import glob
import json
import os
import struct
from dataclasses import dataclass
from typing import Dict, Iterator, Mapping, Tuple

_MAX_HEADER = 1 << 30
_DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip


class Unreadable(Exception):
    """The artifact could not be read: what, where, what to do."""


@dataclass(frozen=True)
class Entry:
    file: str
    dtype: str  # as safetensors spells it
    shape: Tuple[int, ...]
    first: int  # byte of the file
    end: int


def read_header(path: str) -> Dict[str, Entry]:
    """The tensors of one safetensors file."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise Unreadable(
                    "%s is not a safetensors file: its header would be %d bytes of %d. Run `outrider check` on the "
                    "directory; it says what the file is." % (path, length, size)
                )
            header = json.loads(file.read(length))
        found = {}
        for name, fields in header.items():
            if name == "__metadata__":
                continue
            first, end = fields["data_offsets"]
            shape = tuple(int(extent) for extent in fields["shape"])
            if not 0 <= first <= end or any(extent < 0 for extent in shape):
                raise ValueError("%s has offsets %r" % (name, fields["data_offsets"]))
            found[name] = Entry(path, fields["dtype"], shape, 8 + length + first, 8 + length + end)
        return found
    except OSError as error:
        raise Unreadable("%s cannot be read: %s" % (path, error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(
            "the header of %s is damaged (%s). Download the file again; `outrider check` says more." % (path, error)
        ) from error


def torch_dtype(name: str):
    import torch

    found = getattr(torch, _DTYPES.get(name, ""), None)
    if found is None:
        raise Unreadable("dtype %s has no counterpart in torch %s" % (name, torch.__version__))
    return found


def _indexed_files(path: str) -> frozenset:
    """The files that the index names; engines leave the others out. None without an index, or with a damaged one."""
    try:
        with open(os.path.join(path, "model.safetensors.index.json")) as file:
            return frozenset(json.load(file)["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return frozenset()


class Directory(Mapping):
    """The safetensors files of a directory, as a mapping from name to tensor; a tensor is read when it is asked for."""

    def __init__(self, path: str):
        if not os.path.isdir(path):
            raise Unreadable("%s is not a directory. Give the directory that holds config.json and the shards." % path)
        self.path = path
        files = sorted(glob.glob(os.path.join(glob.escape(path), "*.safetensors")))
        indexed = _indexed_files(path)
        files = [file for file in files if not indexed or os.path.basename(file) in indexed]
        if not files:
            raise Unreadable("%s holds no safetensors files. `outrider check %s` says what it holds." % (path, path))
        self.entries: Dict[str, Entry] = {}
        for file in files:
            self.entries.update(read_header(file))

    def __getitem__(self, name: str):
        import torch

        entry = self.entries[name]
        with open(entry.file, "rb") as file:
            file.seek(entry.first)
            data = bytearray(file.read(entry.end - entry.first))
        if len(data) != entry.end - entry.first:
            raise Unreadable("%s: the file ends before %s does" % (entry.file, name))
        with torch.device("cpu"):
            if not data:
                return torch.empty(entry.shape, dtype=torch_dtype(entry.dtype))
            return torch.frombuffer(data, dtype=torch.uint8).view(torch_dtype(entry.dtype)).reshape(entry.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)
