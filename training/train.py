"""Trains the bundled model and its MTP head together; see README.md beside this file.

Loss: cross entropy of the next token + 0.3 x cross entropy of the MTP head (DeepSeek-V3 report, section 2.2) + the
indexer's own loss. Experts are balanced by the router's bias alone (section 2.1.2 there). In the last part of the
training the weights are seen as they will be stored (FP4, FP8).
"""

import argparse
import math
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from corpus import chapters
from deepseek_v4.config import Config
from deepseek_v4.layers import Attention, MoE
from deepseek_v4.model import Model
from deepseek_v4.quantize import straight_through
from documents import TokenStream, document, tokenizer
from optimizer import make_optimizers, step_all

MTP_WEIGHT = 0.3
INDEX_WEIGHT = 0.1
BIAS_STEP = 0.001
WARM_UP = 40
DECAY_FROM = 0.55
LONG_FROM = 0.5
QUANTIZED_FROM = 0.8
TOKENS_A_STEP = 4096


def rate_factor(step: int, steps: int) -> float:
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return min(1.0, (steps - step) / (steps * (1 - DECAY_FROM)))


def losses(model: Model, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """tokens [B,T] -> mean cross entropy of the model and of its MTP head, in nats."""
    h = model.streams(tokens[:, :-2])
    logits = model.logits(h).float()
    drafts = model.mtp_logits(model.mtp_streams(h, tokens[:, 1:-1])).float()
    return (
        F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:-1].flatten()),
        F.cross_entropy(drafts.flatten(0, 1), tokens[:, 2:].flatten()),
    )


def balance(model: Model) -> None:
    for module in model.modules():
        if isinstance(module, MoE) and module.gate.bias is not None:
            load = module.load.float()
            module.gate.bias += BIAS_STEP * torch.sign(load.mean() - load)


@torch.no_grad()
def held_out_perplexity(model: Model, device, autocast) -> tuple[float, float]:
    """Of the first 512 tokens of every fourth held-out chapter: the model's and its MTP head's."""
    model.eval()
    encode = tokenizer().encode
    total, drafted, count = 0.0, 0.0, 0
    for chapter in [c for c in chapters() if c.held_out][::4]:
        ids = torch.tensor(encode(document(chapter, False), add_special_tokens=False).ids[:514], device=device)[None]
        with autocast():
            loss, mtp = losses(model, ids)
        n = ids.shape[1] - 2
        total, drafted, count = total + loss.item() * n, drafted + mtp.item() * n, count + n
    model.train()
    return math.exp(total / count), math.exp(drafted / count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="checkpoint file (.pt); resumed if it exists")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--seed", type=int, default=43456)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--evaluate-every", type=int, default=200)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    def autocast():
        return torch.autocast(torch.device(args.device).type, torch.bfloat16)

    torch.manual_seed(args.seed)
    model = Model(Config())
    model.initialize(torch.Generator().manual_seed(args.seed))
    model.to(args.device).train()
    optimizers = make_optimizers(model)
    stream, first = TokenStream(args.seed), 0
    if args.output.exists():
        state = torch.load(args.output, map_location=args.device)
        if (state["steps"], state["seed"]) != (args.steps, args.seed):
            parser.error(f"{args.output} is of a run with --steps {state['steps']} --seed {state['seed']}")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        stream = TokenStream(args.seed, *state["stream"])
        first = state["step"]
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters on {args.device}", flush=True)

    def save(step: int) -> None:
        temporary = args.output.with_suffix(".tmp")
        torch.save(
            {
                "step": step,
                "steps": args.steps,
                "seed": args.seed,
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "stream": (stream.epoch, stream.offset),
            },
            temporary,
        )
        os.replace(temporary, args.output)

    started = time.monotonic()
    for step in range(first, args.steps):
        length = 1024 if step >= args.steps * LONG_FROM else 512
        if step >= args.steps * QUANTIZED_FROM:
            model.set_quantizer(straight_through)
        rows = [stream.take(length + 2, 2) for _ in range(TOKENS_A_STEP // length)]
        tokens = torch.tensor(rows, device=args.device)
        with autocast():
            loss, mtp_loss = losses(model, tokens)
        index_losses = [m.index_loss for m in model.modules() if isinstance(m, Attention) and m.index_loss is not None]
        index_loss = torch.stack(index_losses).sum()
        (loss + MTP_WEIGHT * mtp_loss + INDEX_WEIGHT * index_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        step_all(optimizers, rate_factor(step, args.steps))
        model.zero_grad(set_to_none=True)
        balance(model)

        done = step + 1
        if done % 10 == 0 or done == args.steps:
            seconds = (time.monotonic() - started) / (done - first)
            print(
                f"step {done}/{args.steps} epoch {stream.epoch} loss {loss.item():.3f} mtp {mtp_loss.item():.3f} "
                f"index {index_loss.item():.3f} {seconds:.2f} s/step, {seconds * (args.steps - done) / 60:.0f} min left",
                flush=True,
            )
        if done % args.evaluate_every == 0 or done == args.steps:
            ppl, mtp_ppl = held_out_perplexity(model, args.device, autocast)
            print(f"step {done}: held-out perplexity {ppl:.2f}, of the MTP head {mtp_ppl:.2f}", flush=True)
        if done % args.save_every == 0 or done == args.steps:
            save(done)


if __name__ == "__main__":
    main()
