"""What `outrider` writes is opened by the safetensors package and by transformers, which compute what Outrider does."""

import json
import shutil

import pytest
import torch
from transformers import DeepseekV4ForCausalLM

from engine import TOKENS, logits_of, needs_outrider, outrider, tensors_of
from make_variants import Maker

pytestmark = needs_outrider


@pytest.fixture(scope="module")
def bf16(tmp_path_factory):
    directory = tmp_path_factory.mktemp("artifacts") / "bf16"
    Maker().make("bf16").write(directory)
    return directory


@torch.no_grad()
def test_transformers_computes_the_same_from_a_converted_checkpoint(bf16, tmp_path):
    outrider("convert", bf16, "--to", "huggingface", "--output", tmp_path / "hf", "--max-shard-size", "5MB")
    model, info = DeepseekV4ForCausalLM.from_pretrained(
        tmp_path / "hf", dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"] and not info["unexpected_keys"]
    theirs = model.eval()(torch.tensor([TOKENS]), use_cache=False).logits[0, -1]
    ours = logits_of(tmp_path / "hf")[0]
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)
    assert ours.argmax() == theirs.argmax()


def test_safetensors_opens_what_repair_writes(bf16, tmp_path):
    outrider("repair", bf16, "--output", tmp_path / "repaired")
    tensors = tensors_of(tmp_path / "repaired")
    assert torch.equal(tensors["mtp.0.head.weight"], tensors["head.weight"].float())
    assert torch.equal(tensors["mtp.0.emb.tok_emb.weight"], tensors["embed.weight"])
    index = json.loads((tmp_path / "repaired" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors.values())


def test_a_round_trip_is_byte_identical(bf16, tmp_path):
    outrider("convert", bf16, "--to", "huggingface", "--output", tmp_path / "there")
    outrider("convert", tmp_path / "there", "--to", "official", "--output", tmp_path / "back")
    before, after = tensors_of(bf16), tensors_of(tmp_path / "back")
    assert set(before) == set(after)
    assert all(torch.equal(before[n], after[n]) and before[n].dtype == after[n].dtype for n in before)
    shutil.rmtree(tmp_path / "there")


@pytest.mark.parametrize("recipe", ["w4a16-fp8", "nvfp4-fp8", "mxfp4-fp8", "fp8", "bf16"])
def test_safetensors_opens_what_quantize_writes(bf16, tmp_path, recipe):
    outrider("quantize", bf16, "--recipe", recipe, "--output", tmp_path / recipe, "--max-shard-size", "5MB")
    tensors = tensors_of(tmp_path / recipe)
    index = json.loads((tmp_path / recipe / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors)
    assert torch.equal(tensors["mtp.0.head.weight"], tensors["head.weight"].float())
    before = tensors_of(bf16)
    kept = [n for n in tensors if n in before and tensors[n].dtype == before[n].dtype]
    assert all(torch.equal(tensors[n], before[n]) for n in kept)
    assert sum(n.startswith("mtp.") for n in kept) == sum(n.startswith("mtp.") for n in before)
