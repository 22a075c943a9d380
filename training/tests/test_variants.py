"""transformers loads the variants that it can read completely, and computes the same from each spelling."""

import pytest
import torch
from transformers import DeepseekV4ForCausalLM

from make_variants import Maker

TOKENS = torch.arange(3, 300)[None]


@torch.no_grad()
def logits(name, directory):
    Maker().make(name).write(directory / name)
    model, info = DeepseekV4ForCausalLM.from_pretrained(
        directory / name, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"]
    assert all(key.split(".")[0] == "mtp" or ".mtp." in key for key in info["unexpected_keys"])
    return model.eval()(TOKENS, use_cache=False).logits


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return logits("float32", tmp_path_factory.mktemp("float32"))


@pytest.mark.parametrize("name", ["bf16", "huggingface-saved"])
def test_same_logits_from_every_spelling(name, expected, tmp_path):
    # BF16 rounds what the release stores as FP8 or FP4, which it holds exactly; so nothing may differ.
    torch.testing.assert_close(logits(name, tmp_path), expected, atol=2e-4, rtol=1e-4)
