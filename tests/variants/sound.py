"""Sound variants: the model in every storage form and naming in use."""

import json
import re
from collections.abc import Callable

import numpy as np

import forms
from artifact import Artifact
from forms import ATTENTION, COMPRESSOR, EXPERT, FLOAT32, INDEXER, SHARED
from names import hugging_face
from random_models import Parameters
from safetensors_file import Tensor, Tensors

Form = Callable[[np.ndarray], Tensors]


def plain(name: str, value: np.ndarray) -> Tensors:
    """As in releases, for parameters that are not quantised."""
    if value.dtype.kind == "i":
        return {name: forms.tensor("I64", value)}
    return {name: forms.f32(value) if FLOAT32.search(name) else forms.bf16(value)}


def store(parameters: Parameters, rules: list[tuple[re.Pattern, Form]]) -> Tensors:
    """Stores each parameter by the first rule that matches its name, or plain."""
    out: Tensors = {}
    for name, value in parameters.items():
        form = next((f for pattern, f in rules if pattern.search(name)), None)
        if form is None:
            out |= plain(name, value)
        else:
            out |= {f"{name.removesuffix('weight')}{part}": t for part, t in form(value).items()}
    return out


def main_only(pattern: re.Pattern) -> re.Pattern:
    """The same pattern outside mtp.*"""
    return re.compile(rf"^(?!mtp\.).*(?:{pattern.pattern})")


OFFICIAL = [(EXPERT, forms.mxfp4), *((p, forms.fp8_block) for p in (ATTENTION, INDEXER, SHARED))]


def fp8_with(scale_name: str, scale_dtype: str) -> Form:
    return lambda w: forms.fp8_block(w, scale_name, scale_dtype)


def unquantised(config: dict) -> dict:
    return {k: v for k, v in config.items() if k not in ("quantization_config", "expert_dtype")}


def official(base: Artifact, parameters: Parameters) -> Artifact:
    return base.copy()


def bf16(base: Artifact, parameters: Parameters) -> Artifact:
    out = base.copy()
    out.config, out.tensors = unquantised(base.config), store(parameters, [])
    return out


def float32(base: Artifact, parameters: Parameters) -> Artifact:
    out = base.copy()
    out.config = unquantised(base.config) | {"torch_dtype": "float32"}
    out.tensors = {n: forms.tensor("I64", v) if v.dtype.kind == "i" else forms.f32(v) for n, v in parameters.items()}
    return out


def huggingface(base: Artifact, parameters: Parameters) -> Artifact:
    """save_pretrained's names, one tensor per expert, with the MTP block."""
    out = bf16(base, parameters)
    out.tensors = {hugging_face(name): t for name, t in out.tensors.items()}
    return out


def huggingface_saved(base: Artifact, parameters: Parameters) -> Artifact:
    """As written by save_pretrained itself: stacked experts, no MTP block."""
    out = bf16(base, parameters)
    out.config["num_nextn_predict_layers"] = 0
    out.config["compress_ratios"] = out.config["compress_ratios"][: out.config["num_hidden_layers"]]
    out.tensors = stacked({n: t for n, t in out.tensors.items() if not n.startswith("mtp.")}, parameters)
    return out


def stacked(tensors: Tensors, parameters: Parameters) -> Tensors:
    out = {}
    for name, t in tensors.items():
        match = re.match(r"(.*\.ffn)\.experts\.(\d+)\.(w[123])\.weight$", name)
        if not match:
            out[hugging_face(name)] = t
        elif match[2] == "0" and match[3] != "w3":
            experts = [n for n in tensors if re.fullmatch(re.escape(match[1]) + r"\.experts\.\d+\.w1\.weight", n)]
            down = np.stack([parameters[n.replace("w1", "w2")] for n in experts])
            up = np.stack([np.concatenate([parameters[n], parameters[n.replace("w1", "w3")]]) for n in experts])
            prefix = hugging_face(f"{match[1]}.x").removesuffix(".x") + ".experts"
            if match[3] == "w1":
                out[f"{prefix}.gate_up_proj"] = forms.bf16(up)
            else:
                out[f"{prefix}.down_proj"] = forms.bf16(down)
    return out


def v3_names(base: Artifact, parameters: Parameters) -> Artifact:
    """The MTP block named as in DeepSeek-V3: a further layer, with its own head and embedding."""
    out = bf16(base, parameters)
    layer = base.config["num_hidden_layers"]
    renamed = {}
    for name, t in out.tensors.items():
        if name.startswith("mtp.0."):
            leaf = hugging_face(name.removeprefix("mtp.0.")).removeprefix("model.")
            leaf = "shared_head.norm.weight" if leaf == "norm.weight" else leaf
            renamed[f"model.layers.{layer}.{leaf}"] = t
        else:
            renamed[hugging_face(name)] = t
    renamed[f"model.layers.{layer}.embed_tokens.weight"] = out.tensors["embed.weight"]
    renamed[f"model.layers.{layer}.shared_head.head.weight"] = out.tensors["head.weight"]
    out.tensors = renamed
    return out


def with_aliases(tensors: Tensors, head: Tensor) -> Tensors:
    """The repair published for vLLM issue 43456."""
    return tensors | {"mtp.0.head.weight": head, "mtp.0.emb.tok_emb.weight": tensors["embed.weight"]}


W4A16_GROUPS = {
    "group_0": {
        "format": "pack-quantized",
        "targets": [r"re:.*ffn\.experts\.\d+\.(w1|w2|w3)$"],
        "weights": {"group_size": 128, "num_bits": 4, "strategy": "group", "symmetric": True, "type": "int"},
    },
    "group_1": {
        "format": "float-quantized",
        "targets": [
            r"re:.*attn\.(wq_a|wq_b|wkv|wo_a|wo_b)$",
            r"re:.*attn\.(indexer\.)?compressor\.(wkv|wgate)$",
            r"re:.*attn\.indexer\.(wq_b|weights_proj)$",
        ],
        "weights": {
            "block_structure": [128, 128],
            "num_bits": 8,
            "strategy": "block",
            "symmetric": True,
            "type": "float",
        },
    },
}


def compressed_tensors(config: dict, groups: dict) -> dict:
    ignore = ["head", r"re:mtp\..*", r"re:.*ffn\.gate$", r"re:.*shared_experts.*"]
    quantization = {"config_groups": groups, "format": "mixed-precision", "ignore": ignore}
    quantization |= {"quant_method": "compressed-tensors", "quantization_status": "compressed"}
    return unquantised(config) | {"quantization_config": quantization}


def w4a16(base: Artifact, parameters: Parameters) -> Artifact:
    """W4A16-FP8-MTP as llm-compressor saves it: the artifact of vLLM issue 43456 (797 mtp.* keys at full size)."""
    out = base.copy()
    fp8 = fp8_with("weight_scale", "BF16")
    rules = [(main_only(EXPERT), forms.w4a16), *((main_only(p), fp8) for p in (ATTENTION, INDEXER, COMPRESSOR))]
    out.tensors, out.config = store(parameters, rules), compressed_tensors(base.config, W4A16_GROUPS)
    return out


def w4a16_aliases(base: Artifact, parameters: Parameters) -> Artifact:
    """The same after the published repair: FP32 head, and the MTP block's copies (799 keys)."""
    out = w4a16(base, parameters)
    head = forms.f32(parameters["head.weight"])
    out.tensors = with_aliases(out.tensors | {"head.weight": head}, head)
    return out


def nvfp4(base: Artifact, parameters: Parameters) -> Artifact:
    out = base.copy()
    rules = [(main_only(EXPERT), forms.nvfp4), (main_only(ATTENTION), fp8_with("weight_scale_inv", "F32"))]
    head = forms.f32(parameters["head.weight"])
    out.tensors = with_aliases(store(parameters, rules) | {"head.weight": head}, head)
    experts = {
        "format": "nvfp4-pack-quantized",
        "targets": [r"re:.*ffn\.experts\.\d+\.(w1|w2|w3)$"],
        "weights": {"group_size": 16, "num_bits": 4, "strategy": "tensor_group", "symmetric": True, "type": "float"},
    }
    attention = {**W4A16_GROUPS["group_1"], "targets": [r"re:.*attn\.(wq_a|wq_b|wkv|wo_a|wo_b)$"]}
    out.config = compressed_tensors(base.config, {"group_0": experts, "group_1": attention})
    return out


def nvfp4_modelopt(base: Artifact, parameters: Parameters) -> Artifact:
    """NVIDIA's: NVFP4 experts, everything else including the MTP block as released."""
    out = base.copy()
    rest = [(p, forms.fp8_block) for p in (ATTENTION, INDEXER, SHARED)]
    out.tensors = store(parameters, [(main_only(EXPERT), forms.nvfp4_modelopt), (EXPERT, forms.mxfp4), *rest])
    fp8_linears = [
        r"re:.*attn\.(wq_a|wq_b|wkv|wo_a|wo_b)$",
        r"re:.*(indexer\.wq_b|[eh]_proj)$",
        r"re:.*shared_experts\.w[123]$",
    ]
    groups = {
        "group_0": {"targets": [r"re:layers\..*\.experts\.\d+\.w[123]$"], "weights": NVFP4_WEIGHTS},
        "group_1": {"targets": fp8_linears, "weights": {"num_bits": 8, "strategy": "block", "type": "float"}},
        "group_2": {
            "targets": [r"re:mtp\..*\.experts\.\d+\.w[123]$"],
            "weights": {"group_size": 32, "num_bits": 4, "type": "float"},
        },
    }
    ignore = ["head", r"re:.*ffn\.gate$", r"re:.*compressor\.(wkv|wgate)$", r"re:.*weights_proj$"]
    quantization = {"config_groups": groups, "quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ignore}
    quantization["scale_fmt"] = "ue8m0"
    out.config = unquantised(base.config) | {"quantization_config": quantization}
    return out


NVFP4_WEIGHTS = {"dynamic": False, "group_size": 16, "num_bits": 4, "type": "float"}


def nvfp4_nvidia(base: Artifact, parameters: Parameters) -> Artifact:
    """The same tensors, described as in NVIDIA's releases: the release's method, globs, and modelopt's file."""
    out = nvfp4_modelopt(base, parameters)
    layers = [f"layers.{i}.ffn.experts" for i in range(base.config["num_hidden_layers"])]
    modelopt = {
        "quant_algo": "MIXED_PRECISION",
        "moe_quant_algo": "NVFP4",
        "kv_cache_quant_algo": None,
        "group_size": 16,
        "quantized_layers": {module: {"quant_algo": "NVFP4", "group_size": 16} for module in layers},
    }
    ignore = ["*.attn.*", "*.ffn.shared_experts.*", "*.ffn.gate", "head", "mtp.*"]
    producer = {"name": "modelopt", "version": "0.43.0"}
    group = {"targets": ["Linear"], "weights": NVFP4_WEIGHTS, "input_activations": NVFP4_WEIGHTS}
    out.config["expert_dtype"] = "fp4"
    out.config["quantization_config"] = {
        **base.config["quantization_config"],
        **modelopt,
        "ignore": ignore,
        "producer": producer,
        "config_groups": {"group_0": group},
    }
    description = {"producer": producer, "quantization": {**modelopt, "exclude_modules": ignore}}
    out.side_files["hf_quant_config.json"] = json.dumps(description)
    return out


def kv_scales(base: Artifact, parameters: Parameters) -> Artifact:
    """The release with scales of a quantised KV cache, as written by calibration."""
    out = base.copy()
    for layer in range(base.config["num_hidden_layers"]):
        for name in ("k_scale", "v_scale"):
            out.tensors[f"layers.{layer}.attn.{name}"] = forms.f32(np.array(1.0))
        out.tensors[f"layers.{layer}.attn.wkv.output_scale"] = forms.f32(np.array([0.5]))
    out.tensors["mtp.0.attn.kv_scale"] = forms.f32(np.array(1.0))
    return out


def fp8(base: Artifact, parameters: Parameters) -> Artifact:
    """V4-Flash-Base's: FP8 experts too, F32 scales, and the MTP block's own head."""
    out = base.copy()
    rules = [(p, fp8_with("scale", "F32")) for p in (EXPERT, ATTENTION, INDEXER, SHARED)]
    out.tensors = store(parameters, rules)
    out.tensors["mtp.0.head.weight"] = out.tensors["head.weight"]
    out.config = base.config | {"expert_dtype": "fp8"}
    return out


def with_experts(tensors: Tensors, keep: int) -> Tensors:
    """The experts below `keep` and the router's rows for them."""
    out = {}
    for name, t in tensors.items():
        expert = re.search(r"\.experts\.(\d+)\.", name)
        if expert and int(expert[1]) >= keep:
            continue
        if re.search(r"ffn\.gate\.(weight|bias)$", name):
            t = Tensor(t.dtype, (keep, *t.shape[1:]), t.data[: len(t.data) // t.shape[0] * keep])
        out[name] = t
    return out


def pruned(base: Artifact, parameters: Parameters) -> Artifact:
    """Fewer experts (as with REAP), with matching config and routing tables."""
    keep = base.config["n_routed_experts"] - 2
    out = base.copy()
    out.config["n_routed_experts"] = keep
    out.tensors = with_experts(base.tensors, keep)
    for name, t in out.tensors.items():
        if name.endswith("tid2eid"):
            table = t.array(np.int64)
            first = table[:, :1] % keep
            step = 1 + table[:, 1:] % (keep - 1)
            out.tensors[name] = forms.tensor("I64", np.concatenate([first, (first + step) % keep], 1))
    return out


def scattered(base: Artifact, parameters: Parameters) -> Artifact:
    """Experts spread over several files with unusual names: odd, but sound."""
    out = base.copy()
    out.files = {name: f"model-{i % 5:05d}.safetensors" for i, name in enumerate(out.tensors)}
    return out


SOUND: dict[str, Callable[[Artifact, Parameters], Artifact]] = {
    "official": official,
    "bf16": bf16,
    "float32": float32,
    "huggingface": huggingface,
    "huggingface-saved": huggingface_saved,
    "v3-names": v3_names,
    "w4a16": w4a16,
    "w4a16-aliases": w4a16_aliases,
    "nvfp4": nvfp4,
    "nvfp4-modelopt": nvfp4_modelopt,
    "nvfp4-nvidia": nvfp4_nvidia,
    "kv-scales": kv_scales,
    "fp8": fp8,
    "pruned": pruned,
    "scattered": scattered,
}
