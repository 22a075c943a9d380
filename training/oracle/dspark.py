"""DSpark of the model.py of V4-Flash-0731, as the oracle runs it: greedy drafts, one position consumed per call."""

from dataclasses import dataclass

import torch

from .official import OfficialModel


@dataclass
class Draft:
    """Of one anchor: drafts [rows], logits with the Markov head's [rows, V], confidences [rows], the stages' streams
    [stages, rows, S, D], and of the context so far: what stages get at f [D], and their rings [stages, W, head_dim]."""

    drafts: torch.Tensor
    logits: torch.Tensor
    confidences: torch.Tensor
    streams: torch.Tensor
    context: torch.Tensor
    rings: torch.Tensor


class OfficialDSpark(OfficialModel):
    def consume(self, tokens: torch.Tensor, position: int) -> torch.Tensor:
        """tokens [n] at `position` on, one if it is not 0 -> the means that the model hands over, [n, targets*D]."""
        if position == 0:
            self._forget()
        return self._with_dtype(self.model, tokens[None], position)[2]

    def fill(self, means: torch.Tensor) -> None:
        """Fills the rings with a prompt's positions, means [1, n, targets*D] from position 0 on."""
        for stage in self.model.mtp:
            stage.attn.kv_cache.zero_()
        self._with_dtype(self.model.forward_spec, torch.zeros(1, dtype=torch.long), means, 0)

    def draft(self, anchor_token: int, means: torch.Tensor, position: int) -> Draft:
        """The block after `position` > 0, whose means [1, 1, targets*D] are added to the rings."""
        streams, context = [], []
        hooks = [m.register_forward_hook(lambda _m, _i, out: streams.append(out[0].clone())) for m in self.model.mtp]
        hooks.append(self.model.mtp[0].main_norm.register_forward_hook(lambda _m, _i, out: context.append(out[0, 0])))
        try:
            ids, logits, confidences = self._with_dtype(
                self.model.forward_spec, torch.tensor([anchor_token]), means, position
            )
        finally:
            for hook in hooks:
                hook.remove()
        rings = torch.stack([stage.attn.kv_cache[0].clone() for stage in self.model.mtp])
        return Draft(ids[0, 1:], logits[0].float(), confidences[0].float(), torch.stack(streams), context[0], rings)

    def context(self, means: torch.Tensor) -> torch.Tensor:
        """Given means [n, targets*D] -> [n, D]."""
        first = self.model.mtp[0]
        return self._with_dtype(lambda: first.main_norm(first.main_proj(means[None])))[0]

    def context_keys(self, index: int, context: torch.Tensor) -> torch.Tensor:
        """Of stage `index`, context [n, D] given at positions 0 on -> keys of the last W positions, [<= W, head_dim]."""
        attention, n = self.model.mtp[index].attn, len(context)
        self._with_dtype(attention, context[None], 0, context[None])
        slots = torch.arange(max(0, n - attention.window_size), n) % attention.window_size
        return attention.kv_cache[0, slots].clone()

    def stage(self, index: int, streams: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """One stage alone on the streams [rows, S, D] of a block after the last position of context [f + 1, D]."""
        stage, f = self.model.mtp[index], len(context) - 1
        self._with_dtype(stage.attn, context[None, :f], 0, context[None, :f])
        return self._with_dtype(stage, streams[None], f, torch.zeros(1, dtype=torch.long), context[None, f:])[0]

    def dspark_head(self, streams: torch.Tensor, anchor_token: int):
        """Streams [rows, S, D] given after the last stage -> drafts [rows], logits [rows, V], confidences [rows]."""
        anchor = torch.tensor([anchor_token])
        ids, logits, confidences = self._with_dtype(self.model.mtp[-1].forward_head, streams[None], anchor)
        return ids[0, 1:], logits[0].float(), confidences[0].float()
