"""The model's hyperparameters, read from and written to a Hugging Face style config.json."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

WINDOW = 0
CSA = 4
HCA = 128


@dataclass
class Config:
    vocab_size: int = 2048
    hidden_size: int = 256
    num_hidden_layers: int = 6
    num_attention_heads: int = 4
    head_dim: int = 96
    qk_rope_head_dim: int = 32
    q_lora_rank: int = 128
    o_groups: int = 2
    o_lora_rank: int = 64
    sliding_window: int = 128
    # One entry a layer, then one for each MTP block or DSpark stage: 0 window, 4 CSA, 128 HCA.
    compress_ratios: list[int] = field(default_factory=lambda: [0, 0, 4, 128, 4, 128, 0])
    index_n_heads: int = 4
    index_head_dim: int = 64
    index_topk: int = 64
    moe_intermediate_size: int = 128
    n_routed_experts: int = 8
    n_shared_experts: int = 1
    num_experts_per_tok: int = 2
    num_hash_layers: int = 2
    scoring_func: str = "sqrtsoftplus"
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.5
    swiglu_limit: float = 10.0
    hc_mult: int = 4
    hc_sinkhorn_iters: int = 20
    hc_eps: float = 1e-6
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    compress_rope_theta: float = 160000.0
    rope_factor: float = 16.0
    rope_original_max_position_embeddings: int = 65536
    rope_beta_fast: float = 32.0
    rope_beta_slow: float = 1.0
    num_nextn_predict_layers: int = 1
    max_position_embeddings: int = 1048576
    bos_token_id: int = 0
    eos_token_id: int = 1
    # DSpark in place of MTP blocks where dspark_block_size is not 0; num_nextn_predict_layers is then without meaning.
    dspark_block_size: int = 0
    dspark_noise_token_id: int = 0
    dspark_target_layer_ids: list[int] = field(default_factory=list)
    dspark_markov_rank: int = 256

    @property
    def dspark_stages(self) -> int:
        return len(self.compress_ratios) - self.num_hidden_layers if self.dspark_block_size else 0

    def ratio(self, layer: int) -> int:
        """The compression ratio of a layer; MTP block i is layer num_hidden_layers + i."""
        return self.compress_ratios[layer]

    def to_json(self) -> dict:
        fields = {k: v for k, v in dataclasses.asdict(self).items() if not k.startswith("rope_") or k == "rope_theta"}
        if not self.dspark_block_size:
            fields = {k: v for k, v in fields.items() if not k.startswith("dspark_")}
        return {
            "architectures": ["DeepseekV4ForCausalLM"],
            "model_type": "deepseek_v4",
            **fields,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "num_key_value_heads": 1,
            "rope_scaling": {
                "beta_fast": self.rope_beta_fast,
                "beta_slow": self.rope_beta_slow,
                "factor": self.rope_factor,
                "original_max_position_embeddings": self.rope_original_max_position_embeddings,
                "type": "yarn",
            },
            "tie_word_embeddings": False,
            "topk_method": "noaux_tc",
            "torch_dtype": "bfloat16",
            "use_cache": True,
        }

    @staticmethod
    def from_json(document: dict) -> "Config":
        names = {f.name for f in dataclasses.fields(Config)}
        values = {k: v for k, v in document.items() if k in names}
        for key, value in document.get("rope_scaling", {}).items():
            if f"rope_{key}" in names:
                values[f"rope_{key}"] = value
        return Config(**values)

    @staticmethod
    def load(directory: str | Path) -> "Config":
        return Config.from_json(json.loads((Path(directory) / "config.json").read_text()))
