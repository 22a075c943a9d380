"""DSpark, the drafter of V4-Flash-0731 and V4-Pro-0813: stages that draft a whole block of tokens at once.

B sequences of T context positions, A anchors in each. The model has consumed positions 0 to f, and the anchor's token
at f + 1 is known; a block of `dspark_block_size` rows at f + 1, f + 2, … predicts the tokens at f + 2, f + 3, …. Rows
see the context positions f - W + 1 to f and all rows of their own block.
"""

import torch
import torch.nn.functional as F
from torch import nn

from . import rope
from .config import WINDOW, Config
from .layers import Attention, Block, HyperHead, Linear, RMSNorm


class DSparkAttention(Attention):
    """Keys of the context are computed from what the target model hands over, not from the stage's own streams."""

    def forward(self, x, context, anchors, first):
        """x [B,A*rows,D], context [B,T,D], anchors [B,A]: positions f, first [B,A]: the first positions seen."""
        window = self.config.sliding_window
        batch, count = anchors.shape
        rows = x.shape[1] // count
        steps = torch.arange(1, rows + 1, device=x.device)
        cos, sin = rope.rotations(self.inverse, (anchors[..., None] + steps).flatten(1))
        q, _ = self.queries(x, cos, sin)
        q = q.unflatten(1, (count, rows))
        own = self.keys(x, cos, sin).unflatten(1, (count, rows))
        positions = anchors[..., None] - window + 1 + torch.arange(window, device=x.device)
        rows_of = positions.clamp(min=0) + torch.arange(batch, device=x.device)[:, None, None] * context.shape[1]
        ring = F.embedding(rows_of, self.context_keys(context).flatten(0, 1))
        keys = torch.cat((ring, own), 2)

        scores = torch.einsum("barhd,bakd->bahrk", q, keys) * self.config.head_dim**-0.5
        hidden = F.pad(positions < first[..., None], (0, rows), value=False)
        scores = scores.masked_fill(hidden[:, :, None, None], float("-inf"))
        sink = self.attn_sink[:, None, None].expand(batch, count, -1, rows, 1)
        probabilities = torch.softmax(torch.cat((scores, sink), -1), -1)[..., :-1]
        out = torch.einsum("bahrk,bakd->barhd", probabilities, keys)
        return self.output(out.flatten(1, 2), cos, sin)

    def context_keys(self, context):
        """What the window ring holds: context [B,T,D] at positions 0 to T - 1 -> [B,T,head_dim]."""
        positions = torch.arange(context.shape[1], device=context.device)
        return self.keys(context, *rope.rotations(self.inverse, positions))


class MarkovHead(nn.Module):
    """Logits [..., V] that a token adds to those of the next one: the low-rank table w1 w2^T."""

    def __init__(self, config: Config):
        super().__init__()
        self.markov_w1 = nn.Embedding(config.vocab_size, config.dspark_markov_rank)
        self.markov_w2 = nn.Linear(config.dspark_markov_rank, config.vocab_size, bias=False)

    def forward(self, tokens):
        return self.markov_w2(self.markov_w1(tokens))


class ConfidenceHead(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.proj = nn.Linear(config.hidden_size + config.dspark_markov_rank, 1, bias=False)

    def forward(self, y, embedded):
        return self.proj(torch.cat((y, embedded), -1)).squeeze(-1)


class Stage(Block):
    """A layer of the model, except that its attention has a context. The first and the last hold what all share."""

    attention_class = DSparkAttention

    def __init__(self, config: Config, first: bool, last: bool):
        super().__init__(config, WINDOW, False)
        d = config.hidden_size
        if first:
            self.main_proj = Linear(config, d * len(config.dspark_target_layer_ids), d, "fp8")
            self.main_norm = RMSNorm(d, config.rms_norm_eps)
        if last:
            self.norm = RMSNorm(d, config.rms_norm_eps)
            self.hc_head = HyperHead(config)
            self.markov_head = MarkovHead(config)
            self.confidence_head = ConfidenceHead(config)


class DSpark(nn.ModuleList):
    """The stages, which the release stores as `mtp.i`. Embedding and head are the model's."""

    def __init__(self, config: Config):
        n = config.dspark_stages
        super().__init__(Stage(config, i == 0, i == n - 1) for i in range(n))
        self.config = config

    def target_means(self, after_each_layer: list[torch.Tensor]) -> torch.Tensor:
        """The model's streams [B,T,S,D] after each layer -> their means after the target layers, [B,T,targets*D]."""
        return torch.cat([after_each_layer[i].mean(-2) for i in self.config.dspark_target_layer_ids], -1)

    def context(self, means):
        """-> [B,T,D], from which each stage computes its keys."""
        return self[0].main_norm(self[0].main_proj(means))

    def block_tokens(self, anchor_tokens, rows: int | None = None):
        """The token at f + 1 of each anchor, [B,A] -> the tokens that the rows embed, [B,A*rows]."""
        noise = anchor_tokens.new_full((rows or self.config.dspark_block_size,), self.config.dspark_noise_token_id)
        tokens = noise.expand(*anchor_tokens.shape, -1).clone()
        tokens[..., 0] = anchor_tokens
        return tokens.flatten(1)

    def streams(self, embedded, tokens, context, anchors, first=None, after_each_stage: list | None = None):
        """embedded [B,A*rows,D] and their tokens [B,A*rows] -> the last stage's streams [B,A*rows,S,D]."""
        first = torch.zeros_like(anchors) if first is None else first
        h = embedded[:, :, None].expand(-1, -1, self.config.hc_mult, -1)
        for stage in self:
            h = stage(h, tokens, context, anchors, first)
            if after_each_stage is not None:
                after_each_stage.append(h)
        return h

    def hidden(self, h):
        """[B,A*rows,S,D] -> y [B,A*rows,D], before the norm."""
        return self[-1].hc_head(h)

    def base_logits(self, y, head):
        return head(self[-1].norm(y))

    def bias(self, tokens):
        """What the token before a drafted one adds to its base logits."""
        return self[-1].markov_head(tokens)

    def confidence(self, y, tokens):
        """Whether the row's draft will be accepted, as a logit, given the token before it."""
        return self[-1].confidence_head(y, self[-1].markov_head.markov_w1(tokens))

    def draft(self, base, y, anchor_tokens, choose=lambda logits: logits.argmax(-1)):
        """base [N,rows,V], y [N,rows,D], the anchors' tokens [N] -> drafts [N,rows], logits [N,rows,V], confidences."""
        before, drafts, logits, confidences = anchor_tokens, [], [], []
        for row in range(base.shape[1]):
            confidences.append(self.confidence(y[:, row], before))
            logits.append(base[:, row] + self.bias(before))
            before = choose(logits[-1])
            drafts.append(before)
        return torch.stack(drafts, 1), torch.stack(logits, 1), torch.stack(confidences, 1)
