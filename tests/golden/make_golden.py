#!/usr/bin/env python3
"""Generates the golden data beside this file: the results of other implementations on the variants' models.

exact     transformers' DeepseekV4ForCausalLM in float32 on the float32 variant; MTP logits, which transformers does not
          have, from the release's model.py in float32 without rounding
official  the release's model.py with the CPU kernels of training/oracle, on the variant stored as the release is: each
          layer, the MTP block and the heads alone on given streams, with sums in float32 and in float64

The release's model.py is not part of this repository; --official-model names it. Runs in the environment of
training/README.md. Prints how far the oracles are from one another: what is more than rounding has to be explained before
the data are committed.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "training"), str(ROOT / "tests" / "variants")]

import corpus  # noqa: E402
import documents  # noqa: E402
import random_models  # noqa: E402
from deepseek_v4.config import Config  # noqa: E402
from make_variants import Maker  # noqa: E402
from oracle.given_streams import DRAWS, GIVEN, given_streams, sample  # noqa: E402
from oracle.official import OfficialModel  # noqa: E402

LENGTHS = [1, 5, 127, 128, 129, 300, 1100]
STREAMS_AT = {5, 129, 300}  # lengths whose streams are stored
SHORT_TOKEN_BY_TOKEN = 300  # of random models; the bundled one runs all lengths


def bundled_tokens() -> torch.Tensor:
    """The first held-out chapter that is long enough, encoded as in training."""
    encode = documents.tokenizer().encode
    for chapter in corpus.chapters():
        ids = encode(documents.document(chapter, False), add_special_tokens=False).ids
        if chapter.held_out and len(ids) > LENGTHS[-1]:
            return torch.tensor(ids[: LENGTHS[-1] + 1])
    raise ValueError("no held-out chapter is long enough")


def random_tokens(name: str, vocabulary: int) -> torch.Tensor:
    u = random_models.uniform(f"tokens of {name}", (LENGTHS[-1] + 1,))
    return torch.from_numpy(((u + 1) / 2 * vocabulary).astype(np.int64))


@contextlib.contextmanager
def ties_to_the_first():
    """Makes torch.topk choose the first of equal scores, which are common (ReLU gives exact zeros), instead of any."""

    def topk(scores, k, dim=-1, sorted=True):
        values, indices = scores.sort(dim=dim, descending=True, stable=True)
        return torch.return_types.topk((values.narrow(dim, 0, k), indices.narrow(dim, 0, k)))

    originals = torch.topk, torch.Tensor.topk
    torch.topk = torch.Tensor.topk = topk
    try:
        yield
    finally:
        torch.topk, torch.Tensor.topk = originals


class Transformers:
    """transformers' model: logits [V] and streams [layers, S, D] of the last token so far."""

    def __init__(self, directory: Path):
        loaded = transformers.DeepseekV4ForCausalLM.from_pretrained(
            directory, dtype=torch.float32, output_loading_info=True
        )
        self._model, info = loaded
        if info["missing_keys"] or info["mismatched_keys"]:
            raise ValueError(f"transformers did not load {directory} completely: {info}")
        self._model.eval()
        self._cache = None

    def begin(self) -> None:
        self._cache = transformers.DynamicCache(config=self._model.config)

    @torch.no_grad()
    def step(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        kept = []
        hooks = [m.register_forward_hook(lambda _m, _i, out: kept.append(out)) for m in self._model.model.layers]
        try:
            logits = self._model(tokens[None], cache=self._cache, use_cache=True).logits[0, -1]
        finally:
            for hook in hooks:
                hook.remove()
        return logits, torch.stack([h[0, -1] for h in kept])


class Golden:
    def __init__(self, name: str, tokens: torch.Tensor):
        self.name = name
        self.tokens = tokens
        self.tensors = {"tokens": tokens.to(torch.int32)}

    def put(self, key: str, logits, streams, drafts) -> None:
        self.tensors[f"{key}.logits"] = logits.float().contiguous()
        if streams is not None:
            self.tensors[f"{key}.streams"] = streams.float().contiguous()
        if drafts is not None:
            self.tensors[f"{key}.mtp_logits"] = drafts.float().contiguous()

    def put_both(self, key: str, results: list[torch.Tensor]) -> None:
        """What an oracle computes with sums in float32, and in float64."""
        self.tensors[key] = results[0].contiguous()
        self.tensors[f"{key}.float64_sums"] = results[1].contiguous()
        changed = (results[0] != results[1]).float().mean().item()
        print(f"{self.name:28}{key}: sums in float64 change {changed:.2%} of the values", flush=True)

    def say(self, what: str, a: torch.Tensor, b: torch.Tensor) -> None:
        relative = ((a - b).norm() / b.norm()).item()
        print(f"{self.name:28}{what:58}max {(a - b).abs().max().item():.1e}  relative {relative:.1e}", flush=True)


def exact(golden: Golden, float32: Path, model_py: Path, token_by_token: int) -> None:
    tokens = golden.tokens
    theirs, official = Transformers(float32), OfficialModel(model_py, float32, len(tokens), exact=True)
    for n in LENGTHS:
        theirs.begin()
        logits, streams = theirs.step(tokens[:n])
        official_logits, official_streams, drafts = official.step(tokens[:n], tokens[1 : n + 1], 0)
        golden.say(f"exact, {n}: logits, model.py - transformers", official_logits, logits)
        golden.say(f"exact, {n}: streams, model.py - transformers", official_streams, streams)
        golden.put(f"exact.whole.{n}", logits, streams if n in STREAMS_AT else None, drafts)
    theirs.begin()
    for position in range(token_by_token):
        logits, _ = theirs.step(tokens[position : position + 1])
        _, _, drafts = official.step(tokens[position : position + 1], tokens[position + 1 : position + 2], position)
        n = position + 1
        if n in LENGTHS:
            golden.put(f"exact.token.{n}", logits, None, drafts)
            golden.say(f"exact, {n}: token by token - whole", logits, golden.tensors[f"exact.whole.{n}.logits"])


def official(golden: Golden, directory: Path, model_py: Path) -> None:
    """Each block alone on given streams, so that a rounding that falls the other way changes nothing else."""
    tokens, next_tokens = golden.tokens[:GIVEN], golden.tokens[1 : GIVEN + 1]
    oracles = [OfficialModel(model_py, directory, GIVEN, float64_sums=sums) for sums in (False, True)]
    config = Config.load(directory)
    layers = config.num_hidden_layers

    def given(block: int, draw: int) -> torch.Tensor:
        return given_streams(oracles[0].model.embed.weight, tokens, config.hc_mult, block, draw)

    for draw in range(DRAWS):
        for i in range(layers):
            streams = [sample(o.layer(i, given(i, draw), tokens)) for o in oracles]
            golden.put_both(f"official.layer.{i}.{draw}", streams)
        if config.num_nextn_predict_layers:
            streams = [sample(o.mtp(given(layers, draw), next_tokens)) for o in oracles]
            golden.put_both(f"official.mtp.{draw}", streams)
    golden.put_both("official.head", [o.head(given(0, 0), False) for o in oracles])
    if config.num_nextn_predict_layers:
        golden.put_both("official.mtp_head", [o.head(given(0, 0), True) for o in oracles])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official-model", type=Path, required=True, help="the release's inference/model.py")
    parser.add_argument("--only", choices=["exact", "official"], help="leave the other's data as they are")
    parser.add_argument("names", nargs="*", help="deepseek-v4-kjv, random-SHAPE; default: all that model.py can be")
    args = parser.parse_args()
    shapes = [s for s in random_models.SHAPES if s != "hash-routed-last" and not s.startswith("dspark-")]
    names = args.names or ["deepseek-v4-kjv", *(f"random-{shape}" for shape in shapes)]
    maker = Maker(ROOT / "models" / "deepseek-v4-kjv")
    for name in names:
        bundled = name == "deepseek-v4-kjv"
        with tempfile.TemporaryDirectory() as directory:
            as_released, float32 = Path(directory, "released"), Path(directory, "float32")
            maker.make("official" if bundled else name).write(as_released)
            maker.make("float32" if bundled else f"{name}-float32").write(float32)
            vocabulary = Config.load(float32).vocab_size
            golden = Golden(name, bundled_tokens() if bundled else random_tokens(name, vocabulary))
            token_by_token = LENGTHS[-1] if bundled else SHORT_TOKEN_BY_TOKEN
            path = HERE / f"{name}.safetensors"
            if args.only:
                kept = {k: v for k, v in load_file(path).items() if not k.startswith(f"{args.only}.")}
                if not torch.equal(kept["tokens"], golden.tensors["tokens"]):
                    raise ValueError(f"{path} is of other tokens")
                golden.tensors = kept
            with ties_to_the_first():
                if args.only != "official":
                    exact(golden, float32, args.official_model, token_by_token)
                if args.only != "exact":
                    official(golden, as_released, args.official_model)
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        save_file(golden.tensors, path, metadata=versions)


if __name__ == "__main__":
    main()
