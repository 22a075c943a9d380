"""Trains a DSpark drafter for the bundled model, which stays as it is; see README.md beside this file.

Loss for a block of g rows after an anchor, row j weighted by exp(-j / g): 0.1 x cross entropy of the token + 0.9 x L1
distance of the drafter's distribution q from the model's p + binary cross entropy of the confidence with 1 - L1 / 2,
the probability that a token drawn from q is accepted. The token before each drafted one is the true one. In the last
part of the training the weights are seen as they will be stored (FP4, FP8).

What the drafter takes from the model does not change during the training, so it is computed once and kept in a file:
for each token the means of the streams after the target layers, and the vector that the head maps to logits.
"""

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from corpus import chapters
from deepseek_v4 import checkpoint, stored
from deepseek_v4.config import Config
from deepseek_v4.model import Model
from deepseek_v4.quantize import straight_through
from documents import MODEL, document, tokenizer
from optimizer import make_optimizers, step_all
from train import balance, rate_factor

CE_WEIGHT = 0.1
L1_WEIGHT = 0.9
CONFIDENCE_WEIGHT = 1.0
QUANTIZED_FROM = 0.75
SEQUENCES = 8  # a step
LENGTH = 512
ANCHORS = 128  # of each sequence
TOKENS_A_PASS = 8192


def dspark_config(stages: int, rank: int) -> Config:
    """The bundled model's config with DSpark. The noise token is the padding token, which no text contains."""
    config = Config.load(MODEL)
    config.compress_ratios = config.compress_ratios[: config.num_hidden_layers] + [0] * stages
    config.dspark_block_size = 5
    config.dspark_markov_rank = rank
    config.dspark_noise_token_id = tokenizer().token_to_id("<｜▁pad▁｜>")
    config.dspark_target_layer_ids = [config.num_hidden_layers - i for i in (3, 2, 1)]
    return config


def target_parameters() -> dict[str, torch.Tensor]:
    """The bundled model's, as stored, under official names."""
    return stored.widened(stored.read_tensors(MODEL))


def make_model(config: Config, seed: int, from_mtp: bool = False) -> Model:
    """The frozen model with a drafter to be trained: random, or each stage a copy of the layer in the MTP block."""
    model = Model(config)
    model.initialize(torch.Generator().manual_seed(seed))
    values, bundled = checkpoint.parameters(model), target_parameters()
    for name in values:
        if not name.startswith("mtp."):
            values[name] = bundled[name]
        elif from_mtp and (of_mtp := bundled.get("mtp.0." + name.split(".", 2)[2])) is not None:
            values[name] = of_mtp
    checkpoint.load(model, values)
    model.requires_grad_(False)
    model.mtp.requires_grad_(True)
    model.layers.eval()
    return model


@dataclass
class Features:
    """Documents one after the other. N tokens in all."""

    tokens: torch.Tensor  # [N]
    start: torch.Tensor  # [N] where the token's document begins
    end: torch.Tensor  # [N] where it ends
    usable: torch.Tensor  # [N] whether a block may follow the token: the next one was generated and is not the last
    means: torch.Tensor  # [N, targets * D] bf16
    normed: torch.Tensor  # [N, D] bf16: what the head maps to logits


@torch.no_grad()
def collect(model: Model, documents: list[tuple[int, list[int]]]) -> Features:
    """documents: the number of tokens that are prompt, and all tokens."""
    documents = sorted(documents, key=lambda d: len(d[1]))
    config, tokens = model.config, torch.tensor([t for _, ids in documents for t in ids])
    means = torch.empty(len(tokens), len(config.dspark_target_layer_ids) * config.hidden_size, dtype=torch.bfloat16)
    normed = torch.empty(len(tokens), config.hidden_size, dtype=torch.bfloat16)
    start, end, usable = (torch.empty(len(tokens), dtype=torch.long) for _ in range(3))
    at, first, began = 0, 0, time.monotonic()
    while first < len(documents):
        last = first + 1
        while last < len(documents) and (last + 1 - first) * len(documents[last][1]) <= TOKENS_A_PASS:
            last += 1
        part = documents[first:last]
        padded = torch.zeros(len(part), len(part[-1][1]), dtype=torch.long)
        for row, (_, ids) in zip(padded, part):
            row[: len(ids)] = torch.tensor(ids)
        kept: list[torch.Tensor] = []
        with torch.autocast("cpu", torch.bfloat16):
            h = model.streams(padded, kept)
            of_layers, of_head = model.mtp.target_means(kept), model.norm(model.hc_head(h))
        for i, (known, ids) in enumerate(part):
            to = at + len(ids)
            means[at:to], normed[at:to] = of_layers[i, : len(ids)], of_head[i, : len(ids)]
            start[at:to], end[at:to] = at, to
            usable[at:to] = 0
            usable[at + known - 1 : to - 2] = 1
            at = to
        if first * 20 // len(documents) != last * 20 // len(documents):
            print(f"features of {at:,} of {len(tokens):,} tokens, {time.monotonic() - began:.0f} s", flush=True)
        first = last
    return Features(tokens, start, end, usable.bool(), means, normed)


@dataclass
class Batch:
    means: torch.Tensor  # [B,T,targets*D]
    anchors: torch.Tensor  # [B,A] positions f in the sequence
    first: torch.Tensor  # [B,A] first position a block may see
    present: torch.Tensor  # [B,A] whether there is such an anchor
    at: torch.Tensor  # [B,A] f in the features


def take(features: Features, generator: torch.Generator, window: int) -> Batch:
    """Sequences from anywhere, with anchors at random among the positions whose whole window is in the sequence."""
    offset = torch.randint(len(features.tokens) - LENGTH, (SEQUENCES, 1), generator=generator)
    at = offset + torch.arange(LENGTH)
    start = features.start[at]
    fits = (start >= offset) | (torch.arange(LENGTH) >= window - 1)
    score = torch.rand(at.shape, generator=generator) + (features.usable[at] & fits)
    chosen = score.topk(ANCHORS, -1)
    first = (start - offset).clamp(min=0).gather(1, chosen.indices)
    return Batch(features.means[at], chosen.indices, first, chosen.values >= 1, at.gather(1, chosen.indices))


def row_losses(model: Model, features: Features, batch: Batch) -> tuple[torch.Tensor, ...]:
    """Cross entropy, L1 distance and confidence loss of every row [B,A,rows], and whether it exists."""
    mtp, rows = model.mtp, model.config.dspark_block_size
    last = len(features.tokens) - 1
    at = batch.at[..., None] + 1 + torch.arange(rows)
    exists = batch.present[..., None] & (at + 1 < features.end[batch.at][..., None])
    at = at.clamp(max=last - 1)
    before, labels = features.tokens[at], features.tokens[at + 1]
    with torch.no_grad():
        p = torch.softmax(model.head(features.normed[at]).float(), -1)
    tokens = mtp.block_tokens(before[..., 0], rows)
    h = mtp.streams(model.embed(tokens), tokens, mtp.context(batch.means), batch.anchors, batch.first)
    y = mtp.hidden(h)
    z = mtp.base_logits(y, model.head).unflatten(1, before.shape[1:]) + mtp.bias(before)
    log_q = torch.log_softmax(z.float(), -1)
    ce = -log_q.gather(-1, labels[..., None])[..., 0]
    l1 = (log_q.exp() - p).abs().sum(-1)
    s = mtp.confidence(y.unflatten(1, before.shape[1:]), before).float()
    confidence = F.binary_cross_entropy_with_logits(s, 1 - l1.detach().clamp(max=2) / 2, reduction="none")
    return ce, l1, confidence, exists


def weighted(values: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
    rows = values.shape[-1]
    weight = exists * torch.exp(-torch.arange(rows) / rows)
    return (values * weight).sum() / weight.sum()


@torch.no_grad()
def overlap(model: Model, features: Features) -> list[float]:
    """For each row, 1 - L1 / 2 given the true tokens before it, on held-out chapters."""
    model.mtp.eval()
    generator, total, count = torch.Generator().manual_seed(1), 0, 0
    for _ in range(6):
        batch = take(features, generator, model.config.sliding_window)
        with torch.autocast("cpu", torch.bfloat16):
            _, l1, _, exists = row_losses(model, features, batch)
        total, count = total + ((1 - l1 / 2) * exists).sum((0, 1)), count + exists.sum((0, 1))
    model.mtp.train()
    return (total / count).tolist()


def held_out_documents() -> list[tuple[int, list[int]]]:
    encode = tokenizer().encode_batch
    texts = [document(c, False) for c in chapters() if c.held_out]
    return [(32, e.ids[:1024]) for e in encode(texts, add_special_tokens=False)]


def cached_features(path: Path, model: Model, samples: Path) -> tuple[Features, Features]:
    """Of the samples, and of the held-out chapters."""
    if not path.exists():
        generated = [(known, ids.tolist()) for known, ids in torch.load(samples)]
        found = [collect(model, documents).__dict__ for documents in (generated, held_out_documents())]
        torch.save(found, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)
    return tuple(Features(**f) for f in torch.load(path, mmap=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help="what sample.py wrote (.pt)")
    parser.add_argument("--features", type=Path, required=True, help="file of features (.pt); computed if missing")
    parser.add_argument("--output", type=Path, required=True, help="checkpoint file (.pt); resumed if it exists")
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--markov-rank", type=int, default=64)
    parser.add_argument("--from-mtp", action="store_true", help="start from copies of the MTP block's layer")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--evaluate-every", type=int, default=200)
    args = parser.parse_args()

    run = {"stages": args.stages, "rank": args.markov_rank, "steps": args.steps, "seed": args.seed}
    run["from_mtp"] = args.from_mtp
    torch.manual_seed(args.seed)
    model = make_model(dspark_config(args.stages, args.markov_rank), args.seed, args.from_mtp)
    features, held_out = cached_features(args.features, model, args.samples)
    mtp, first = model.mtp.train(), 0
    optimizers = make_optimizers(mtp)
    if args.output.exists():
        state = torch.load(args.output)
        if state["run"] != run:
            parser.error(f"{args.output} is of a run with {state['run']}")
        mtp.load_state_dict(state["mtp"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        first = state["step"]
    count = sum(p.numel() for p in mtp.parameters())
    print(f"{count / 1e6:.2f} M parameters, {len(features.tokens):,} tokens", flush=True)

    def save(step: int) -> None:
        state = {"run": run, "step": step, "mtp": mtp.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
        torch.save(state, args.output.with_suffix(".tmp"))
        os.replace(args.output.with_suffix(".tmp"), args.output)

    started = time.monotonic()
    for step in range(first, args.steps):
        if step >= args.steps * QUANTIZED_FROM:
            for module in mtp.modules():
                if hasattr(module, "quantize"):
                    module.quantize = straight_through
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        batch = take(features, generator, model.config.sliding_window)
        with torch.autocast("cpu", torch.bfloat16):
            ce, l1, confidence, exists = row_losses(model, features, batch)
        ce, l1, confidence = (weighted(v, exists) for v in (ce, l1, confidence))
        (CE_WEIGHT * ce + L1_WEIGHT * l1 + CONFIDENCE_WEIGHT * confidence).backward()
        torch.nn.utils.clip_grad_norm_(mtp.parameters(), 1.0)
        step_all(optimizers, rate_factor(step, args.steps))
        mtp.zero_grad(set_to_none=True)
        balance(mtp)

        done = step + 1
        if done % 10 == 0 or done == args.steps:
            seconds = (time.monotonic() - started) / (done - first)
            print(
                f"step {done}/{args.steps} ce {ce.item():.3f} l1 {l1.item():.3f} confidence {confidence.item():.3f} "
                f"{seconds:.2f} s/step, {seconds * (args.steps - done) / 60:.0f} min left",
                flush=True,
            )
        if done % args.evaluate_every == 0 or done == args.steps:
            shares = overlap(model, held_out)
            length = 1 + sum(math.prod(shares[: j + 1]) for j in range(len(shares)))
            shown = " ".join(f"{share:.3f}" for share in shares)
            print(f"step {done}: held-out overlap {shown}, length {length:.3f}", flush=True)
        if done % args.save_every == 0 or done == args.steps:
            save(done)


if __name__ == "__main__":
    main()
