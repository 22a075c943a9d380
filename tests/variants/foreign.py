"""Sound artifacts in other engines' formats: check must name the format, and no command may change them."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import forms
import sound
from artifact import Artifact
from forms import ATTENTION, EXPERT, tensor
from random_models import Parameters
from safetensors_file import Tensor, Tensors
from sound import Form

CODE, STATUS = "OUT029", 1


@dataclass
class Foreign:
    """The function that makes it, and a name in the finding."""

    make: Callable[[Artifact, Parameters], Artifact]
    names: str
    code: str = CODE
    status: int = STATUS
    data: bool = False
    reference: bool = False


FOREIGN: dict[str, Foreign] = {}


def variant(name: str, names: str):
    def register(make):
        FOREIGN[name] = Foreign(make, names)
        return make

    return register


def stored(base: Artifact, parameters: Parameters, rules: list[tuple[re.Pattern, Form]], quantization) -> Artifact:
    """BF16 except as the rules say."""
    out = sound.bf16(base, parameters)
    out.tensors = sound.store(parameters, rules)
    if quantization:
        out.config["quantization_config"] = quantization
    return out


LINEAR = re.compile(f"{EXPERT.pattern}|{ATTENTION.pattern}|{forms.SHARED.pattern}")
GROUP = 64


def f16(x: np.ndarray) -> Tensor:
    return tensor("F16", np.asarray(x, np.float16))


def row_scales(w: np.ndarray, largest: float) -> np.ndarray:
    return np.maximum(np.abs(w).max(1, keepdims=True) / np.float32(largest), np.float32(1e-8)).astype(np.float32)


def four_bit_groups(w: np.ndarray, group: int = GROUP) -> tuple[np.ndarray, np.ndarray]:
    """Codes 0..15 [out, in] and scales [out, in / group]."""
    groups = w.reshape(w.shape[0], -1, group)
    scale = np.maximum(np.abs(groups).max(-1) / np.float32(7), np.float32(1e-8))
    codes = np.clip(np.rint(groups / scale[..., None]), -8, 7).astype(np.int64) + 8
    return codes.reshape(w.shape).astype(np.uint32), scale


def words(codes: np.ndarray, bits: int) -> np.ndarray:
    """Packs codes along the last axis, the first in the lowest bits of a word."""
    per_word = 32 // bits
    grouped = codes.reshape(*codes.shape[:-1], -1, per_word).astype(np.uint64)
    return (grouped << (np.uint64(bits) * np.arange(per_word, dtype=np.uint64))).sum(-1).astype(np.uint32)


def gptq(w: np.ndarray) -> Tensors:
    codes, scale = four_bit_groups(w)
    columns = w.shape[1]
    return {
        "qweight": tensor("I32", np.ascontiguousarray(words(codes, 4).T)),
        "qzeros": tensor("I32", np.full((columns // GROUP, w.shape[0] // 8), 0x77777777, np.int32)),
        "scales": f16(scale.T),
        "g_idx": tensor("I32", np.arange(columns, dtype=np.int32) // GROUP),
    }


def awq(w: np.ndarray) -> Tensors:
    codes, scale = four_bit_groups(w)
    return {
        "qweight": tensor("I32", words(np.ascontiguousarray(codes.T), 4)),
        "qzeros": tensor("I32", np.full((w.shape[1] // GROUP, w.shape[0] // 8), 0x77777777, np.int32)),
        "scales": f16(scale.T),
    }


def exl3(w: np.ndarray) -> Tensors:
    out, columns = w.shape
    return {
        "trellis": tensor("I16", np.zeros((columns // 16, out // 16, 64), np.int16)),
        "suh": f16(np.ones(columns)),
        "svh": f16(np.ones(out)),
    }


def bitsandbytes_nf4(w: np.ndarray) -> Tensors:
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(w.shape)}
    return {
        "weight": tensor("U8", np.zeros((w.size // 2, 1), np.uint8)),
        "weight.absmax": forms.f32(np.abs(w).reshape(-1, 64).max(1)),
        "weight.quant_map": forms.f32(np.linspace(-1, 1, 16)),
        "weight.quant_state.bitsandbytes__nf4": tensor("U8", np.frombuffer(json.dumps(state).encode(), np.uint8)),
    }


def int8_rows(w: np.ndarray, scale_name: str = "weight_scale") -> Tensors:
    scale = row_scales(w, 127)
    return {"weight": tensor("I8", np.rint(w / scale).astype(np.int8)), scale_name: forms.f32(scale)}


def bitsandbytes_int8(w: np.ndarray) -> Tensors:
    codes = int8_rows(w)
    return {
        "weight": codes["weight"],
        "SCB": forms.f32(np.abs(w).max(1)),
        "weight_format": tensor("U8", np.array(0, np.uint8)),
    }


def modelslim(w: np.ndarray) -> Tensors:
    return int8_rows(w) | {"weight_offset": forms.f32(np.zeros((w.shape[0], 1)))}


def mlx(w: np.ndarray) -> Tensors:
    codes, scale = four_bit_groups(w)
    return {"weight": tensor("U32", words(codes, 4)), "scales": forms.bf16(scale), "biases": forms.bf16(-8 * scale)}


def fp8_rows(w: np.ndarray) -> Tensors:
    scale = row_scales(w, 448)
    return {"weight": tensor("F8_E4M3", forms.e4m3_codes(w / scale)), "weight_scale": forms.f32(scale)}


def fp8_tensor(w: np.ndarray) -> Tensors:
    scale = np.float32(np.abs(w).max() / 448)
    return {
        "weight": tensor("F8_E4M3", forms.e4m3_codes(w / scale)),
        "weight_scale": forms.f32(np.array(scale)),
        "input_scale": forms.f32(np.array(1.0)),
    }


def packed_int8(w: np.ndarray) -> Tensors:
    scale = row_scales(w, 127)
    codes = (np.rint(w / scale).astype(np.int64) + 128).astype(np.uint32)
    return {
        "weight_packed": tensor("I32", words(codes, 8)),
        "weight_scale": forms.bf16(scale),
        "weight_shape": tensor("I64", np.array(w.shape, np.int64)),
    }


def packed_mxfp4(w: np.ndarray) -> Tensors:
    made = forms.mxfp4(w)
    scale = made["scale"]
    codes = made["weight"]
    return {
        "weight_packed": Tensor("U8", codes.shape, codes.data),
        "weight_scale": Tensor("U8", scale.shape, scale.data),
    }


def scaled_nvfp4(w: np.ndarray) -> Tensors:
    return forms.nvfp4_modelopt(w) | {"pre_quant_scale": forms.bf16(np.full(w.shape[1], 0.5))}


def hqq(w: np.ndarray) -> Tensors:
    return {
        "W_q": tensor("U8", np.zeros((w.size // 128, 64), np.uint8)),
        "scale": f16(np.ones((1, 64))),
        "zero": f16(np.ones((1, 64))),
    }


def unknown(w: np.ndarray) -> Tensors:
    return {"residues": tensor("U8", np.zeros(w.shape, np.uint8))}


GPTQ_CONFIG = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}


@variant("gptq", "GPTQ")
def gptq_experts(base, parameters):
    return stored(base, parameters, [(sound.main_only(EXPERT), gptq)], GPTQ_CONFIG)


@variant("gptq-without-its-config", "qweight")
def gptq_without_config(base, parameters):
    return stored(base, parameters, [(EXPERT, gptq)], None)


@variant("awq", "AWQ")
def awq_experts(base, parameters):
    config = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"}
    return stored(base, parameters, [(EXPERT, awq)], config)


@variant("awq-under-the-release-config", "AWQ")
def awq_under_fp8(base, parameters):
    return stored(base, parameters, [(LINEAR, awq)], base.config["quantization_config"])


@variant("auto-round", "AutoRound")
def auto_round(base, parameters):
    config = {"quant_method": "auto-round", "packing_format": "auto_round:auto_gptq", "bits": 4, "group_size": GROUP}
    return stored(base, parameters, [(EXPERT, gptq)], config)


@variant("exl3", "EXL3")
def exl3_linears(base, parameters):
    return stored(base, parameters, [(LINEAR, exl3)], {"quant_method": "exl3", "version": "0.0.12", "bits": 4.0})


@variant("bitsandbytes-nf4", "quant_state.bitsandbytes__nf4")
def bitsandbytes_4bit(base, parameters):
    config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    return stored(base, parameters, [(LINEAR, bitsandbytes_nf4)], config)


@variant("bitsandbytes-int8-without-its-config", "bitsandbytes")
def bitsandbytes_8bit(base, parameters):
    return stored(base, parameters, [(LINEAR, bitsandbytes_int8)], None)


@variant("mlx", "MLX")
def mlx_linears(base, parameters):
    out = stored(base, parameters, [(LINEAR, mlx)], {"group_size": GROUP, "bits": 4})
    out.config["quantization"] = out.config["quantization_config"]
    return out


@variant("mlx-without-its-config", "MLX")
def mlx_without_config(base, parameters):
    return stored(base, parameters, [(LINEAR, mlx)], None)


@variant("modelslim-w8a8", "Ascend ModelSlim W8A8_DYNAMIC")
def modelslim_w8a8(base, parameters):
    out = stored(base, parameters, [(LINEAR, modelslim)], None)
    quantised = {n for n in out.tensors if n.endswith("weight_offset")}
    modules = {n.removesuffix("weight_offset") for n in quantised}
    types = {n: "W8A8_DYNAMIC" if n[: n.rfind(".") + 1] in modules else "FLOAT" for n in out.tensors}
    out.side_files["quant_model_description.json"] = json.dumps({"model_quant_type": "W8A8_DYNAMIC", **types})
    return out


@variant("quark-fp8", "AMD Quark")
def quark_fp8(base, parameters):
    weight = {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": False}
    return stored(
        base,
        parameters,
        [(LINEAR, fp8_tensor)],
        {"quant_method": "quark", "global_quant_config": {"weight": weight}, "export": {"pack_method": "reorder"}},
    )


def compressed(weights: dict, format_name: str) -> dict:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None}
    return {"quant_method": "compressed-tensors", "format": format_name, "config_groups": {"group_0": group}}


@variant("fp8-per-channel", "FP8 with a scale per channel")
def fp8_per_channel(base, parameters):
    config = compressed({"num_bits": 8, "type": "float", "strategy": "channel"}, "float-quantized")
    return stored(base, parameters, [(EXPERT, forms.w4a16), (ATTENTION, fp8_rows)], config)


@variant("fp8-per-tensor", "FP8 with one scale per tensor")
def fp8_per_tensor(base, parameters):
    return stored(base, parameters, [(LINEAR, fp8_tensor)], {"quant_method": "modelopt", "quant_algo": "FP8"})


@variant("int8-w8a8", "int8")
def int8_w8a8(base, parameters):
    config = compressed({"num_bits": 8, "type": "int", "strategy": "channel"}, "int-quantized")
    return stored(base, parameters, [(LINEAR, int8_rows)], config)


@variant("int8-w8a16", "W8A16")
def int8_w8a16(base, parameters):
    config = compressed({"num_bits": 8, "type": "int", "strategy": "channel"}, "pack-quantized")
    return stored(base, parameters, [(EXPERT, packed_int8)], config)


@variant("mxfp4-packed", "MXFP4 as compressed-tensors packs it")
def mxfp4_packed(base, parameters):
    config = compressed({"num_bits": 4, "type": "float", "group_size": 32}, "mxfp4-pack-quantized")
    return stored(base, parameters, [(EXPERT, packed_mxfp4)], config)


@variant("nvfp4-with-scaled-activations", "pre_quant_scale")
def nvfp4_awq(base, parameters):
    return stored(base, parameters, [(EXPERT, scaled_nvfp4)], {"quant_method": "modelopt", "quant_algo": "NVFP4_AWQ"})


@variant("hqq", "HQQ")
def hqq_linears(base, parameters):
    return stored(base, parameters, [(LINEAR, hqq)], {"quant_method": "hqq", "quant_config": {}})


@variant("unknown-method", "residues")
def unknown_method(base, parameters):
    return stored(base, parameters, [(EXPERT, unknown)], {"quant_method": "residue-number-system"})
