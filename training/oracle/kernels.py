"""The kernels that the release's inference code calls, for a CPU.

Written from what kernel.py beside the release's model.py defines: same arguments, same rounding, same order of blocks.
Two things are left to the hardware there and are float32 here: the order of sums inside a block of a product, and
exp. `Sums` can take the sums in float64, where their order does not matter. `act_quant` is the later revision's.
"""

import torch

from deepseek_v4 import rounding
from deepseek_v4.quantize import fp4_values

ATTENTION_BLOCK = 64
ACTIVATION_BLOCK = 128
FP4_BLOCK = 32


def _quantize(x: torch.Tensor, block: int, round_scale: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """x / scale as e4m3 values in float32, in blocks [..., blocks, block], and the scales [..., blocks, 1]."""
    blocks = x.float().unflatten(-1, (-1, block))
    amax = blocks.abs().amax(-1, keepdim=True).clamp(min=1e-4)
    scale = rounding.power_of_two_at_least(amax * (1 / rounding.FP8_MAX)) if round_scale else amax / rounding.FP8_MAX
    values = (blocks / scale).clamp(-rounding.FP8_MAX, rounding.FP8_MAX)
    return values.to(torch.float8_e4m3fn).float(), scale


def act_quant(x, block_size=128, scale_fmt=None, scale_dtype=torch.float32, inplace=False):
    """FP8 codes and scales of x; in place, x rounded through FP8.

    In the first kernel.py the in-place form cast x / scale to its output type, BF16, so that keys and values passed
    unrounded. Here they are rounded through FP8, as in later ones: see training/README.md.
    """
    values, scale = _quantize(x, block_size, scale_fmt is not None)
    if inplace:
        return x.copy_((values * scale).flatten(-2))
    return values.flatten(-2).to(torch.float8_e4m3fn), scale.squeeze(-1).to(scale_dtype)


def fp4_act_quant(x, block_size=32, inplace=False):
    """x rounded through FP4 in blocks, in place."""
    if not inplace:
        raise NotImplementedError("the release's model.py calls it in place only")
    return x.copy_(rounding.fp4_round_trip(x.float(), block_size))


def fp8_gemm(a, a_s, b, b_s, scale_dtype=torch.float32, sums=torch.float32):
    """a [..., K] e4m3, a_s [..., K/128], b [N, K] e4m3, b_s [N/128, K/128] -> [..., N]."""
    scale_b = b_s.float().repeat_interleave(ACTIVATION_BLOCK, 0)[: b.shape[0]]
    return _blockwise_product(a, a_s, b.to(sums), scale_b, ACTIVATION_BLOCK)


def fp4_gemm(a, a_s, b, b_s, scale_dtype=torch.float32, sums=torch.float32):
    """a [..., K] e4m3, a_s [..., K/128], b [N, K/2] two e2m1 codes a byte, b_s [N, K/32] -> [..., N]."""
    return _blockwise_product(a, a_s, fp4_values(b).to(sums), b_s.float(), FP4_BLOCK)


def _blockwise_product(a, a_s, b, scale_b, block):
    """Block by block along K: product, times both scales, added up, all in b's type."""
    scale_a = a_s.float().repeat_interleave(ACTIVATION_BLOCK // block, -1)
    total = torch.zeros(*a.shape[:-1], b.shape[0], dtype=b.dtype)
    a = a.to(b.dtype)
    for k in range(a.shape[-1] // block):
        part = slice(k * block, (k + 1) * block)
        total += (a[..., part] @ b[:, part].T) * (scale_a[..., k, None] * scale_b[:, k])
    return total.to(torch.get_default_dtype())


def sparse_attn(q, kv, attn_sink, topk_idxs, softmax_scale, sums=torch.float32):
    """q [B,M,H,D], kv [B,N,D], topk_idxs [B,M,K] rows of kv (-1: none) -> [B,M,H,D]; softmax over blocks of 64."""
    batch, queries, heads, dim = q.shape
    row_max = torch.full((batch, queries, heads), float("-inf"), dtype=sums)
    row_sum = torch.zeros_like(row_max)
    out = torch.zeros(batch, queries, heads, dim, dtype=sums)
    rows = torch.arange(batch)[:, None, None]
    for start in range(0, topk_idxs.shape[-1], ATTENTION_BLOCK):
        indices = topk_idxs[..., start : start + ATTENTION_BLOCK].long()
        keys = kv[rows, indices.clamp(min=0)].to(sums)
        scores = torch.einsum("bmhd,bmkd->bmhk", q.to(sums), keys) * softmax_scale
        scores = scores.masked_fill((indices < 0)[:, :, None], float("-inf"))
        previous, row_max = row_max, torch.maximum(row_max, scores.amax(-1))
        # A block without a single key leaves everything as it was; inf - inf must not reach exp.
        shift = torch.where(row_max.isinf(), 0.0, row_max)
        weights = torch.exp(scores - shift[..., None])
        rescale = torch.exp(torch.where(previous.isinf(), float("-inf"), previous - shift))
        row_sum = row_sum * rescale + weights.sum(-1)
        out = out * rescale[..., None] + torch.einsum("bmhk,bmkd->bmhd", weights.to(q.dtype).to(sums), keys)
    row_sum = row_sum + torch.exp(attn_sink.to(sums) - row_max)
    return (out / row_sum[..., None]).to(q.dtype)


def hc_split_sinkhorn(mixes, hc_scale, hc_base, hc_mult=4, sinkhorn_iters=20, eps=1e-6):
    """mixes [B,S,(2+hc)*hc] -> pre [B,S,hc], post [B,S,hc], comb [B,S,hc,hc]."""
    s = hc_mult
    pre = torch.sigmoid(mixes[..., :s] * hc_scale[0] + hc_base[:s]) + eps
    post = 2 * torch.sigmoid(mixes[..., s : 2 * s] * hc_scale[1] + hc_base[s : 2 * s])
    comb = (mixes[..., 2 * s :] * hc_scale[2] + hc_base[2 * s :]).unflatten(-1, (s, s))
    comb = torch.softmax(comb, -1) + eps
    comb = comb / (comb.sum(-2, keepdim=True) + eps)
    for _ in range(sinkhorn_iters - 1):
        comb = comb / (comb.sum(-1, keepdim=True) + eps)
        comb = comb / (comb.sum(-2, keepdim=True) + eps)
    return pre, post, comb


def hadamard_transform(x, scale=1.0):
    """Of fast_hadamard_transform: the transform in float32, rounded to x's type once."""
    return (rounding.hadamard(x.float()) * (x.shape[-1] ** 0.5 * scale)).to(x.dtype)


class Sums:
    """`module` (torch, or torch.nn.functional) whose products are summed in float64 and rounded once."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)

    def linear(self, x, weight):
        return self._module.linear(x.double(), weight.double()).to(x.dtype)

    def einsum(self, equation, a, b):
        return self._module.einsum(equation, a.double(), b.double()).to(a.dtype)
