"""Checkpoint directories in the release's storage forms: FP4 experts, FP8 linears, E8M0 scales, BF16 and FP32."""

import json
import re
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from . import quantize, rounding
from .checkpoint import FLOAT32

FP4 = re.compile(r"\.experts\.\d+\.w[123]\.weight$")
FP8 = re.compile(
    r"(\.attn\.(wq_a|wq_b|wkv|wo_a|wo_b|indexer\.wq_b)|\.shared_experts\.w[123]|^mtp\.\d+\.([eh]|main)_proj)\.weight$"
)


def _e8m0(scale: torch.Tensor) -> torch.Tensor:
    """Powers of two as biased exponents."""
    _, exponent = torch.frexp(scale)
    return (exponent - 1 + 127).to(torch.uint8).view(torch.float8_e8m0fnu)


def _packed_fp4(values: torch.Tensor) -> torch.Tensor:
    """e2m1 values [out, in] -> codes [out, in/2], the even element in the low nibble."""
    magnitude = torch.bucketize(values.abs(), torch.tensor(rounding.FP4_VALUES))
    codes = (magnitude + 8 * torch.signbit(values)).to(torch.uint8)
    return (codes[:, 0::2] | codes[:, 1::2] << 4).view(torch.int8)


def stored(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Parameters under official names -> the tensors of a release."""
    tensors = {}
    for name, value in parameters.items():
        if FP4.search(name):
            values, scale = quantize.fp4(value)
            tensors[name] = _packed_fp4(values)
        elif FP8.search(name):
            values, scale = quantize.fp8(value)
            tensors[name] = values.to(torch.float8_e4m3fn)
        elif FLOAT32.search(name) or not value.dtype.is_floating_point:
            tensors[name] = value.contiguous()
            continue
        else:
            tensors[name] = value.to(torch.bfloat16).contiguous()
            continue
        tensors[name.replace(".weight", ".scale")] = _e8m0(scale)
    return tensors


def widened_weight(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """What a reader of a stored parameter gets, in fp32 (tables in int64)."""
    value, scale = tensors[name], tensors.get(name.removesuffix(".weight") + ".scale")
    if scale is None:
        return value.float() if value.dtype.is_floating_point else value
    if value.dtype == torch.int8:
        return quantize.fp4_values(value) * scale.float().repeat_interleave(quantize.FP4_BLOCK, -1)
    return value.float() * quantize.widened(scale.float(), value.shape)


def widened(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All parameters of a checkpoint, as `checkpoint.load` takes them."""
    return {name: widened_weight(tensors, name) for name in tensors if not name.endswith(".scale")}


def read_tensors(directory: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for file in sorted(Path(directory).glob("*.safetensors")):
        with safe_open(file, "pt") as shard:
            tensors.update({name: shard.get_tensor(name) for name in shard.keys()})
    return tensors


def write_sharded(tensors: dict[str, torch.Tensor], directory: Path, shards: int) -> None:
    """Tensors in the order given, in files of about the same size, with their index."""
    total = sum(t.nbytes for t in tensors.values())
    parts: list[dict[str, torch.Tensor]] = [{} for _ in range(shards)]
    before = 0
    for name, tensor in tensors.items():
        parts[min(before * shards // total, shards - 1)][name] = tensor
        before += tensor.nbytes
    weight_map = {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
