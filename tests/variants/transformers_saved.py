"""Sound variants as written by transformers' save_pretrained; `training/tests` compares the names with transformers."""

import re

import numpy as np

import forms
import sound
from artifact import Artifact
from names import hugging_face
from random_models import Parameters
from safetensors_file import Tensor, Tensors

LAYER_TYPES = {0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}


def saved_config(config: dict) -> dict:
    """transformers' own fields instead of the releases'."""
    layers, hashed = config["num_hidden_layers"], config["num_hash_layers"]
    rotary = config["qk_rope_head_dim"] / config["head_dim"]
    gone = ("compress_ratios", "num_hash_layers", "rope_scaling", "torch_dtype")
    main = {"rope_type": "default", "rope_theta": config["rope_theta"], "partial_rotary_factor": rotary}
    compress = {
        **config["rope_scaling"],
        "rope_type": "yarn",
        "rope_theta": config["compress_rope_theta"],
        "partial_rotary_factor": rotary,
        "attention_factor": 1.0,
    }
    return {k: v for k, v in config.items() if k not in gone} | {
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128},
        "dtype": "bfloat16",
        "layer_types": [LAYER_TYPES[ratio] for ratio in config["compress_ratios"][:layers]],
        "mlp_layer_types": ["hash_moe"] * hashed + ["moe"] * (layers - hashed),
        "partial_rotary_factor": rotary,
        "rope_parameters": {"main": main, "compress": compress},
        "transformers_version": "5.24.0",
    }


def without_mtp(tensors: Tensors) -> Tensors:
    return {n: t for n, t in tensors.items() if not n.startswith("mtp.")}


def in_saved_dtypes(tensors: Tensors, parameters: Parameters) -> Tensors:
    """BF16, except the norms, which transformers keeps in FP32."""
    return {n: forms.f32(parameters[n]) if n.endswith("norm.weight") else t for n, t in tensors.items()}


def saved_name(name: str) -> str:
    """The name in a model that was loaded with official names."""
    if name.startswith("head."):
        return name
    if re.match(r"embed\.|hc_head_", name):
        return hugging_face(name)
    return "model." + name.replace(".attn.kv_norm.", ".attn.norm.")


def saved_again_name(name: str) -> str:
    """The name in a model that was loaded with Hugging Face's names."""
    return name if name == "model.norm.weight" else name.replace(".kv_norm.", ".norm.")


def transformers_saved(base: Artifact, parameters: Parameters) -> Artifact:
    out = sound.bf16(base, parameters)
    out.tensors = {saved_name(n): t for n, t in in_saved_dtypes(without_mtp(out.tensors), parameters).items()}
    out.config = saved_config(out.config)
    return out


def transformers_saved_again(base: Artifact, parameters: Parameters) -> Artifact:
    out = sound.bf16(base, parameters)
    tensors = in_saved_dtypes(without_mtp(out.tensors), parameters)
    out.tensors = {saved_again_name(n): t for n, t in sound.stacked(tensors, parameters).items()}
    out.config = saved_config(out.config)
    return out


def transformers_saved_with_mtp(base: Artifact, parameters: Parameters) -> Artifact:
    """As saved, with the MTP block of the release added under the release's names."""
    out = transformers_saved(base, parameters)
    out.tensors |= {n: t for n, t in sound.bf16(base, parameters).tensors.items() if n.startswith("mtp.")}
    return out


def transformers_saved_quantised(base: Artifact, parameters: Parameters) -> Artifact:
    """The release saved with save_original_format=False: FP8, and FP4 in stacks of all experts."""
    out = base.copy()
    out.config = saved_config(base.config)
    out.tensors = {}
    stacks: dict[str, dict[tuple[str, int], Tensor]] = {}
    for name, t in without_mtp(base.tensors).items():
        match = re.match(r"(.*\.ffn\.experts)\.(\d+)\.(w[123])\.(weight|scale)$", name)
        if match:
            stacks.setdefault(match[1], {})[f"{match[3]}.{match[4]}", int(match[2])] = t
        else:
            leaf = re.sub(r"\.scale$", ".weight_scale_inv", name)
            leaf = leaf if leaf == name else leaf.replace(".weight_scale_inv", ".weight")
            mapped = hugging_face(leaf)
            out.tensors[mapped + "_scale_inv" if leaf != name else mapped] = t
    experts = range(base.config["n_routed_experts"])
    for block, parts in stacks.items():
        prefix = hugging_face(f"{block}.x").removesuffix(".x")
        for part, suffix in (("weight", ""), ("scale", "_scale_inv")):
            raw = {k: v.array(np.uint8) for k, v in parts.items() if k[0].endswith(part)}
            dtype = parts[f"w1.{part}", 0].dtype
            up = np.stack([np.concatenate([raw[f"w1.{part}", e], raw[f"w3.{part}", e]]) for e in experts])
            down = np.stack([raw[f"w2.{part}", e] for e in experts])
            out.tensors[f"{prefix}.gate_up_proj{suffix}"] = forms.tensor(dtype, up)
            out.tensors[f"{prefix}.down_proj{suffix}"] = forms.tensor(dtype, down)
    return out


def transformers_config(base: Artifact, parameters: Parameters) -> Artifact:
    """The release's tensors, with config.json as written by the branch of transformers that keeps the MTP block."""
    out = base.copy()
    out.config = saved_config(base.config)
    out.config["layer_types"].append("sliding_attention")
    out.config["mlp_layer_types"].append("moe")
    return out


def hc_head_dotted(base: Artifact, parameters: Parameters) -> Artifact:
    """As in MLX conversions, the three tensors of the mHC head are spelt with a dot and without hc_."""
    out = sound.bf16(base, parameters)
    dotted = {n: re.sub(r"hc_head\.hc_", "hc_head.", hugging_face(n)) for n in out.tensors}
    out.tensors = {dotted[n] if n.startswith("hc_head_") else hugging_face(n): t for n, t in out.tensors.items()}
    return out


def wrapped(base: Artifact, parameters: Parameters) -> Artifact:
    """Saved through the wrappers of torch.compile and DataParallel."""
    out = sound.bf16(base, parameters)
    out.tensors = {f"module._orig_mod.{n}": t for n, t in out.tensors.items()}
    return out


def checkpointed(base: Artifact, parameters: Parameters) -> Artifact:
    """Saved with activation checkpointing, which wraps every layer; the MTP block as mtp.layers.N."""
    out = sound.bf16(base, parameters)
    names = {n: re.sub(r"^(layers\.\d+)\.", r"\1._checkpoint_wrapped_module.", n) for n in out.tensors}
    out.tensors = {re.sub(r"^mtp\.0\.", "mtp.layers.0.", names[n]): t for n, t in out.tensors.items()}
    return out


SAVED = {
    "transformers-saved": transformers_saved,
    "transformers-saved-again": transformers_saved_again,
    "transformers-saved-with-mtp": transformers_saved_with_mtp,
    "transformers-saved-quantised": transformers_saved_quantised,
    "transformers-config": transformers_config,
    "hc-head-dotted": hc_head_dotted,
    "wrapped": wrapped,
    "checkpointed": checkpointed,
}
