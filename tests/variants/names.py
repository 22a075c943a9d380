"""Official parameter names -> save_pretrained's names."""

import re

LEAVES = [
    (r"^embed\.", "embed_tokens."),
    (r"^head\.", "lm_head."),
    (r"\bhc_head_(fn|base|scale)$", r"hc_head.hc_\1"),
    (r"\battn_norm\.", "input_layernorm."),
    (r"\bffn_norm\.", "post_attention_layernorm."),
    (r"\bhc_(attn|ffn)_(fn|base|scale)$", r"\1_hc.\2"),
    (r"\battn\.attn_sink$", "self_attn.sinks"),
    (r"\battn\.indexer\.compressor\.", "self_attn.compressor.indexer."),
    (r"\battn\.indexer\.weights_proj\.", "self_attn.compressor.indexer.scorer.weights_proj."),
    (r"\battn\.indexer\.wq_b\.", "self_attn.compressor.indexer.q_b_proj."),
    (r"\battn\.", "self_attn."),
    (r"(self_attn\.compressor\.(?:indexer\.)?)norm\.", r"\1kv_norm."),
    (r"(self_attn\.compressor\.(?:indexer\.)?)ape$", r"\1position_bias"),
    (r"(self_attn\.compressor\.(?:indexer\.)?)wkv\.", r"\1kv_proj."),
    (r"(self_attn\.compressor\.(?:indexer\.)?)wgate\.", r"\1gate_proj."),
    (r"self_attn\.wq_a\.", "self_attn.q_a_proj."),
    (r"self_attn\.q_norm\.", "self_attn.q_a_norm."),
    (r"self_attn\.wq_b\.", "self_attn.q_b_proj."),
    (r"self_attn\.wkv\.", "self_attn.kv_proj."),
    (r"self_attn\.wo_a\.", "self_attn.o_a_proj."),
    (r"self_attn\.wo_b\.", "self_attn.o_b_proj."),
    (r"\bffn\.gate\.bias$", "mlp.gate.e_score_correction_bias"),
    (r"\bffn\.", "mlp."),
    (r"(experts\.(?:\d+\.)?)w1\.", r"\1gate_proj."),
    (r"(experts\.(?:\d+\.)?)w2\.", r"\1down_proj."),
    (r"(experts\.(?:\d+\.)?)w3\.", r"\1up_proj."),
]


def hugging_face(name: str) -> str:
    for pattern, replacement in LEAVES:
        name = re.sub(pattern, replacement, name)
    return name if name.startswith("lm_head.") else f"model.{name}"
