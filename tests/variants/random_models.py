"""Models of many shapes with random parameters, identical on every machine and with every version of numpy."""

import zlib

import numpy as np

Parameters = dict[str, np.ndarray]

BASE = {
    "architectures": ["DeepseekV4ForCausalLM"],
    "model_type": "deepseek_v4",
    "vocab_size": 160,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 96,
    "qk_rope_head_dim": 32,
    "q_lora_rank": 128,
    "o_groups": 2,
    "o_lora_rank": 64,
    "sliding_window": 128,
    "compress_ratios": [0, 4, 128, 4, 0],
    "index_n_heads": 16,
    "index_head_dim": 32,
    "index_topk": 24,
    "moe_intermediate_size": 128,
    "n_routed_experts": 6,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "num_hash_layers": 1,
    "scoring_func": "sqrtsoftplus",
    "norm_topk_prob": True,
    "topk_method": "noaux_tc",
    "routed_scaling_factor": 1.5,
    "swiglu_limit": 10.0,
    "hc_mult": 4,
    "hc_sinkhorn_iters": 20,
    "hc_eps": 1e-6,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "rope_theta": 10000.0,
    "compress_rope_theta": 160000.0,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 16,
        "original_max_position_embeddings": 65536,
        "type": "yarn",
    },
    "num_nextn_predict_layers": 1,
    "max_position_embeddings": 8192,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "torch_dtype": "bfloat16",
}

PRO_LIKE = {
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "o_groups": 4,
    "o_lora_rank": 32,
    "q_lora_rank": 256,
    "n_routed_experts": 12,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": 2.5,
    "hidden_size": 256,
}

SHAPES: dict[str, dict] = {
    "every-layer-type": {},
    "window-only": {"compress_ratios": [0, 0, 0], "num_hidden_layers": 2, "num_hash_layers": 0},
    "pro-like": PRO_LIKE | {"compress_ratios": [128, 128, 4, 128, 4, 0]},
    "one-group-no-hash": {
        "o_groups": 1,
        "o_lora_rank": 128,
        "num_hash_layers": 0,
        "compress_ratios": [4, 128, 0],
        "num_hidden_layers": 2,
    },
    "short-yarn": {
        "rope_scaling": {**BASE["rope_scaling"], "factor": 4, "original_max_position_embeddings": 64},
        "compress_ratios": [4, 128, 0],
        "num_hidden_layers": 2,
    },
    "tight-clamp": {"swiglu_limit": 0.75, "compress_ratios": [0, 4, 0], "num_hidden_layers": 2},
    "sigmoid": {"scoring_func": "sigmoid", "compress_ratios": [0, 4, 0], "num_hidden_layers": 2},
    "hash-routed-last": {
        "mlp_layer_types": ["moe", "moe", "hash_moe"],
        "num_hash_layers": None,
        "compress_ratios": [0, 4, 128, 0],
        "num_hidden_layers": 3,
    },
    # Models with a DSpark drafter, like V4-Flash-0731's and V4-Pro-0813's.
    "dspark-flash-like": {
        "compress_ratios": [0, 4, 128, 4, 0, 0, 0],
        "dspark_block_size": 5,
        "dspark_markov_rank": 16,
        "dspark_noise_token_id": 157,
        "dspark_target_layer_ids": [1, 2, 3],
    },
    "dspark-pro-like": PRO_LIKE
    | {
        "compress_ratios": [128, 128, 4, 128, 4, 0, 0],
        "dspark_block_size": 4,
        "dspark_markov_rank": 32,
        "dspark_noise_token_id": 2,
        "dspark_target_layer_ids": [1, 4],
    },
    "no-mtp": {"num_nextn_predict_layers": 0, "compress_ratios": [0, 4, 128], "num_hidden_layers": 3},
}


def config_of(shape: str) -> dict:
    return {k: v for k, v in {**BASE, **SHAPES[shape]}.items() if v is not None}


def hashes(config: dict, layer: int) -> bool:
    """Whether the layer is hash-routed."""
    types = config.get("mlp_layer_types")
    return types[layer] == "hash_moe" if types else layer < config["num_hash_layers"]


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every parameter of the model under its official name."""
    d, v, s = config["hidden_size"], config["vocab_size"], config["hc_mult"]
    out = {"embed.weight": (v, d)}
    for i in range(config["num_hidden_layers"]):
        out |= {f"layers.{i}.{k}": n for k, n in _block(config, i, hashes(config, i)).items()}
    out |= {"norm.weight": (d,), "head.weight": (v, d)}
    head = {"hc_head_fn": (s, s * d), "hc_head_base": (s,), "hc_head_scale": (1,)}
    out |= head
    if "dspark_block_size" in config:
        return out | _dspark(config, head)
    for i in range(config["num_nextn_predict_layers"]):
        block = _block(config, config["num_hidden_layers"] + i, False) | head
        block |= {"e_proj.weight": (d, d), "h_proj.weight": (d, d)}
        block |= {f"{norm}.weight": (d,) for norm in ("enorm", "hnorm", "norm")}
        out |= {f"mtp.{i}.{k}": n for k, n in block.items()}
    return out


def _dspark(config: dict, head: dict) -> dict[str, tuple[int, ...]]:
    layers, d, v, rank = (config[k] for k in ("num_hidden_layers", "hidden_size", "vocab_size", "dspark_markov_rank"))
    stages = [_block(config, i, False) for i in range(layers, len(config["compress_ratios"]))]
    stages[0] |= {"main_proj.weight": (d, d * len(config["dspark_target_layer_ids"])), "main_norm.weight": (d,)}
    stages[-1] |= head | {"norm.weight": (d,), "confidence_head.proj.weight": (1, d + rank)}
    stages[-1] |= {f"markov_head.markov_{w}.weight": (v, rank) for w in ("w1", "w2")}
    return {f"mtp.{i}.{name}": shape for i, stage in enumerate(stages) for name, shape in stage.items()}


def _block(c: dict, layer: int, hashes: bool) -> dict[str, tuple[int, ...]]:
    d, heads, dim, s = c["hidden_size"], c["num_attention_heads"], c["head_dim"], c["hc_mult"]
    width, groups = c["moe_intermediate_size"], c["o_groups"]
    out = {"attn_norm.weight": (d,), "ffn_norm.weight": (d,)}
    for part in ("attn", "ffn"):
        mixes = (2 + s) * s
        out |= {f"hc_{part}_fn": (mixes, s * d), f"hc_{part}_base": (mixes,), f"hc_{part}_scale": (3,)}
    out |= {
        "attn.attn_sink": (heads,),
        "attn.wq_a.weight": (c["q_lora_rank"], d),
        "attn.q_norm.weight": (c["q_lora_rank"],),
        "attn.wq_b.weight": (heads * dim, c["q_lora_rank"]),
        "attn.wkv.weight": (dim, d),
        "attn.kv_norm.weight": (dim,),
        "attn.wo_a.weight": (groups * c["o_lora_rank"], heads * dim // groups),
        "attn.wo_b.weight": (d, groups * c["o_lora_rank"]),
    }
    ratio = c["compress_ratios"][layer]

    def compressor(prefix: str, size: int):
        wide = size * (2 if ratio == 4 else 1)
        return {
            f"{prefix}.ape": (ratio, wide),
            f"{prefix}.wkv.weight": (wide, d),
            f"{prefix}.wgate.weight": (wide, d),
            f"{prefix}.norm.weight": (size,),
        }

    if ratio:
        out |= compressor("attn.compressor", dim)
    if ratio == 4:
        out |= {
            "attn.indexer.wq_b.weight": (c["index_n_heads"] * c["index_head_dim"], c["q_lora_rank"]),
            "attn.indexer.weights_proj.weight": (c["index_n_heads"], d),
        }
        out |= compressor("attn.indexer.compressor", c["index_head_dim"])
    out["ffn.gate.weight"] = (c["n_routed_experts"], d)
    if hashes:
        out["ffn.gate.tid2eid"] = (c["vocab_size"], c["num_experts_per_tok"])
    else:
        out["ffn.gate.bias"] = (c["n_routed_experts"],)
    for expert in [f"experts.{e}" for e in range(c["n_routed_experts"])] + ["shared_experts"]:
        out |= {
            f"ffn.{expert}.w1.weight": (width, d),
            f"ffn.{expert}.w2.weight": (d, width),
            f"ffn.{expert}.w3.weight": (width, d),
        }
    return out


def uniform(name: str, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Random numbers in [-1, 1), from a counter (splitmix64) seeded with the name's checksum."""
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(seed * 2**40 + zlib.crc32(name.encode())) * np.uint64(0x9E3779B97F4A7C15)
        z = z + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)).reshape(shape)


def parameter(name: str, shape: tuple[int, ...], config: dict) -> np.ndarray:
    """A random parameter; none has a value that would hide its effect on the result."""
    u = uniform(name, shape)
    leaf = name.split(".")[-1]
    if leaf == "tid2eid":
        order = uniform(name, (shape[0], config["n_routed_experts"])).argsort(-1, kind="stable")
        return order[:, : shape[1]].astype(np.int64)
    if "norm." in name:
        return 1 + np.float32(0.4) * u
    if leaf.startswith("hc_"):
        if leaf.endswith("_scale"):
            return np.float32(0.5) + np.float32(0.25) * u
        # Streams must stay distinct: the mixing starts near the identity.
        s = config["hc_mult"]
        base = np.zeros(shape, np.float32)
        if leaf.endswith("_base") and shape[0] > s:
            base[2 * s :] = 2 * np.eye(s, dtype=np.float32).ravel()
        return base + (u if leaf.endswith("_base") else np.float32(0.05) * u)
    if leaf in ("attn_sink", "ape"):
        return u
    if leaf == "bias":
        return np.float32(0.2) * u
    if name == "embed.weight":
        return u
    u = u * np.float32((3.0 / shape[-1]) ** 0.5)
    # As in a trained model, one sublayer changes the streams little, and routing is seldom close; otherwise rounding
    # alone would determine the result.
    if leaf == "weight" and name.split(".")[-2] in ("wo_b", "w2"):
        return np.float32(0.25) * u
    if ".markov_" in name:  # large enough to decide
        return np.float32(2) * u
    return np.float32(3) * u if name.endswith("gate.weight") else u


def random_parameters(config: dict) -> Parameters:
    return {name: parameter(name, shape, config) for name, shape in shapes(config).items()}
