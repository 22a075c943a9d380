"""Rotary position embedding on interleaved pairs, with YaRN for the layers that compress."""

import math

import torch

from .config import Config


def inverse_frequencies(config: Config, compressed: bool) -> torch.Tensor:
    """Radians per position for each pair, [qk_rope_head_dim / 2]."""
    dims = config.qk_rope_head_dim
    theta = config.compress_rope_theta if compressed else config.rope_theta
    frequencies = theta ** (-torch.arange(0, dims, 2, dtype=torch.float32) / dims)
    if not compressed:
        return frequencies

    def dimension_that_turns(rotations: float) -> float:
        positions = config.rope_original_max_position_embeddings
        return dims * math.log(positions / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension_that_turns(config.rope_beta_fast)), 0)
    high = min(math.ceil(dimension_that_turns(config.rope_beta_slow)), dims - 1)
    ramp = (torch.arange(dims // 2, dtype=torch.float32) - low) / max(high - low, 0.001)
    keep = 1 - ramp.clamp(0, 1)
    return frequencies / config.rope_factor * (1 - keep) + frequencies * keep


def rotations(inverse: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """positions [...] -> cos and sin, [..., pairs]."""
    angles = positions.float()[..., None] * inverse
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates the last 2 * cos.shape[-1] dims of x; cos and sin broadcast against x's leading dims."""
    dims = 2 * cos.shape[-1]
    rest, turned = x[..., :-dims], x[..., -dims:]
    even, odd = turned[..., 0::2], turned[..., 1::2]
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)
    return torch.cat((rest, turned.to(x.dtype)), -1)
