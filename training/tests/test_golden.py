"""The committed golden data against our implementation: data and model belong together, and neither has changed alone."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deepseek_v4 import checkpoint, stored
from deepseek_v4.config import Config
from deepseek_v4.model import Model
from make_variants import Maker
from oracle.given_streams import GIVEN, given_streams, sample

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
FILES = sorted(GOLDEN.glob("*.safetensors"))


def model_of(variant, directory, official):
    Maker().make(variant).write(directory)
    model = Model(Config.load(directory)).eval()
    checkpoint.load(model, stored.widened(stored.read_tensors(directory)))
    model.set_official(official)
    return model


def variants(name):
    """The variants that exact and official golden data were computed on."""
    return ("float32", "official") if name == "deepseek-v4-kjv" else (f"{name}-float32", name)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
@torch.no_grad()
def test_exact(file, tmp_path):
    golden = load_file(file)
    model = model_of(variants(file.stem)[0], tmp_path, False)
    tokens = golden["tokens"].long()[None]
    streams = []
    h = model.streams(tokens[:, :-1], streams)
    logits = model.logits(h)[0]
    drafts = model.mtp_logits(model.mtp_streams(h, tokens[:, 1:]))[0] if len(model.mtp) else None
    compared = 0
    for key, expected in golden.items():
        if not key.startswith("exact."):
            continue
        _, _, length, kind = key.split(".")
        position = int(length) - 1
        if kind == "logits":
            ours = logits[position]
        elif kind == "mtp_logits":
            ours = drafts[position]
        else:
            ours = torch.stack([s[0, position] for s in streams])
        torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-4, msg=lambda m: f"{key}: {m}")
        compared += 1
    assert compared >= 13


@torch.no_grad()
def test_official_on_the_bundled_model(tmp_path):
    """Our implementation rounds activations, keys and values, but not every step to BF16 as the release does."""
    golden = load_file(GOLDEN / "deepseek-v4-kjv.safetensors")
    model = model_of("official", tmp_path, True)
    config = model.config
    tokens, next_tokens = golden["tokens"].long()[:GIVEN], golden["tokens"].long()[1 : GIVEN + 1]
    results = {}
    for block in range(config.num_hidden_layers + 1):
        h = given_streams(model.embed.weight, tokens, config.hc_mult, block, 0)[None]
        if block < config.num_hidden_layers:
            results[f"official.layer.{block}.0"] = model.layers[block](h, tokens[None])
        else:
            results["official.mtp.0"] = model.mtp_streams(h, next_tokens[None])
    for key, streams in results.items():
        expected = golden[key].float()
        distances = (sample(streams[0]) - expected).norm(dim=1) / expected.norm(dim=1)
        assert distances.median() < 0.1, f"{key}: {distances.median():.1%}"
