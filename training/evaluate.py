"""What the model card says: held-out perplexity before and after quantisation, MTP acceptance, greedy text.

Acceptance is that of greedy speculation with one drafted token: prompts are the first tokens of held-out chapters; the
model continues them greedily, and a draft is accepted if it is the token that the model itself chooses next.
"""

import argparse
import math
from collections import Counter
from pathlib import Path

import torch

from corpus import chapters
from deepseek_v4 import checkpoint, stored
from deepseek_v4.config import Config
from deepseek_v4.model import Model
from documents import document, tokenizer
from train import losses

CONTEXT = 512


def held_out(tokens: int) -> list[list[int]]:
    """The first `tokens` ids of every held-out chapter, as a document."""
    encode = tokenizer().encode_batch
    texts = [document(c, False) for c in chapters() if c.held_out]
    return [e.ids[:tokens] for e in encode(texts, add_special_tokens=False)]


@torch.no_grad()
def perplexity(model: Model) -> tuple[float, float]:
    """Of the model and of its MTP head, over the first 512 tokens of every held-out chapter."""
    total, drafted, count = 0.0, 0.0, 0
    for ids in held_out(CONTEXT + 2):
        loss, mtp = losses(model, torch.tensor(ids)[None])
        n = len(ids) - 2
        total, drafted, count = total + loss.item() * n, drafted + mtp.item() * n, count + n
    return math.exp(total / count), math.exp(drafted / count)


def unigram_perplexity() -> float:
    """Of token frequencies in the training chapters (with one added to each count), on the same held-out tokens."""
    config = Config()
    encode = tokenizer().encode_batch
    trained = encode([document(c, False) for c in chapters() if not c.held_out], add_special_tokens=False)
    counts = Counter(t for e in trained for t in e.ids)
    total = sum(counts.values()) + config.vocab_size
    losses_ = [-math.log((counts[t] + 1) / total) for ids in held_out(CONTEXT + 2) for t in ids[1:-1]]
    return math.exp(sum(losses_) / len(losses_))


@torch.no_grad()
def greedy(model: Model, prompts: torch.Tensor, tokens: int) -> torch.Tensor:
    """prompts [B,P] -> [B,P+tokens]"""
    out = prompts
    for _ in range(tokens):
        h = model.streams(out)
        out = torch.cat((out, model.logits(h[:, -1:]).argmax(-1)), 1)
    return out


@torch.no_grad()
def acceptance(model: Model, text: torch.Tensor, prompt: int) -> tuple[int, int]:
    """Drafts accepted and drafts made while the greedy `text` [B,N] was written after its first `prompt` tokens."""
    h = model.streams(text)
    drafts = model.mtp_logits(model.mtp_streams(h[:, :-1], text[:, 1:])).argmax(-1)
    accepted, made = 0, 0
    for row, guesses in zip(text.tolist(), drafts.tolist()):
        # The token at p is known; the draft for p + 1 was made at p - 1. Accepted, it moves on by two, else by one.
        p = prompt
        while p + 1 < len(row):
            hit = guesses[p - 1] == row[p + 1]
            made, accepted = made + 1, accepted + hit
            p += 2 if hit else 1
    return accepted, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="what train.py wrote (.pt)")
    parser.add_argument("exported", type=Path, help="what export.py wrote")
    parser.add_argument("--prompts", type=int, default=59, help="held-out chapters to continue (at most all 59)")
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    args = parser.parse_args()

    trained, exported = Model(Config()).eval(), Model(Config()).eval()
    trained.load_state_dict(torch.load(args.trained, map_location="cpu")["model"])
    checkpoint.load(exported, stored.widened(stored.read_tensors(args.exported)))
    print(f"unigram model: perplexity {unigram_perplexity():.1f}")
    for name, model, official in (
        ("as trained, fp32", trained, False),
        ("as stored, exact", exported, False),
        ("as stored, official", exported, True),
    ):
        model.set_official(official)
        ppl, mtp = perplexity(model)
        print(f"{name}: perplexity {ppl:.3f}, of the MTP head {mtp:.3f}", flush=True)

    prompts = [ids[: args.prompt_tokens] for ids in held_out(args.prompt_tokens)][: args.prompts]
    text = greedy(exported, torch.tensor(prompts), args.tokens)
    accepted, made = acceptance(exported, text, args.prompt_tokens)
    print(f"MTP acceptance, greedy, one draft: {accepted}/{made} = {accepted / made:.1%}")
    for row in text[:4].tolist():
        print(f"---\n{tokenizer().decode(row, skip_special_tokens=False)}")


if __name__ == "__main__":
    main()
