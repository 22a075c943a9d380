"""DSpark: our implementation against the golden data, and against the model.py of V4-Flash-0731.

The latter is not part of this repository. OUTRIDER_OFFICIAL_MODEL names it; without it, or with the one of a release
without DSpark, the tests that need it are skipped.
"""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deepseek_v4 import checkpoint, stored
from deepseek_v4.config import Config
from deepseek_v4.model import Model
from oracle import dspark_models
from oracle.given_streams import sample

MODEL_PY = os.environ.get("OUTRIDER_OFFICIAL_MODEL", "")
HAS_DSPARK = bool(MODEL_PY) and "forward_spec" in Path(MODEL_PY).read_text()
BUNDLED = Path(__file__).resolve().parents[2] / "models" / "deepseek-v4-kjv-dspark"
GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden" / "dspark"
CASES = [("flash-like", True), ("pro-like", True), ("bundled", True), ("bundled", False)]


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request, tmp_path_factory):
    if not HAS_DSPARK:
        pytest.skip("OUTRIDER_OFFICIAL_MODEL does not name a model.py with DSpark")
    from oracle.dspark import OfficialDSpark

    name, exact = request.param
    directory = BUNDLED
    if name != "bundled":
        directory = tmp_path_factory.mktemp(name)
        dspark_models.write(name, exact, directory)
    ours = load(directory)
    ours.set_official(not exact)
    return ours, OfficialDSpark(Path(MODEL_PY), directory, 512, exact), exact


def load(directory: Path) -> Model:
    model = Model(Config.load(directory)).eval()
    checkpoint.load(model, stored.widened(stored.read_tensors(directory)))
    return model


def distance(a, b):
    return ((a - b).norm() / b.norm()).item()


def drafts_of(model: Model, tokens: torch.Tensor, anchors: list[int]):
    """tokens [n] -> of each anchor drafts, logits, confidences; streams [stages, anchors, rows, S, D]; context; keys."""
    mtp, kept, streams = model.mtp, [], []
    model.streams(tokens[None], kept)
    context = mtp.context(mtp.target_means(kept))
    f = torch.tensor([anchors])
    inputs = mtp.block_tokens(tokens[f + 1])
    h = mtp.streams(model.embed(inputs), inputs, context, f, None, streams)
    y = mtp.hidden(h)
    base = mtp.base_logits(y, model.head)[0].unflatten(0, (len(anchors), -1))
    drafted = mtp.draft(base, y[0].unflatten(0, (len(anchors), -1)), tokens[f[0] + 1])
    keys = torch.stack([stage.attn.context_keys(context)[0] for stage in mtp])
    return *drafted, torch.stack([s[0].unflatten(0, (len(anchors), -1)) for s in streams]), context[0], keys


def agrees(case, tokens, anchors):
    """The oracle reads the prompt before the first anchor at once, then token by token."""
    ours, official, exact = case
    tolerance = 1e-5 if exact else 0.2
    window = ours.config.sliding_window
    drafts, logits, confidences, streams, context, keys = drafts_of(ours, tokens, anchors)
    official.fill(official.consume(tokens[: anchors[0]], 0))
    for f in range(anchors[0], anchors[-1] + 1):
        draft = official.draft(int(tokens[f + 1]), official.consume(tokens[f : f + 1], f), f)
        if f not in anchors:
            continue
        i = anchors.index(f)
        positions = torch.arange(max(0, f - window + 1), f + 1)
        assert distance(context[f], draft.context.float()) < tolerance
        assert distance(keys[:, positions], draft.rings[:, positions % window].float()) < tolerance
        for stage in range(len(streams)):
            assert distance(streams[stage, i], draft.streams[stage].float()) < 2 * tolerance
        assert distance(logits[i], draft.logits) < 2 * tolerance
        if exact:
            assert drafts[i].tolist() == draft.drafts.tolist()
            torch.testing.assert_close(confidences[i], draft.confidences, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("start", [1, 5, 126, 127, 128, 129, 299])
@torch.no_grad()
def test_drafts_agree(case, start):
    vocabulary = case[0].config.vocab_size
    tokens = torch.randint(0, vocabulary, (start + 8,), generator=torch.Generator().manual_seed(start))
    agrees(case, tokens, [start, start + 3])


@torch.no_grad()
def test_anchors_of_one_sequence_do_not_see_one_another(tmp_path):
    dspark_models.write("flash-like", True, tmp_path)
    model = load(tmp_path)
    tokens = torch.randint(0, model.config.vocab_size, (300,), generator=torch.Generator().manual_seed(7))
    together = drafts_of(model, tokens, [0, 3, 130, 131, 298])
    for i, f in enumerate([0, 3, 130, 131, 298]):
        alone = drafts_of(model, tokens[: f + 2], [f])
        torch.testing.assert_close(together[1][i], alone[1][0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together[2][i], alone[2][0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.safetensors")), ids=lambda f: f.stem)
@torch.no_grad()
def test_exact_golden_data(file, tmp_path):
    """The committed data against our implementation: data and model belong together."""
    golden, directory = load_file(file), BUNDLED
    if file.stem != BUNDLED.name:
        directory = tmp_path
        dspark_models.write(file.stem.removeprefix("random-dspark-"), True, directory)
    model, tokens, compared = load(directory), golden["tokens"].long(), 0
    window = model.config.sliding_window
    for n in sorted({int(key.split(".")[1]) for key in golden if key.startswith("exact.")}):
        drafts, logits, confidences, streams, context, keys = drafts_of(model, tokens[: n + 1], [n - 1])
        ours = {
            "drafts": drafts[0].to(torch.int32),
            "draft_logits": logits[0].gather(1, drafts[0][:, None])[:, 0],
            "logits": logits[0],
            "confidences": confidences[0],
            "context": context[n - 1],
            "streams": streams[:, 0],
            "keys": torch.stack([sample(k[:n, None])[max(0, n - window) :] for k in keys]),
        }
        for kind, value in ours.items():
            key = f"exact.{n}.{kind}"
            if key in golden:
                torch.testing.assert_close(value, golden[key], atol=1e-3, rtol=1e-4, msg=lambda m: f"{key}: {m}")
                compared += 1
    assert compared >= 25
