"""Acceptance of the DSpark drafter and of the MTP block, in exact arithmetic on the stored values, for the model card.

The model continues the first tokens of the held-out chapters, greedily and sampled at temperature 1. Rounds of k drafts
are then followed along its output, which speculation does not change. A greedy draft is accepted if it is the model's
next token. When sampling, the output's next token x was drafted and accepted with probability min(1, q(x) / p(x)). The
acceptance length is the number of tokens a round emits, the model's own included; rounds that the end of the output
cuts short are left out. Beyond the trained block size the block is as long as k.
"""

import argparse
from pathlib import Path

import torch

from deepseek_v4 import checkpoint, stored
from deepseek_v4.config import Config
from deepseek_v4.dspark import DSparkAttention
from deepseek_v4.layers import HyperConnection
from deepseek_v4.model import Model
from documents import MODEL
from evaluate import held_out
from sample import Server

AT_ONCE = 6  # outputs
DRAWS = 16  # of acceptance when sampling
DRAFTS = 7


def continued(prompts: list[list[int]], tokens: int) -> torch.Tensor:
    """-> [2,prompts,prompt + tokens]: continued greedily, and sampled at temperature 1."""
    settings = [{"temperature": 0}, {"temperature": 1, "seed": 1}]
    asked = [{"prompt": p, "max_tokens": tokens + 8, "ignore_eos": True, **s} for s in settings for p in prompts]
    with Server(MODEL) as server:
        outputs = server.complete(asked)
    return torch.tensor([ids[: len(prompts[0]) + tokens] for ids in outputs]).unflatten(0, (2, -1))


def load(directory: Path) -> Model:
    model = Model(Config.load(directory)).eval()
    checkpoint.load(model, stored.widened(stored.read_tensors(directory)))
    return model


def dspark_logits(model: Model, text: torch.Tensor, kept: list[torch.Tensor], anchors: torch.Tensor, rows: int):
    """text [B,N], anchors [A] -> logits [B,A,rows,V] given the text's own tokens, and confidences [B,A,rows]."""
    mtp, (batch, count) = model.mtp, (len(text), len(anchors))
    before = text[:, anchors[:, None] + 1 + torch.arange(rows)]
    tokens = mtp.block_tokens(before[..., 0], rows)
    context = mtp.context(mtp.target_means(kept))
    y = mtp.hidden(mtp.streams(model.embed(tokens), tokens, context, anchors.expand(batch, -1)))
    y = y.unflatten(1, (count, rows))
    return mtp.base_logits(y, model.head) + mtp.bias(before), mtp.confidence(y, before)


def mtp_logits(model: Model, text: torch.Tensor, h: torch.Tensor, anchors: torch.Tensor, rows: int):
    """The MTP block's, chained: from the second draft on it reads its own streams and the token before."""
    block, config, batch = model.mtp[0], model.config, len(text)
    attention = DSparkAttention(config, 0)
    attention.load_state_dict(block.attn.state_dict())
    f = anchors.expand(batch, -1)

    def begin(streams, tokens):
        x = block.e_proj(block.enorm(model.embed(tokens)))[:, :, None] + block.h_proj(block.hnorm(streams))
        mixed, post, comb = block.hc_attn.pre(x)
        return x, block.attn_norm(mixed), post, comb

    _, context, _, _ = begin(h[:, :-1], text[:, 1:])
    streams = model.mtp_streams(h[:, :-1], text[:, 1:])[:, anchors]
    out, inputs = [model.mtp_logits(streams)], []
    for i in range(1, rows):
        tokens = text[:, anchors + 1 + i]
        x, normed, post, comb = begin(streams, tokens)
        inputs.append(normed)
        first = (f + i - config.sliding_window + 1).clamp(min=0)
        seen = attention(torch.stack(inputs, 2).flatten(1, 2), context, f, first)
        x = HyperConnection.merge(seen.unflatten(1, (-1, i))[:, :, -1], x, post, comb)
        mixed, post, comb = block.hc_ffn.pre(x)
        streams = HyperConnection.merge(block.ffn(block.ffn_norm(mixed), tokens), x, post, comb)
        out.append(model.mtp_logits(streams))
    return torch.stack(out, 2)


def rounds(accepted: torch.Tensor, k: int) -> tuple[int, list[int]]:
    """accepted [A,>=k] whether draft j after anchor f is -> the number of rounds, and of those that accept draft j."""
    count, at, position = 0, [0] * k, 0
    lengths = accepted[:, :k].long().cumprod(-1).sum(-1).tolist()
    while position < len(lengths):
        count += 1
        for j in range(lengths[position]):
            at[j] += 1
        position += lengths[position] + 1
    return count, at


class Tally:
    def __init__(self):
        self.count, self.at = {}, {}

    def add(self, accepted: torch.Tensor, k: int) -> None:
        """accepted [texts,A,>=k]"""
        for text in accepted:
            count, at = rounds(text, k)
            self.count[k] = self.count.get(k, 0) + count
            self.at[k] = [a + b for a, b in zip(self.at.get(k, [0] * k), at)]

    def shares(self, k: int) -> list[float]:
        return [a / self.count[k] for a in self.at[k]]

    def length(self, k: int) -> float:
        return 1 + sum(self.shares(k))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported", type=Path, help="what export_dspark.py wrote")
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    args = parser.parse_args()

    model, with_mtp = load(args.exported), load(MODEL)
    block, prompt = model.config.dspark_block_size, args.prompt_tokens
    texts = continued(held_out(prompt), args.tokens)
    anchors = torch.arange(prompt - 1, texts.shape[-1] - DRAFTS - 1)
    tallies = {(d, s): Tally() for d in ("MTP", "DSpark") for s in ("greedy", "T=1")}
    calibration = torch.zeros(2, 2, block)
    generator = torch.Generator().manual_seed(2)
    for s, sampling in enumerate(("greedy", "T=1")):
        for text in texts[s].split(AT_ONCE):
            kept: list[torch.Tensor] = []
            h = model.streams(text, kept)
            p = torch.softmax(model.logits(h), -1)
            found = [("MTP", range(1, DRAFTS + 1), mtp_logits(with_mtp, text, h, anchors, DRAFTS))]
            for rows in range(block, DRAFTS + 1):
                logits, confidence = dspark_logits(model, text, kept, anchors, rows)
                found.append(("DSpark", range(1, rows + 1) if rows == block else (rows,), logits))
                if rows == block:
                    calibration[s, 0] += torch.sigmoid(confidence).mean((0, 1)) * len(text)
            for drafter, lengths, logits in found:
                rows = logits.shape[2]
                at = anchors[:, None] + 1 + torch.arange(rows)
                x = text[:, at + 1]
                q_x = torch.softmax(logits, -1).gather(-1, x[..., None])[..., 0]
                ratio = (q_x / p[:, at].gather(-1, x[..., None])[..., 0]).clamp(max=1)
                hits = logits.argmax(-1) == x
                if drafter == "DSpark" and rows == block:
                    calibration[s, 1] += (hits.float() if s == 0 else ratio).mean((0, 1)) * len(text)
                for _ in range(1 if s == 0 else DRAWS):
                    accepted = hits if s == 0 else torch.rand(ratio.shape, generator=generator) < ratio
                    for k in lengths:
                        tallies[drafter, sampling].add(accepted, k)
    for (drafter, sampling), tally in tallies.items():
        lengths = " ".join(f"{tally.length(k):.2f}" for k in tally.count)
        print(f"{drafter}, {sampling}: length at k=1..{DRAFTS} {lengths}")
        print(f"  drafts accepted at k={block}, by position: " + " ".join(f"{x:.3f}" for x in tally.shares(block)))
    for s, sampling in enumerate(("greedy", "T=1")):
        mean, share = (calibration[s] / len(texts[s])).tolist()
        print(f"{sampling}: mean confidence " + " ".join(f"{x:.3f}" for x in mean), end="; ")
        print("accepted given the tokens before " + " ".join(f"{x:.3f}" for x in share))


if __name__ == "__main__":
    main()
