"""Our implementation in official mode against the release's own model.py, which is not part of this repository:
OUTRIDER_OFFICIAL_MODEL names it. Without it, or with one that has DSpark in place of MTP, these tests are skipped."""

import os
from pathlib import Path

import pytest
import torch

from deepseek_v4 import checkpoint, stored
from deepseek_v4.config import Config
from deepseek_v4.model import Model
from make_variants import Maker

MODEL_PY = os.environ.get("OUTRIDER_OFFICIAL_MODEL", "")
HAS_MTP = bool(MODEL_PY) and "MTPBlock" in Path(MODEL_PY).read_text()
pytestmark = pytest.mark.skipif(not HAS_MTP, reason="OUTRIDER_OFFICIAL_MODEL does not name a model.py with MTP")

# (variant, exact). On random weights rounding decides which experts are chosen, and model.py differs from itself, whole
# or token by token, by up to a quarter; so official arithmetic is compared on the trained model.
CASES = [("official", False), ("official", True), ("random-every-layer-type", True), ("random-pro-like", True)]


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request, tmp_path_factory):
    from oracle.official import OfficialModel

    name, exact = request.param
    directory = tmp_path_factory.mktemp(name)
    Maker().make(name).write(directory)
    config = Config.load(directory)
    ours = Model(config).eval()
    checkpoint.load(ours, stored.widened(stored.read_tensors(directory)))
    ours.set_official(not exact)
    return config, ours, OfficialModel(Path(MODEL_PY), directory, 512, exact), 1e-4 if exact else 0.15


def distance(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("length", [1, 5, 127, 128, 129, 300])
@torch.no_grad()
def test_whole_prompts_agree(case, length):
    config, ours, official, tolerance = case
    tokens = torch.randint(0, config.vocab_size, (length + 1,), generator=torch.Generator().manual_seed(length))
    logits, streams, drafts = official.step(tokens[:-1], tokens[1:], 0)
    kept = []
    h = ours.streams(tokens[None, :-1], kept)
    mine = ours.logits(h)[0, -1], ours.mtp_logits(ours.mtp_streams(h, tokens[None, 1:]))[0, -1]
    assert distance(mine[0], logits) < tolerance
    assert distance(mine[1], drafts) < tolerance
    for layer, mine in enumerate(kept):
        assert distance(mine[0, -1], streams[layer]) < 2 * tolerance, layer


@torch.no_grad()
def test_token_by_token_agrees_with_the_whole_prompt(case):
    config, _, official, tolerance = case
    tokens = torch.randint(0, config.vocab_size, (141,), generator=torch.Generator().manual_seed(3))
    for position in range(140):
        logits, streams, drafts = official.step(
            tokens[position : position + 1], tokens[position + 1 : position + 2], position
        )
    whole = official.step(tokens[:-1], tokens[1:], 0)
    assert distance(logits, whole[0]) < tolerance
    assert distance(streams, whole[1]) < tolerance
    assert distance(drafts, whole[2]) < tolerance
