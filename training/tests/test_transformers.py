"""Our implementation in exact arithmetic against transformers' DeepseekV4ForCausalLM on the same weights."""

import dataclasses
import json

import pytest
import torch
from transformers import DeepseekV4ForCausalLM

from deepseek_v4 import checkpoint
from deepseek_v4.config import Config
from deepseek_v4.model import Model

SMALL = dict(
    vocab_size=97,
    hidden_size=64,
    num_attention_heads=4,
    head_dim=32,
    qk_rope_head_dim=16,
    q_lora_rank=48,
    o_lora_rank=24,
    index_n_heads=4,
    index_head_dim=16,
    index_topk=5,
    moe_intermediate_size=32,
)
CONFIGS = {
    "window": dict(num_hidden_layers=1, compress_ratios=[0, 0], num_hash_layers=0),
    "csa": dict(num_hidden_layers=1, compress_ratios=[4, 0], num_hash_layers=0),
    "hca": dict(num_hidden_layers=1, compress_ratios=[128, 0], num_hash_layers=1),
    "all": dict(num_hidden_layers=6, compress_ratios=[0, 0, 4, 128, 4, 128, 0], num_hash_layers=2),
    "pro-like": dict(
        num_hidden_layers=4,
        compress_ratios=[128, 128, 4, 128, 0],
        num_hash_layers=1,
        num_attention_heads=8,
        o_groups=4,
        n_routed_experts=12,
        num_experts_per_tok=3,
        routed_scaling_factor=2.5,
    ),
    "sigmoid": dict(num_hidden_layers=2, compress_ratios=[4, 128, 0], num_hash_layers=0, scoring_func="sigmoid"),
    "yarn": dict(
        num_hidden_layers=2, compress_ratios=[4, 128, 0], num_hash_layers=0, rope_original_max_position_embeddings=64
    ),
    "tight clamp": dict(num_hidden_layers=1, compress_ratios=[0, 0], num_hash_layers=0, swiglu_limit=0.5),
}


def random_model(config: Config, seed: int = 7) -> Model:
    """Every parameter random, so that none is at a value that hides its part in the result."""
    generator = torch.Generator().manual_seed(seed)
    model = Model(config)
    model.initialize(generator)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.dtype.is_floating_point and "inverse" not in name and value.dim() == 1:
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
            if name.endswith((".ape", ".fn")):
                value.add_(0.2 * torch.randn(value.shape, generator=generator))
        model.embed.weight.normal_(0, 1, generator=generator)
        model.head.weight.normal_(0, 0.3, generator=generator)
    return model.eval()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [1, 5, 127, 128, 129, 300])
@torch.no_grad()
def test_logits_and_streams_agree(name, length, tmp_path):
    config = Config(**{**SMALL, **CONFIGS[name]})
    model = random_model(config)
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    checkpoint.save_float32(model, tmp_path)
    theirs, loading = DeepseekV4ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["mismatched_keys"]
    theirs.eval()

    tokens = torch.randint(0, config.vocab_size, (2, length), generator=torch.Generator().manual_seed(1))
    streams = []
    logits = model.logits(model.streams(tokens, streams))
    expected = theirs(tokens, use_cache=False, output_hidden_states=True)
    for layer, ours in enumerate(streams[:-1]):
        torch.testing.assert_close(ours, expected.hidden_states[layer + 1], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(logits, expected.logits, atol=5e-4, rtol=1e-4)


def test_config_survives_json():
    config = Config(**{**SMALL, **CONFIGS["pro-like"]})
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert dataclasses.asdict(config) == dataclasses.asdict(Config.from_json(config.to_json()))
