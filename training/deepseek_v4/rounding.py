"""What the release's numerics round: values of one of its small formats, kept in float.

Every function here works on the last dimension in blocks with one power-of-two scale each.
"""

import torch

FP8_MAX = 448.0
FP4_MAX = 6.0
FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def power_of_two_at_least(x: torch.Tensor) -> torch.Tensor:
    """The smallest power of two >= x, exactly (no logarithm in floating point decides)."""
    mantissa, exponent = torch.frexp(x)
    exponent = torch.where(mantissa == 0.5, exponent - 1, exponent)
    return torch.ldexp(torch.ones_like(x), exponent)


def _blocks(x: torch.Tensor, block: int) -> torch.Tensor:
    return x.unflatten(-1, (x.shape[-1] // block, block))


def fp8_scale(amax: torch.Tensor) -> torch.Tensor:
    return power_of_two_at_least(amax.clamp(min=1e-4) / FP8_MAX)


def fp4_scale(amax: torch.Tensor) -> torch.Tensor:
    return power_of_two_at_least(amax.clamp(min=FP4_MAX * 2.0**-126) / FP4_MAX)


def round_to_fp4(x: torch.Tensor) -> torch.Tensor:
    """The nearest e2m1 value, ties to the even mantissa; x is already divided by its scale."""
    a = x.abs().clamp(max=FP4_MAX)
    step = torch.where(a < 2.0, 0.5, torch.where(a < 4.0, 1.0, 2.0))
    return torch.copysign(torch.round(a / step) * step, x)


def fp8_round_trip(x: torch.Tensor, block: int) -> torch.Tensor:
    b = _blocks(x.float(), block)
    scale = fp8_scale(b.abs().amax(-1, keepdim=True))
    rounded = (b / scale).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn).float() * scale
    return rounded.flatten(-2).to(x.dtype)


def fp4_round_trip(x: torch.Tensor, block: int) -> torch.Tensor:
    b = _blocks(x.float(), block)
    scale = fp4_scale(b.abs().amax(-1, keepdim=True))
    return (round_to_fp4(b / scale) * scale).flatten(-2).to(x.dtype)


def hadamard(x: torch.Tensor) -> torch.Tensor:
    """Walsh-Hadamard transform of the last dimension (a power of two), scaled to keep lengths."""
    size = x.shape[-1]
    y = x
    step = 1
    while step < size:
        pairs = y.unflatten(-1, (size // (2 * step), 2, step))
        a, b = pairs.select(-2, 0), pairs.select(-2, 1)
        y = torch.stack((a + b, a - b), -2).flatten(-3)
        step *= 2
    return y * size**-0.5
