#!/usr/bin/env python3
"""Generates the golden data of DSpark in dspark/: the results of V4-Flash-0731's model.py; see README.md.

exact     the whole model in float32 without rounding: a prompt of N - 1 tokens in one call, one token more, one draft
official  with the CPU kernels of training/oracle, on models stored as the release is: main_proj, the keys of the
          context, each stage and the head alone on given streams, with sums in float32 and in float64

model.py is not part of this repository; --official-model names it. Runs in the environment of training/README.md.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from make_golden import ROOT, Golden, bundled_tokens, random_tokens, ties_to_the_first  # noqa: E402

from deepseek_v4 import checkpoint, stored  # noqa: E402
from deepseek_v4.config import Config  # noqa: E402
from deepseek_v4.model import Model  # noqa: E402
from oracle import dspark_models  # noqa: E402
from oracle.dspark import OfficialDSpark  # noqa: E402
from oracle.given_streams import (  # noqa: E402
    ANCHORS_GIVEN,
    DRAWS,
    GIVEN,
    ROW_SAMPLE,
    given_context,
    given_means,
    given_rows,
    sample,
)

BUNDLED = ROOT / "models" / "deepseek-v4-kjv-dspark"
LENGTHS = [1, 2, 5, 127, 128, 129, 300, 1100]
LOGITS_AT = {5, 300}  # of the bundled model; of random ones at all lengths
STREAMS_AT, KEYS_AT = {129}, {5, 129, 300}
TOKEN_BY_TOKEN = 140


def sampled_keys(rings: torch.Tensor, n: int) -> torch.Tensor:
    """Rings [stages, W, head_dim] after n positions -> [stages, min(n, W), 4], in order of positions."""
    window = rings.shape[1]
    positions = torch.arange(max(0, n - window), n)
    keys = torch.zeros(len(rings), n, 1, rings.shape[2])
    keys[:, positions, 0] = rings[:, positions % window].float()
    return torch.stack([sample(k)[positions] for k in keys])


def ours_of_one_token(directory: Path, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """model.py does not draft after a single token, though nothing in the arithmetic forbids it."""
    model, kept = Model(Config.load(directory)).eval(), []
    checkpoint.load(model, stored.widened(stored.read_tensors(directory)))
    mtp, f = model.mtp, torch.zeros(1, 1, dtype=torch.long)
    model.streams(tokens[None, :1], kept)
    inputs = mtp.block_tokens(tokens[None, 1:2])
    context = mtp.context(mtp.target_means(kept))
    y = mtp.hidden(mtp.streams(model.embed(inputs), inputs, context, f))
    drafts, logits, confidences = mtp.draft(mtp.base_logits(y, model.head), y, tokens[1:2])
    return {"drafts": drafts[0], "logits": logits[0], "confidences": confidences[0], "context": context[0, 0]}


@torch.no_grad()
def exact(golden: Golden, directory: Path, model_py: Path, lengths: list[int], logits_at: set[int]) -> None:
    tokens = golden.tokens
    official = OfficialDSpark(model_py, directory, len(tokens) + 16, exact=True)
    after_token_by_token = None
    for position in range(TOKEN_BY_TOKEN):
        means = official.consume(tokens[position : position + 1], position)
        if position == 0:
            official.fill(means)
        else:
            after_token_by_token = official.draft(int(tokens[position + 1]), means, position)
    for n in lengths:
        key = f"exact.{n}"
        if n == 1:
            results = ours_of_one_token(directory, tokens)
        else:
            official.fill(official.consume(tokens[: n - 1], 0))
            draft = official.draft(int(tokens[n]), official.consume(tokens[n - 1 : n], n - 1), n - 1)
            results = {k: getattr(draft, k) for k in ("drafts", "logits", "confidences", "context")}
            if n in STREAMS_AT:
                results["streams"] = draft.streams
            if n in KEYS_AT:
                results["keys"] = sampled_keys(draft.rings, n)
        drafts = results.pop("drafts")
        golden.tensors[f"{key}.drafts"] = drafts.to(torch.int32)
        golden.tensors[f"{key}.draft_logits"] = results["logits"].gather(1, drafts[:, None])[:, 0].contiguous()
        if n not in logits_at:
            del results["logits"]
        golden.tensors |= {f"{key}.{name}": value.float().contiguous() for name, value in results.items()}
    official.fill(official.consume(tokens[: TOKEN_BY_TOKEN - 1], 0))
    last = TOKEN_BY_TOKEN - 1
    whole = official.draft(int(tokens[last + 1]), official.consume(tokens[last : last + 1], last), last)
    golden.say(f"exact, {TOKEN_BY_TOKEN}: token by token - whole", after_token_by_token.logits, whole.logits)


@torch.no_grad()
def official(golden: Golden, directory: Path, model_py: Path) -> None:
    tokens = golden.tokens[:GIVEN]
    oracles = [OfficialDSpark(model_py, directory, GIVEN + 16, float64_sums=sums) for sums in (False, True)]
    config = Config.load(directory)
    embedding, layers, rows = oracles[0].model.embed.weight, config.num_hidden_layers, config.dspark_block_size
    for draw in range(DRAWS):
        means = given_means(embedding, tokens, len(config.dspark_target_layer_ids), layers, draw)
        golden.put_both(f"official.context.{draw}", [sample(o.context(means)[:, None]) for o in oracles])
        for stage in range(config.dspark_stages):
            block = layers + stage
            context = given_context(embedding, tokens, block, draw)
            keys = [o.context_keys(stage, context)[:, None] for o in oracles]
            golden.put_both(f"official.keys.{stage}.{draw}", [sample(k) for k in keys])
            for f in ANCHORS_GIVEN:
                h = given_rows(embedding, tokens, config.hc_mult, block, draw, f, rows)
                out = [sample(o.stage(stage, h, context[: f + 1]), ROW_SAMPLE) for o in oracles]
                golden.put_both(f"official.stage.{stage}.{f}.{draw}", out)
    f = ANCHORS_GIVEN[0]
    h = given_rows(embedding, tokens, config.hc_mult, layers + config.dspark_stages, 0, f, rows)
    drafts, logits, confidences = zip(*(o.dspark_head(h, int(tokens[f + 1])) for o in oracles))
    golden.put_both("official.head.drafts", [d.to(torch.int32) for d in drafts])
    golden.put_both("official.head.logits", list(logits))
    golden.put_both("official.head.confidences", list(confidences))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official-model", type=Path, required=True, help="V4-Flash-0731's inference/model.py")
    parser.add_argument("names", nargs="*", help="deepseek-v4-kjv-dspark, random-dspark-SHAPE; default: all")
    args = parser.parse_args()
    (HERE / "dspark").mkdir(exist_ok=True)
    for name in args.names or [BUNDLED.name, *(f"random-dspark-{shape}" for shape in dspark_models.SHAPES)]:
        with tempfile.TemporaryDirectory() as directory, ties_to_the_first():
            as_released, float32, lengths, logits_at = BUNDLED, BUNDLED, LENGTHS, LOGITS_AT
            if name != BUNDLED.name:
                shape = name.removeprefix("random-dspark-")
                as_released, float32 = Path(directory, "released"), Path(directory, "float32")
                dspark_models.write(shape, False, as_released)
                dspark_models.write(shape, True, float32)
                lengths, logits_at = LENGTHS[:-1], set(LENGTHS)
            vocabulary = Config.load(as_released).vocab_size
            golden = Golden(name, bundled_tokens() if name == BUNDLED.name else random_tokens(name, vocabulary))
            exact(golden, float32, args.official_model, lengths, logits_at)
            official(golden, as_released, args.official_model)
        save_file(golden.tensors, HERE / "dspark" / f"{name}.safetensors", metadata={"torch": torch.__version__})


if __name__ == "__main__":
    main()
