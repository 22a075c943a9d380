"""Small DeepSeek-V4 artifacts, made from the bundled model's config: what vLLM is asked about."""

import json
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUNDLED = os.path.join(ROOT, "models", "deepseek-v4-kjv")

# As llm-compressor writes it; with the drafter ignored under the artifact's name for it.
W4A16 = {
    "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
    "ignore": ["lm_head", "re:.*attn.*", "re:.*shared_experts.*", "re:.*gate$", "re:.*mtp.*"],
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
        "num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}}},
}  # fmt: skip


def config(**fields):
    with open(os.path.join(BUNDLED, "config.json")) as file:
        return {**json.load(file), **fields}


def headers():
    """{name: (dtype, shape)} of the bundled model."""
    from outrider.audit.artifact import Directory

    return {name: (entry.dtype, entry.shape) for name, entry in Directory(BUNDLED).entries.items()}


def bf16():
    """The same without quantisation."""
    found = {}
    tensors = headers()
    for name, (dtype, shape) in tensors.items():
        if name.endswith(".scale"):
            continue
        if name[: -len("weight")] + "scale" in tensors:
            wide = 2 if dtype == "I8" else 1  # two FP4 codes a byte
            dtype, shape = "BF16", (shape[0], shape[1] * wide)
        found[name] = (dtype, shape)
    return found


def w4a16():
    """Experts of the layers in four bits, all else in BF16, the drafter included."""
    found = {}
    for name, (dtype, shape) in bf16().items():
        if not name.startswith("layers.") or ".experts." not in name:
            found[name] = (dtype, shape)
            continue
        module = name[: -len(".weight")]
        found[module + ".weight_packed"] = ("I32", (shape[0], shape[1] // 8))
        found[module + ".weight_scale"] = ("BF16", (shape[0], shape[1] // 128))
        found[module + ".weight_shape"] = ("I64", (2,))
    return found
