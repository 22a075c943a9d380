"""The stored values of a weight: FP4 in blocks of 32 of a row, FP8 in blocks of 128 x 128, power-of-two scales."""

import torch
import torch.nn.functional as F

from . import rounding

FP8_BLOCK = 128
FP4_BLOCK = 32


def fp4(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """w [out, in] -> e2m1 values [out, in] (as floats) and scales [out, in/32]."""
    blocks = w.float().unflatten(-1, (-1, FP4_BLOCK))
    scale = rounding.fp4_scale(blocks.abs().amax(-1))
    return rounding.round_to_fp4(blocks / scale[..., None]).flatten(-2), scale


def fp8(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """w [out, in] -> e4m3 values [out, in] (as floats) and scales [ceil(out/128), ceil(in/128)]."""
    rows, columns = w.shape
    padded = F.pad(w.float(), (0, -columns % FP8_BLOCK, 0, -rows % FP8_BLOCK))
    blocks = padded.unflatten(0, (-1, FP8_BLOCK)).unflatten(-1, (-1, FP8_BLOCK))
    scale = rounding.fp8_scale(blocks.abs().amax((1, 3)))
    values = (w.float() / widened(scale, w.shape)).clamp(-rounding.FP8_MAX, rounding.FP8_MAX)
    return values.to(torch.float8_e4m3fn).float(), scale


def fp4_values(packed: torch.Tensor) -> torch.Tensor:
    """Two codes a byte [out, in/2], the even element in the low nibble -> e2m1 values [out, in] in fp32."""
    bits = packed.view(torch.uint8)
    codes = torch.stack((bits & 15, bits >> 4), -1).flatten(-2)
    table = torch.tensor([*rounding.FP4_VALUES, *(-v for v in rounding.FP4_VALUES)], dtype=torch.float32)
    return table[codes.long()]


def widened(scale: torch.Tensor, shape) -> torch.Tensor:
    """A scale per 128 x 128 block -> one per element."""
    rows = scale.repeat_interleave(FP8_BLOCK, 0)[: shape[0]]
    return rows.repeat_interleave(FP8_BLOCK, 1)[:, : shape[1]]


def stored_values(w: torch.Tensor, form: str) -> torch.Tensor:
    """What a reader of the stored w gets, in fp32."""
    if form == "fp4":
        values, scale = fp4(w)
        return values * scale.repeat_interleave(FP4_BLOCK, -1)
    if form == "fp8":
        values, scale = fp8(w)
        return values * widened(scale, w.shape)
    return w.to(torch.bfloat16).float()


def straight_through(w: torch.Tensor, form: str) -> torch.Tensor:
    """Stored values forward, the identity backward."""
    return w if form == "bf16" else w + (stored_values(w, form) - w).detach()
