"""Artifacts for the audit's tests: safetensors files with real headers and sparse or small data."""

import json
import lzma
import os
import struct

_SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E8M0": 1, "F8_E5M2": 1, "I16": 2, "F16": 2, "BF16": 2}


def read_list(path):
    """A list of tensors, name TAB dtype TAB shape TAB shard, as {shard: {name: (dtype, shape)}}."""
    shards = {}
    with lzma.open(path, "rt") as lines:
        for line in lines:
            name, dtype, shape, *shard = line.rstrip("\n").split("\t")
            extents = tuple(int(extent) for extent in shape.split(",") if extent)
            shards.setdefault(shard[0] if shard else "model-00001-of-00001.safetensors", {})[name] = (dtype, extents)
    return shards


def write_sparse(path, tensors):
    """A safetensors file with these headers, {name: (dtype, shape)}; its data are a hole."""
    header, offset = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = {**_SIZES, "F32": 4, "I32": 4, "I64": 8, "U32": 4, "F64": 8}[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


def write_directory(directory, config, shards):
    """A directory of sparse shards, {file: {name: (dtype, shape)}}, with index and config."""
    os.makedirs(directory, exist_ok=True)
    index = {"metadata": {}, "weight_map": {}}
    for file, tensors in shards.items():
        write_sparse(os.path.join(directory, file), tensors)
        index["weight_map"].update(dict.fromkeys(tensors, file))
    with open(os.path.join(directory, "model.safetensors.index.json"), "w") as file:
        json.dump(index, file)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file)
    return directory
