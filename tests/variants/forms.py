"""The storage forms of docs/storage-forms.md, in both directions: fp32 values <-> tensors."""

import re

import numpy as np

from safetensors_file import Tensor, Tensors

FP4_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
FP4_TABLE = np.concatenate([FP4_VALUES, -FP4_VALUES])
FP8_MAX, FP4_MAX = np.float32(448), np.float32(6)


def _e4m3_table() -> np.ndarray:
    codes = np.arange(128)
    exponent, mantissa = codes >> 3, codes & 7
    values = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    values[127] = np.nan
    return np.concatenate([values, -values]).astype(np.float32)


E4M3_TABLE = _e4m3_table()


def bf16_bits(x: np.ndarray) -> np.ndarray:
    """Rounds to the nearest BF16, ties to even; x must be finite."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def e4m3_codes(x: np.ndarray) -> np.ndarray:
    """Rounds to the nearest E4M3 code, ties to even, saturating."""
    a = np.minimum(np.abs(x), FP8_MAX)
    _, exponent = np.frexp(a)
    step = np.ldexp(np.float32(1), np.maximum(exponent - 1, -6) - 3)
    codes = np.searchsorted(E4M3_TABLE[:127], np.rint(a / step) * step).astype(np.uint8)
    return codes | (np.signbit(x).astype(np.uint8) << 7)


def fp4_codes(x: np.ndarray) -> np.ndarray:
    """Rounds to the nearest e2m1 code, ties to even, saturating at 6."""
    a = np.minimum(np.abs(x), FP4_MAX)
    step = np.where(a < 2, np.float32(0.5), np.where(a < 4, np.float32(1), np.float32(2)))
    codes = np.searchsorted(FP4_VALUES, np.rint(a / step) * step).astype(np.uint8)
    return codes | (np.signbit(x).astype(np.uint8) << 3)


def power_of_two_at_least(x: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(x.astype(np.float32))
    return np.ldexp(np.float32(1), exponent - (mantissa == 0.5))


def packed(codes: np.ndarray) -> np.ndarray:
    """4-bit codes [out, in] -> bytes [out, in/2], the even element in the low nibble."""
    return codes[:, 0::2] | (codes[:, 1::2] << 4)


def unpacked(data: np.ndarray) -> np.ndarray:
    return np.stack([data & 15, data >> 4], -1).reshape(data.shape[0], -1)


def tensor(dtype: str, array: np.ndarray) -> Tensor:
    return Tensor(dtype, array.shape, np.ascontiguousarray(array).tobytes())


def bf16(x: np.ndarray) -> Tensor:
    return tensor("BF16", bf16_bits(x))


def f32(x: np.ndarray) -> Tensor:
    return tensor("F32", np.asarray(x, np.float32))


def values(t: Tensor) -> np.ndarray:
    """The values of an unquantised tensor, or of scales, in fp32; tables stay integers."""
    if t.dtype == "BF16":
        return from_bf16(t.array(np.uint16))
    if t.dtype == "F32":
        return t.array(np.float32)
    if t.dtype == "F8_E8M0":
        return np.ldexp(np.float32(1), t.array(np.uint8).astype(np.int32) - 127)
    if t.dtype == "F8_E4M3":
        return E4M3_TABLE[t.array(np.uint8)]
    return t.array({"I64": np.int64, "I32": np.int32}[t.dtype])


def widened_blocks(scale: np.ndarray, shape: tuple[int, ...], block: int) -> np.ndarray:
    return scale.repeat(block, 0)[: shape[0]].repeat(block, 1)[:, : shape[1]]


# Each of these returns the tensors of a linear X [out, in], by the name after "X.".


def plain_bf16(w: np.ndarray) -> Tensors:
    return {"weight": bf16(w)}


def plain_f32(w: np.ndarray) -> Tensors:
    return {"weight": f32(w)}


def fp8_block(w: np.ndarray, scale_name: str = "scale", scale_dtype: str = "F8_E8M0") -> Tensors:
    rows, columns = -(-w.shape[0] // 128), -(-w.shape[1] // 128)
    whole = np.zeros((rows * 128, columns * 128), np.float32)
    whole[: w.shape[0], : w.shape[1]] = w
    amax = np.maximum(np.abs(whole).reshape(rows, 128, columns, 128).max((1, 3)), np.float32(1e-4))
    scale = power_of_two_at_least(amax / FP8_MAX) if scale_dtype == "F8_E8M0" else amax / FP8_MAX
    if scale_dtype == "BF16":
        scale = from_bf16(bf16_bits(scale) + 1)  # never below the exact scale, so that nothing is clipped
    codes = tensor("F8_E4M3", e4m3_codes(w / widened_blocks(scale, w.shape, 128)))
    return {"weight": codes, scale_name: _scale(scale, scale_dtype)}


def mxfp4(w: np.ndarray) -> Tensors:
    blocks = w.reshape(w.shape[0], -1, 32)
    scale = power_of_two_at_least(np.maximum(np.abs(blocks).max(-1), FP4_MAX * np.float32(2.0**-126)) / FP4_MAX)
    codes = fp4_codes((blocks / scale[..., None]).reshape(w.shape))
    return {"weight": tensor("I8", packed(codes)), "scale": _scale(scale, "F8_E8M0")}


def w4a16(w: np.ndarray, group: int = 128) -> Tensors:
    groups = w.reshape(w.shape[0], -1, group)
    scale = np.maximum(np.abs(groups).max(-1) / np.float32(7.5), np.float32(1e-8))
    scale = from_bf16(bf16_bits(scale))
    codes = np.clip(np.rint(groups / scale[..., None]), -8, 7).astype(np.int64).reshape(w.shape[0], -1, 8) + 8
    words = (codes << (4 * np.arange(8))).sum(-1).astype(np.uint32)
    return {
        "weight_packed": tensor("I32", words),
        "weight_scale": bf16(scale),
        "weight_shape": tensor("I64", np.array(w.shape, np.int64)),
    }


def _nvfp4(w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """Packed codes, E4M3 codes of the scales, and the factor w = code * scale * factor."""
    blocks = w.reshape(w.shape[0], -1, 16)
    amax = np.abs(blocks).max(-1)
    factor = np.float32(max(float(amax.max()), 1e-8) / (float(FP4_MAX) * float(FP8_MAX)))
    scale_codes = np.maximum(e4m3_codes(amax / FP4_MAX / factor), 1)
    scale = E4M3_TABLE[scale_codes] * factor
    return packed(fp4_codes((blocks / scale[..., None]).reshape(w.shape))), scale_codes, factor


def nvfp4(w: np.ndarray) -> Tensors:
    codes, scale, factor = _nvfp4(w)
    return {
        "weight_packed": tensor("U8", codes),
        "weight_scale": tensor("F8_E4M3", scale),
        "weight_global_scale": f32(np.array([1 / factor])),
        "input_global_scale": f32(np.array([1.0])),
    }


def nvfp4_modelopt(w: np.ndarray) -> Tensors:
    codes, scale, factor = _nvfp4(w)
    return {
        "weight": tensor("U8", codes),
        "weight_scale": tensor("F8_E4M3", scale),
        "weight_scale_2": f32(np.array(factor)),
        "input_scale": f32(np.array(1.0)),
    }


def _scale(scale: np.ndarray, dtype: str) -> Tensor:
    if dtype == "F32":
        return f32(scale)
    if dtype == "BF16":
        return bf16(scale)
    _, exponent = np.frexp(scale)
    return tensor("F8_E8M0", (exponent - 1 + 127).astype(np.uint8))


def read_official(tensors: Tensors) -> dict[str, np.ndarray]:
    """Every parameter of a release's tensors, in fp32 (tables in int64)."""
    out = {}
    for name, t in tensors.items():
        if name.endswith(".scale"):
            continue
        scale = tensors.get(name.removesuffix(".weight") + ".scale")
        if scale is None:
            out[name] = values(t)
        elif t.dtype == "I8":
            out[name] = FP4_TABLE[unpacked(t.array(np.uint8))] * values(scale).repeat(32, 1)
        else:
            out[name] = E4M3_TABLE[t.array(np.uint8)] * widened_blocks(values(scale), t.shape, 128)
    return out


EXPERT = re.compile(r"\.experts\.\d+\.w[123]\.weight$")
SHARED = re.compile(r"\.shared_experts\.w[123]\.weight$")
ATTENTION = re.compile(r"(\.attn\.(wq_a|wq_b|wkv|wo_a|wo_b)|^mtp\.\d+\.([eh]|main)_proj)\.weight$")
INDEXER = re.compile(r"\.attn\.indexer\.wq_b\.weight$")
COMPRESSOR = re.compile(r"\.attn\.(indexer\.)?(compressor\.(wkv|wgate)|weights_proj)\.weight$")
FLOAT32 = re.compile(r"(hc_(attn|ffn|head)_(fn|base|scale)|attn_sink|gate\.bias|\.ape)$")
