"""The parts of a DeepSeek-V4 block. B batch, T tokens, D hidden size, S streams (hc_mult), H heads.

`official` turns on the release's rounding of activations, keys and values; without it the mathematics is exact.
"""

import torch
import torch.nn.functional as F
from torch import nn

from . import rope, rounding
from .config import CSA, WINDOW, Config


def rms_norm(x: torch.Tensor, eps: float) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return rms_norm(x, self.eps) * self.weight


class Linear(nn.Module):
    """x W^T. `form` is how the release stores W: bf16, fp8 or fp4; `quantize` maps W to the stored values."""

    def __init__(self, config: Config, inputs: int, outputs: int, form: str, rounds_input: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.form = form
        self.rounds_input = rounds_input and form != "bf16"
        self.official = False
        self.quantize = None

    def stored_weight(self):
        return self.weight if self.quantize is None else self.quantize(self.weight, self.form)

    def forward(self, x):
        if self.official and self.rounds_input:
            x = rounding.fp8_round_trip(x, min(128, x.shape[-1]))
        return F.linear(x, self.stored_weight())


def mixing_scores(h, fn, eps: float):
    """fn applied to all streams at once, after their common RMS norm; always in fp32."""
    with torch.autocast(h.device.type, enabled=False):
        z = h.flatten(-2).float()
        return F.linear(z, fn) * torch.rsqrt(z.square().mean(-1, keepdim=True) + eps)


class HyperConnection(nn.Module):
    """mHC: mixes S residual streams into one input, and the output back into S streams."""

    def __init__(self, config: Config):
        super().__init__()
        s = config.hc_mult
        self.fn = nn.Parameter(torch.empty((2 + s) * s, s * config.hidden_size))
        self.base = nn.Parameter(torch.zeros((2 + s) * s))
        self.scale = nn.Parameter(torch.full((3,), 0.1))
        self.config = config

    def pre(self, h):
        """h [B,T,S,D] -> x [B,T,D], post [B,T,S], comb [B,T,S,S]."""
        c, s = self.config, self.config.hc_mult
        m = mixing_scores(h, self.fn, c.rms_norm_eps)
        scale = torch.repeat_interleave(self.scale, torch.tensor([s, s, s * s], device=h.device))
        m = m * scale + self.base
        pre = torch.sigmoid(m[..., :s]) + c.hc_eps
        post = 2 * torch.sigmoid(m[..., s : 2 * s])
        comb = torch.softmax(m[..., 2 * s :].unflatten(-1, (s, s)), -1) + c.hc_eps
        comb = comb / (comb.sum(-2, keepdim=True) + c.hc_eps)
        for _ in range(c.hc_sinkhorn_iters - 1):
            comb = comb / (comb.sum(-1, keepdim=True) + c.hc_eps)
            comb = comb / (comb.sum(-2, keepdim=True) + c.hc_eps)
        return torch.einsum("bts,btsd->btd", pre, h), post, comb

    @staticmethod
    def merge(x, h, post, comb):
        return post[..., None] * x[..., None, :] + torch.einsum("btjk,btjd->btkd", comb, h)


class HyperHead(nn.Module):
    """Mixes the S streams into the one vector that the head sees."""

    def __init__(self, config: Config):
        super().__init__()
        s = config.hc_mult
        self.fn = nn.Parameter(torch.empty(s, s * config.hidden_size))
        self.base = nn.Parameter(torch.zeros(s))
        self.scale = nn.Parameter(torch.full((1,), 0.1))
        self.config = config

    def forward(self, h):
        m = mixing_scores(h, self.fn, self.config.rms_norm_eps)
        pre = torch.sigmoid(m * self.scale + self.base) + self.config.hc_eps
        return torch.einsum("bts,btsd->btd", pre, h)


class Compressor(nn.Module):
    """Pools each window of `ratio` tokens into one entry [B, T // ratio, dim]; with ratio 4 windows overlap."""

    def __init__(self, config: Config, ratio: int, dim: int, for_index: bool):
        super().__init__()
        self.ratio, self.dim, self.for_index = ratio, dim, for_index
        self.overlaps = ratio == CSA
        width = dim * (2 if self.overlaps else 1)
        self.wkv = Linear(config, config.hidden_size, width, "bf16")
        self.wgate = Linear(config, config.hidden_size, width, "bf16")
        self.ape = nn.Parameter(torch.zeros(ratio, width))
        self.norm = RMSNorm(dim, config.rms_norm_eps)
        self.rope_dims = config.qk_rope_head_dim
        self.official = False
        self.register_buffer("inverse", rope.inverse_frequencies(config, True), persistent=False)

    def forward(self, x):
        batch, tokens, _ = x.shape
        n = tokens // self.ratio
        if n == 0:
            return x.new_empty(batch, 0, self.dim)
        x = x[:, : n * self.ratio]
        kv = self.wkv(x).unflatten(1, (n, self.ratio))
        gate = self.wgate(x).unflatten(1, (n, self.ratio)) + self.ape
        if self.overlaps:
            kv = torch.cat((self._of_previous(kv, 0.0), kv[..., self.dim :]), 2)
            gate = torch.cat((self._of_previous(gate, float("-inf")), gate[..., self.dim :]), 2)
        pooled = self.norm((torch.softmax(gate, 2) * kv).sum(2))
        cos, sin = rope.rotations(self.inverse, torch.arange(n, device=x.device) * self.ratio)
        entries = rope.rotate(pooled, cos, sin)
        if not self.official:
            return entries
        if self.for_index:
            return rounding.fp4_round_trip(rounding.hadamard(entries), 32)
        return round_non_rope(entries, self.rope_dims)

    def _of_previous(self, values, absent: float):
        first_half = values[..., : self.dim]
        missing = torch.full_like(first_half[:, :1], absent)
        return torch.cat((missing, first_half[:, :-1]), 1)


def round_non_rope(x, rope_dims: int):
    return torch.cat((rounding.fp8_round_trip(x[..., :-rope_dims], 64), x[..., -rope_dims:]), -1)


class Indexer(nn.Module):
    """Scores [B,T,n] of the compressed entries for each query."""

    def __init__(self, config: Config):
        super().__init__()
        self.heads, self.dim = config.index_n_heads, config.index_head_dim
        self.wq_b = Linear(config, config.q_lora_rank, self.heads * self.dim, "fp8")
        self.weights_proj = Linear(config, config.hidden_size, self.heads, "bf16")
        self.compressor = Compressor(config, CSA, self.dim, True)
        self.official = False

    def forward(self, x, qr, cos, sin):
        q = rope.rotate(self.wq_b(qr).unflatten(-1, (self.heads, self.dim)), cos[:, None], sin[:, None])
        if self.official:
            q = rounding.fp4_round_trip(rounding.hadamard(q), 32)
        keys = self.compressor(x)
        weights = self.weights_proj(x) * (self.dim**-0.5 * self.heads**-0.5)
        return torch.einsum("bthn,bth->btn", F.relu(torch.einsum("bthd,bnd->bthn", q, keys)), weights)


class Attention(nn.Module):
    """One key/value head, a window, compressed entries by layer type, and a learned sink for each query head."""

    def __init__(self, config: Config, ratio: int):
        super().__init__()
        c = config
        self.config, self.ratio = c, ratio
        self.wq_a = Linear(c, c.hidden_size, c.q_lora_rank, "fp8")
        self.q_norm = RMSNorm(c.q_lora_rank, c.rms_norm_eps)
        self.wq_b = Linear(c, c.q_lora_rank, c.num_attention_heads * c.head_dim, "fp8")
        self.wkv = Linear(c, c.hidden_size, c.head_dim, "fp8")
        self.kv_norm = RMSNorm(c.head_dim, c.rms_norm_eps)
        group = c.num_attention_heads * c.head_dim // c.o_groups
        self.wo_a = Linear(c, group, c.o_groups * c.o_lora_rank, "fp8", rounds_input=False)
        self.wo_b = Linear(c, c.o_groups * c.o_lora_rank, c.hidden_size, "fp8")
        self.attn_sink = nn.Parameter(torch.zeros(c.num_attention_heads))
        self.compressor = Compressor(c, ratio, c.head_dim, False) if ratio != WINDOW else None
        self.indexer = Indexer(c) if ratio == CSA else None
        self.official = False
        self.index_loss = None
        self.register_buffer("inverse", rope.inverse_frequencies(c, ratio != WINDOW), persistent=False)

    def queries(self, x, cos, sin):
        """x [B,T,D] -> q [B,T,H,head_dim], and the low-rank queries that the indexer takes."""
        c = self.config
        qr = self.q_norm(self.wq_a(x))
        q = rms_norm(self.wq_b(qr).unflatten(-1, (c.num_attention_heads, c.head_dim)), c.rms_norm_eps)
        return rope.rotate(q, cos[..., None, :], sin[..., None, :]), qr

    def keys(self, x, cos, sin):
        """x [B,T,D] -> the keys, which are also the values, [B,T,head_dim]."""
        kv = rope.rotate(self.kv_norm(self.wkv(x)), cos, sin)
        return round_non_rope(kv, self.config.qk_rope_head_dim) if self.official else kv

    def output(self, out, cos, sin):
        """What the heads read [B,T,H,head_dim] -> [B,T,D]."""
        c = self.config
        out = rope.rotate(out, cos[..., None, :], -sin[..., None, :])
        grouped = out.flatten(-2).unflatten(-1, (c.o_groups, -1))
        wo_a = self.wo_a.stored_weight().unflatten(0, (c.o_groups, c.o_lora_rank))
        return self.wo_b(torch.einsum("btgi,goi->btgo", grouped, wo_a).flatten(-2))

    def forward(self, x):
        c = self.config
        batch, tokens, _ = x.shape
        positions = torch.arange(tokens, device=x.device)
        cos, sin = rope.rotations(self.inverse, positions)
        q, qr = self.queries(x, cos, sin)
        kv = self.keys(x, cos, sin)

        # Queries go in blocks of one window: a block sees its own keys and those of the block before.
        w = c.sliding_window
        blocks = -(-tokens // w)
        padding = blocks * w - tokens
        queries = F.pad(q, (0, 0, 0, 0, 0, padding)).unflatten(1, (blocks, w))
        keys = F.pad(kv, (0, 0, w, padding)).unflatten(1, (blocks + 1, w))
        keys = torch.cat((keys[:, :-1], keys[:, 1:]), 2)
        scale = c.head_dim**-0.5
        scores = torch.einsum("bnqhd,bnkd->bnhqk", queries, keys) * scale
        query = torch.arange(w, device=x.device)[:, None]
        key = torch.arange(2 * w, device=x.device)[None, :]
        near = (key > query) & (key <= query + w)
        exists = (torch.arange(blocks, device=x.device)[:, None, None] > 0) | (key >= w)
        scores = scores.masked_fill(~(near & exists)[:, None], float("-inf"))

        entries, allowed, index_scores = None, None, None
        if self.compressor is not None:
            entries = self.compressor(x)
            count = entries.shape[1]
            allowed = (torch.arange(count, device=x.device)[None] + 1) * self.ratio <= positions[:, None] + 1
            allowed = allowed.expand(batch, tokens, count)
            if self.indexer is not None and count > 0:
                index_scores = self.indexer(x.detach(), qr.detach(), cos, sin)
                index_scores = index_scores.masked_fill(~allowed, float("-inf"))
                if count > c.index_topk:
                    chosen = index_scores.topk(c.index_topk, -1).indices
                    allowed = allowed & torch.zeros_like(allowed).scatter(-1, chosen, True)
            far = torch.einsum("bnqhd,bkd->bnhqk", queries, entries) * scale
            mask = F.pad(allowed, (0, 0, 0, padding)).unflatten(1, (blocks, w))
            scores = torch.cat((scores, far.masked_fill(~mask[:, :, None], float("-inf"))), -1)

        sink = self.attn_sink[None, None, :, None, None].expand(batch, blocks, -1, w, 1)
        probabilities = torch.softmax(torch.cat((scores, sink), -1), -1)[..., :-1]
        out = torch.einsum("bnhqk,bnkd->bnqhd", probabilities[..., : 2 * w], keys)
        if entries is not None:
            far = probabilities[..., 2 * w :]
            out = out + torch.einsum("bnhqk,bkd->bnqhd", far, entries)
            if self.training and index_scores is not None:
                self.index_loss = self._index_loss(far, index_scores, allowed, tokens)
        return self.output(out.flatten(1, 2)[:, :tokens], cos, sin)

    @staticmethod
    def _index_loss(far, index_scores, allowed, tokens):
        """KL divergence from the attention that the entries get to the softmax of their index scores."""
        target = far.detach().sum(2).flatten(1, 2)[:, :tokens]
        target = target / target.sum(-1, keepdim=True).clamp(min=1e-6)
        guess = torch.log_softmax(index_scores.masked_fill(~allowed, -1e4), -1)
        return -(target * guess).sum(-1).mean()


class Gate(nn.Module):
    """Scores of the experts; the first layers look the experts up by token instead of choosing them."""

    def __init__(self, config: Config, hashes: bool):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        if hashes:
            self.register_buffer("tid2eid", torch.zeros(config.vocab_size, config.num_experts_per_tok).long())
            self.bias = None
        else:
            self.register_buffer("bias", torch.zeros(config.n_routed_experts))
            self.tid2eid = None

    def forward(self, x, tokens):
        """x [N,D], tokens [N] -> weights [N,K], experts [N,K]."""
        c = self.config
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.float(), self.weight)
        scores = {
            "sqrtsoftplus": lambda v: F.softplus(v).sqrt(),
            "sigmoid": torch.sigmoid,
            "softmax": lambda v: torch.softmax(v, -1),
        }[c.scoring_func](logits)
        if self.tid2eid is not None:
            experts = self.tid2eid[tokens]
        else:
            experts = (scores + self.bias).topk(c.num_experts_per_tok, -1).indices
        weights = scores.gather(-1, experts)
        if c.scoring_func != "softmax":
            weights = weights / weights.sum(-1, keepdim=True)
        return weights * c.routed_scaling_factor, experts


class Expert(nn.Module):
    def __init__(self, config: Config, form: str):
        super().__init__()
        self.w1 = Linear(config, config.hidden_size, config.moe_intermediate_size, form)
        self.w2 = Linear(config, config.moe_intermediate_size, config.hidden_size, form)
        self.w3 = Linear(config, config.hidden_size, config.moe_intermediate_size, form)
        self.limit = config.swiglu_limit

    def forward(self, x, weight=None):
        gate, up = self.w1(x), self.w3(x)
        if self.limit > 0:
            gate, up = gate.clamp(max=self.limit), up.clamp(-self.limit, self.limit)
        hidden = F.silu(gate) * up
        return self.w2(hidden if weight is None else hidden * weight)


class MoE(nn.Module):
    def __init__(self, config: Config, hashes: bool):
        super().__init__()
        self.config = config
        self.gate = Gate(config, hashes)
        self.experts = nn.ModuleList(Expert(config, "fp4") for _ in range(config.n_routed_experts))
        self.shared_experts = Expert(config, "fp8")
        self.load = None

    def forward(self, x, tokens):
        shape = x.shape
        x, tokens = x.flatten(0, -2), tokens.flatten()
        weights, experts = self.gate(x, tokens)
        order = experts.flatten().argsort(stable=True)
        rows = order // self.config.num_experts_per_tok
        counts = torch.bincount(experts.flatten(), minlength=self.config.n_routed_experts)
        self.load = counts
        parts = zip(self.experts, x[rows].split(counts.tolist()), weights.flatten()[order].split(counts.tolist()))
        routed = torch.cat([expert(part, weight[:, None]) for expert, part, weight in parts if len(part)])
        out = self.shared_experts(x).index_add(0, rows, routed)
        return out.view(shape)


class Block(nn.Module):
    attention_class = Attention

    def __init__(self, config: Config, ratio: int, hashes: bool):
        super().__init__()
        self.attn_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.ffn_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attn = self.attention_class(config, ratio)
        self.ffn = MoE(config, hashes)
        self.hc_attn = HyperConnection(config)
        self.hc_ffn = HyperConnection(config)

    def forward(self, h, tokens, *context):
        x, post, comb = self.hc_attn.pre(h)
        h = HyperConnection.merge(self.attn(self.attn_norm(x), *context), h, post, comb)
        x, post, comb = self.hc_ffn.pre(h)
        return HyperConnection.merge(self.ffn(self.ffn_norm(x), tokens), h, post, comb)
