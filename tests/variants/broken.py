"""Every row of the catalogue of faulty artifacts, made from the bundled model; the row's number is in parentheses."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import forms
import sound
from artifact import Artifact
from forms import FLOAT32
from random_models import Parameters, uniform
from safetensors_file import Tensor, shard_names

EXPERT_W1 = "layers.2.ffn.experts.3.w1"
FP8_LINEAR = "layers.1.attn.wq_a"


@dataclass
class Broken:
    """The function that makes it, the expected finding, a name in the finding, and check's exit status."""

    make: Callable[[Artifact, Parameters], Artifact]
    code: str
    names: str
    status: int
    data: bool = False  # visible only in values
    reference: bool | str = False  # compared with the sound original, or with the sound variant of this name


BROKEN: dict[str, Broken] = {}


def variant(name: str, code: str, names: str, status: int, **options):
    def register(make):
        BROKEN[name] = Broken(make, code, names, status, **options)
        return make

    return register


def dropped(base: Artifact, pattern: str) -> Artifact:
    out = base.copy()
    out.tensors = {n: t for n, t in out.tensors.items() if not re.search(pattern, n)}
    assert len(out.tensors) < len(base.tensors), pattern
    return out


def replaced(base: Artifact, **tensors: Tensor) -> Artifact:
    out = base.copy()
    out.tensors |= tensors
    return out


def filled(t: Tensor, byte: int) -> Tensor:
    return Tensor(t.dtype, t.shape, bytes([byte]) * len(t.data))


def first_shard(directory: Path) -> Path:
    return min(directory.glob("*.safetensors"))


def damaged(base: Artifact, damage: Callable[[Path], None]) -> Artifact:
    out = base.copy()
    out.damage = damage
    return out


@variant("no-head", "OUT030", "head.weight", 1)
def no_head(base, parameters):
    return dropped(base, r"^head\.weight$")


@variant("fp32-downcast", "OUT060", "hc_attn_fn", 0)  # (2)
def fp32_downcast(base, parameters):
    return replaced(base, **{n: forms.bf16(v) for n, v in parameters.items() if FLOAT32.search(n)})


@variant("fp32-downcast-beside-its-source", "OUT080", "hc_attn_fn", 0, reference=True)  # (2)
def fp32_downcast_reference(base, parameters):
    return fp32_downcast(base, parameters)


@variant("mtp-quantised", "OUT053", "mtp.0.ffn.experts", 0)  # (3)
def mtp_quantised(base, parameters):
    out = sound.w4a16(base, parameters)
    rules = [(forms.EXPERT, forms.w4a16), (forms.ATTENTION, sound.fp8_with("weight_scale", "BF16"))]
    mtp = {n: v for n, v in parameters.items() if n.startswith("mtp.")}
    out.tensors = {n: t for n, t in out.tensors.items() if not n.startswith("mtp.")} | sound.store(mtp, rules)
    return out


@variant("mtp-of-another-layer-type", "OUT054", "mtp.0.attn.compressor", 1)  # (4)
def mtp_of_another_layer_type(base, parameters):
    extra = {
        n.replace("layers.2.", "mtp.0."): t for n, t in base.tensors.items() if re.match(r"layers\.2\.attn\.(c|i)", n)
    }
    return replaced(base, **extra)


@variant("mtp-half-renamed", "OUT055", "mtp.0", 0)  # (4)
def mtp_half_renamed(base, parameters):
    out = sound.huggingface(base, parameters)
    renamed = {}
    for name, t in out.tensors.items():
        name = name.replace("model.mtp.", "mtp.")
        renamed[name.replace("self_attn.q_a_proj", "attn.wq_a") if name.startswith("mtp.") else name] = t
    out.tensors = renamed
    return out


@variant("targets-in-another-dialect", "OUT024", "", 0)  # (5)
def targets_in_another_dialect(base, parameters):
    out = sound.w4a16(base, parameters)
    groups = out.config["quantization_config"]["config_groups"]
    groups["group_0"]["targets"] = [r"re:.*mlp\.experts\.\d+\.(gate|up|down)_proj$"]
    groups["group_1"]["targets"] = [r"re:.*self_attn\.(q_a|q_b|kv|o_a|o_b)_proj$"]
    return out


@variant("mxfp4-draft-under-nvfp4", "OUT024", "mtp.*.ffn.experts", 0)
def mxfp4_draft_under_nvfp4(base, parameters):
    out = sound.nvfp4_nvidia(base, parameters)
    out.config["quantization_config"]["ignore"].remove("mtp.*")
    del out.config["quantization_config"]["quantized_layers"]
    return out


@variant("bf16-draft-under-fp8", "OUT024", "mtp.*.ffn.experts", 0)
def bf16_draft_under_fp8(base, parameters):
    draft = {n: v for n, v in parameters.items() if n.startswith("mtp.")}
    out = dropped(base, r"^mtp\.")
    out.tensors |= sound.store(draft, [])
    return out


@variant("nvfp4-draft-under-mxfp4", "OUT024", "mtp.*.ffn.experts", 0)
def nvfp4_draft_under_mxfp4(base, parameters):
    draft = {n: v for n, v in parameters.items() if re.match(r"mtp\..*\.experts\.", n)}
    out = dropped(base, r"^mtp\..*\.experts\.")
    out.tensors |= sound.store(draft, [(forms.EXPERT, forms.nvfp4_modelopt)])
    return out


@variant("experts-of-another-form", "OUT024", "layers.*.ffn.experts", 0)
def experts_of_another_form(base, parameters):
    out = base.copy()
    out.config["expert_dtype"] = "fp8"
    return out


@variant("hf-quant-config-of-the-source", "OUT066", "hf_quant_config.json", 0)
def hf_quant_config_of_the_source(base, parameters):
    out = sound.w4a16(base, parameters)
    out.side_files["hf_quant_config.json"] = json.dumps({"quantization": {"quant_algo": "NVFP4"}})
    return out


@variant("method-that-nobody-knows", "OUT024", "residue-number-system", 0)
def method_that_nobody_knows(base, parameters):
    out = sound.bf16(base, parameters)
    out.config["quantization_config"] = {"quant_method": "residue-number-system"}
    return out


@variant("scales-as-bytes", "OUT065", "scale", 0)  # (6)
def scales_as_bytes(base, parameters):
    u8 = {n: Tensor("U8", t.shape, t.data) for n, t in base.tensors.items() if t.dtype == "F8_E8M0"}
    return replaced(base, **u8)


@variant("no-scale-format", "OUT025", "", 0)  # (6)
def no_scale_format(base, parameters):
    out = base.copy()
    del out.config["quantization_config"]["scale_fmt"]
    return out


@variant("config-lost-fields", "OUT020", "compress_ratios", 1)  # (7)
def config_lost_fields(base, parameters):
    out = base.copy()
    for lost in ("compress_ratios", "num_hash_layers", "rope_scaling", "num_nextn_predict_layers"):
        del out.config[lost]
    return out


@variant("config-contradicts-itself", "OUT021", "compress_ratios", 1)  # (7)
def config_contradicts_itself(base, parameters):
    out = base.copy()
    out.config["compress_ratios"] = out.config["compress_ratios"][:-3]
    return out


@variant("mtp-dropped", "OUT051", "", 0)  # (8)
def mtp_dropped(base, parameters):
    return dropped(base, r"^mtp\.")


@variant("dspark-drafter", "OUT052", "", 0)  # (9)
def dspark_drafter(base, parameters):
    out = dropped(base, r"^mtp\.")
    stages, rank, depth, width = 3, 16, base.config["num_hidden_layers"], base.config["hidden_size"]
    vocabulary, targets = base.config["vocab_size"], list(range(depth - 3, depth))
    block = {n.removeprefix("mtp.0."): t for n, t in base.tensors.items() if n.startswith("mtp.0.")}
    for stage in range(stages):
        for name, t in block.items():
            last = name == "norm.weight" or name.startswith("hc_head_")
            if not re.match(r"enorm|hnorm|[eh]_proj", name) and (not last or stage == stages - 1):
                out.tensors[f"mtp.{stage}.{name}"] = t

    def random(name, rows, columns):
        return uniform(name, (rows, columns)) * np.float32(0.1)

    main = forms.fp8_block(random("main", width, len(targets) * width))
    out.tensors |= {f"mtp.0.main_proj.{part}": t for part, t in main.items()}
    out.tensors["mtp.0.main_norm.weight"] = block["enorm.weight"]
    last = f"mtp.{stages - 1}"
    out.tensors[f"{last}.markov_head.markov_w1.weight"] = forms.bf16(random("w1", vocabulary, rank))
    out.tensors[f"{last}.markov_head.markov_w2.weight"] = forms.bf16(random("w2", vocabulary, rank))
    out.tensors[f"{last}.confidence_head.proj.weight"] = forms.bf16(random("confidence", 1, width + rank))
    out.config |= {
        "compress_ratios": base.config["compress_ratios"][:depth] + [0] * stages,
        "dspark_block_size": 5,
        "dspark_markov_rank": rank,
        "dspark_noise_token_id": 2,
        "dspark_target_layer_ids": targets,
    }
    return out


def random_head(base: Artifact, parameters: Parameters) -> Tensor:
    head = parameters["head.weight"]
    return forms.bf16(uniform("mtp head", head.shape) * head.std())


@variant("mtp-head-random", "OUT076", "mtp.0.head.weight", 1, data=True)  # (1) as an engine sees it, and (10)
def mtp_head_random(base, parameters):
    out = base.copy()
    out.tensors = sound.with_aliases(out.tensors, random_head(base, parameters))
    return out


def moved(name: str, value: np.ndarray, share: float) -> Tensor:
    """Values that further training has changed by a fraction of their spread."""
    noise = uniform(f"training of {name}", value.shape) * np.float32(3**0.5 * share) * value.std()
    return forms.bf16(value + noise)


@variant("mtp-head-trained", "OUT075", "relative error 2.0%", 0, data=True)
def mtp_head_trained(base, parameters):
    out = base.copy()
    out.tensors = sound.with_aliases(out.tensors, moved("mtp head", parameters["head.weight"], 0.02))
    return out


@variant("mtp-head-zero", "OUT071", "mtp.0.head.weight", 1, data=True)
def mtp_head_zero(base, parameters):
    out = base.copy()
    out.tensors = sound.with_aliases(out.tensors, filled(out.tensors["head.weight"], 0))
    return out


@variant("dspark-own-head", "OUT043", "mtp.2.head.weight", 0, data=True)
def dspark_own_head(base, parameters):
    out = dspark_drafter(base, parameters)
    out.tensors["mtp.0.embed.weight"] = moved("own embedding", parameters["embed.weight"], 0.5)
    out.tensors["mtp.2.head.weight"] = moved("own head", parameters["head.weight"], 0.5)
    return out


@variant("dspark-own-head-of-another-shape", "OUT032", "mtp.2.lm_head.weight", 1)
def dspark_own_head_shape(base, parameters):
    out = dspark_drafter(base, parameters)
    out.tensors["mtp.2.lm_head.weight"] = forms.bf16(parameters["head.weight"][:-1])
    return out


@variant("truncated-shard", "OUT002", "model-00001-of-00003.safetensors", 2)  # (11)
def truncated_shard(base, parameters):
    return damaged(base, lambda d: os.truncate(first_shard(d), first_shard(d).stat().st_size - 4096))


def edited_index(edit: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        path = directory / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        edit(index["weight_map"])
        path.write_text(json.dumps(index))

    return damage


@variant("index-names-another-shard", "OUT006", "layers.0.attn.wq_a.weight", 1)  # (11)
def index_names_another_shard(base, parameters):
    def edit(weight_map):
        weight_map["layers.0.attn.wq_a.weight"] = max(weight_map.values())

    return damaged(base, edited_index(edit))


@variant("tensor-not-in-the-index", "OUT007", "layers.0.attn.wq_a.weight", 1)  # (11)
def tensor_not_in_the_index(base, parameters):
    return damaged(base, edited_index(lambda weight_map: weight_map.pop("layers.0.attn.wq_a.weight")))


def renamed_in_the_index(old: str, new: str) -> Callable[[Path], None]:
    def edit(weight_map):
        weight_map.update({name: file.replace(old, new) for name, file in weight_map.items()})

    return edited_index(edit)


@variant("index-of-another-upload", "OUT004", "all 585 tensors are in 3 files missing from the index", 1)  # (11)
def index_of_another_upload(base, parameters):
    return damaged(base, renamed_in_the_index("of-00003", "of-00046"))


@variant("renamed-shard", "OUT004", "is in 1 file missing from the index: model-00002-of-00003.safetensors", 1)
def renamed_shard(base, parameters):
    return damaged(base, renamed_in_the_index("00002-of-00003", "00002-of-00046"))


@variant("missing-shard", "OUT004", "model-00002-of-00003.safetensors is missing. The index lists", 1)  # (11)
def missing_shard(base, parameters):
    return damaged(base, lambda d: (d / "model-00002-of-00003.safetensors").unlink())


@variant("shard-whose-link-leads-nowhere", "OUT004", "1234.incomplete is beside it", 1)
def shard_whose_link_leads_nowhere(base, parameters):
    def damage(directory: Path) -> None:
        shard = first_shard(directory)
        shard.rename(directory / "1234.incomplete")
        shard.symlink_to("1234")

    return damaged(base, damage)


@variant("index-without-a-shard", "OUT007", "the model needs all of them", 1)  # (11)
def index_without_a_shard(base, parameters):
    def edit(weight_map):
        for name in [n for n, file in weight_map.items() if "00002" in file]:
            del weight_map[name]

    return damaged(base, edited_index(edit))


@variant("index-of-other-directories", "OUT004", "all 585 tensors are in 3 files", 1)
def index_of_other_directories(base, parameters):
    return damaged(base, renamed_in_the_index("model-", "/home/me/out/model-"))


@variant("no-index", "OUT014", "3 safetensors files", 0)
def no_index(base, parameters):
    return damaged(base, lambda d: (d / "model.safetensors.index.json").unlink())


@variant("tensor-in-two-shards", "OUT008", "layers.0.attn.wq_a.weight", 1)  # (11)
def tensor_in_two_shards(base, parameters):
    def damage(directory: Path) -> None:
        from safetensors_file import read_file, write_file

        last = max(directory.glob("*.safetensors"))
        twice = {"layers.0.attn.wq_a.weight": base.tensors["layers.0.attn.wq_a.weight"]}
        write_file(last, read_file(last) | twice)

    return damaged(base, damage)


@variant("not-a-number", "OUT070", "layers.0.attn_norm.weight", 1, data=True)  # (12)
def not_a_number(base, parameters):
    value = parameters["layers.0.attn_norm.weight"].copy()
    t = forms.bf16(value)
    return replaced(base, **{"layers.0.attn_norm.weight": Tensor(t.dtype, t.shape, b"\xc0\x7f" + t.data[2:])})


@variant("all-zero", "OUT071", EXPERT_W1, 1, data=True)  # (12)
def all_zero(base, parameters):
    return replaced(base, **{f"{EXPERT_W1}.weight": filled(base.tensors[f"{EXPERT_W1}.weight"], 0)})


@variant("scale-not-a-number", "OUT072", f"{FP8_LINEAR}.scale", 1, data=True)  # (12)
def scale_not_a_number(base, parameters):
    t = base.tensors[f"{FP8_LINEAR}.scale"]
    return replaced(base, **{f"{FP8_LINEAR}.scale": Tensor(t.dtype, t.shape, b"\xff" + t.data[1:])})


@variant("tokenizer-too-large", "OUT026", "", 1)  # (13)
def tokenizer_too_large(base, parameters):
    out = base.copy()
    tokenizer = json.loads(out.side_files["tokenizer.json"])
    last = max(token["id"] for token in tokenizer["added_tokens"])
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": last + 100, "content": "<one too many>"})
    out.side_files["tokenizer.json"] = json.dumps(tokenizer, ensure_ascii=False)
    return out


@variant("git-lfs-pointer", "OUT003", "model-00001-of-00003.safetensors", 2)  # (14)
def git_lfs_pointer(base, parameters):
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3260989\n"
    return damaged(base, lambda d: first_shard(d).write_text(text))


@variant("html-page", "OUT003", "model-00001-of-00003.safetensors", 2)  # (14)
def html_page(base, parameters):
    return damaged(base, lambda d: first_shard(d).write_text("<!DOCTYPE html><html><body>Sign in</body></html>"))


@variant("index-names-absent-scales", "OUT005", "wo_a", 1)  # (15)
def index_names_absent_scales(base, parameters):
    out = base.copy()
    for name, value in parameters.items():
        if name.endswith("wo_a.weight"):
            out.tensors[name] = forms.bf16(value)
            del out.tensors[name.replace(".weight", ".scale")]
    files = shard_names(base.tensors, base.shards)
    absent = {n: f for n, f in files.items() if n.endswith("wo_a.scale")}
    out.damage = edited_index(lambda weight_map: weight_map.update(absent))
    return out


@variant("fp8-without-its-scale", "OUT034", FP8_LINEAR, 1)  # (15)
def fp8_without_its_scale(base, parameters):
    return dropped(base, rf"^{re.escape(FP8_LINEAR)}\.scale$")


@variant("half-an-expert", "OUT031", EXPERT_W1, 1)  # (16)
def half_an_expert(base, parameters):
    return dropped(base, rf"^{re.escape(EXPERT_W1)}\.")


@variant("mtp-projections-quantised-again", "OUT056", "mtp.0", 0)  # (17)
def mtp_projections_quantised_again(base, parameters):
    out = sound.bf16(base, parameters)
    for name in ("e_proj", "h_proj"):
        codes = forms.fp8_block(parameters[f"mtp.0.{name}.weight"])
        out.tensors |= {f"mtp.0.{name}.{part}": t for part, t in codes.items()}
    return out


@variant("hash-table-cast", "OUT062", "tid2eid", 1)  # (18)
def hash_table_cast(base, parameters):
    return replaced(base, **{n: forms.bf16(v) for n, v in parameters.items() if n.endswith("tid2eid")})


@variant("hash-table-out-of-range", "OUT074", "layers.0.ffn.gate.tid2eid", 1, data=True)  # (18)
def hash_table_out_of_range(base, parameters):
    name = "layers.0.ffn.gate.tid2eid"
    table = parameters[name].copy()
    table[7, 0] = base.config["n_routed_experts"]
    return replaced(base, **{name: forms.tensor("I64", table)})


@variant("compressor-quantised", "OUT061", "compressor", 0)  # (19)
def compressor_quantised(base, parameters):
    out = base.copy()
    for name, value in parameters.items():
        if forms.COMPRESSOR.search(name):
            out.tensors |= {f"{name.removesuffix('weight')}{p}": t for p, t in forms.fp8_block(value).items()}
    return out


@variant("scales-cast", "OUT073", ".scale", 1, data=True)  # (20)
def scales_cast(base, parameters):
    return replaced(base, **{n: filled(t, 0) for n, t in base.tensors.items() if t.dtype == "F8_E8M0"})


@variant("mtp-initial-values", "OUT076", "mtp.0", 1, data=True)  # (21)
def mtp_initial_values(base, parameters):
    out = sound.bf16(base, parameters)
    generator = np.random.default_rng(21)
    for name, value in parameters.items():
        if name.startswith("mtp.") and "norm" in name:
            out.tensors[name] = forms.bf16(np.ones_like(value))
        elif name.startswith("mtp.") and value.ndim == 2 and not FLOAT32.search(name):
            out.tensors[name] = forms.bf16(generator.normal(0, 0.02, value.shape).astype(np.float32))
    return out


@variant("expert-count-forgotten", "OUT021", "n_routed_experts", 1)
def expert_count_forgotten(base, parameters):
    out = sound.pruned(base, parameters)
    out.config["n_routed_experts"] = base.config["n_routed_experts"]
    return out


@variant("drafter-with-more-experts", "OUT042", "mtp.0", 0)
def drafter_with_more_experts(base, parameters):
    out = sound.pruned(base, parameters)
    out.tensors |= {n: t for n, t in base.tensors.items() if n.startswith("mtp.")}
    return out


@variant("mtp-incomplete", "OUT030", "mtp.0.e_proj", 1)
def mtp_incomplete(base, parameters):
    return dropped(base, r"^mtp\.0\.e_proj\.")


@variant("drafter-with-too-few-experts", "OUT021", "mtp.0", 1)
def drafter_with_too_few_experts(base, parameters):
    out = base.copy()
    mtp = {n: t for n, t in base.tensors.items() if n.startswith("mtp.")}
    out.tensors = {n: t for n, t in base.tensors.items() if n not in mtp} | sound.with_experts(mtp, 1)
    return out


@variant("expert-count-lost", "OUT020", "n_routed_experts", 1)
def expert_count_lost(base, parameters):
    out = base.copy()
    del out.config["n_routed_experts"]
    return out


@variant("compressed-layer-called-a-window", "OUT021", "compress_ratios[2]", 1)
def compressed_layer_called_a_window(base, parameters):
    out = base.copy()
    out.config["compress_ratios"][2] = 0
    return out


@variant("hash-layers-miscounted", "OUT021", "num_hash_layers", 1)
def hash_layers_miscounted(base, parameters):
    out = base.copy()
    out.config["num_hash_layers"] = 0
    return out


@variant("stray-file-unreadable", "OUT009", "model-00009-of-00009.safetensors", 0)
def stray_file_unreadable(base, parameters):
    return damaged(base, lambda d: (d / "model-00009-of-00009.safetensors").write_bytes(b""))


@variant("mtp-head-of-unknown-name", "OUT038", "mtp.0.output.weight", 0)
def mtp_head_of_unknown_name(base, parameters):
    return replaced(base, **{"mtp.0.output.weight": random_head(base, parameters)})


@variant("drafter-head-as-a-further-layer", "OUT055", "layers.6.shared_head.head.weight", 0)
def drafter_head_as_a_further_layer(base, parameters):
    return replaced(base, **{"model.layers.6.shared_head.head.weight": base.tensors["head.weight"]})


@variant("experts-pruned-unevenly", "OUT021", "layers.3", 1)
def experts_pruned_unevenly(base, parameters):
    out = base.copy()
    layer = {n: t for n, t in base.tensors.items() if n.startswith("layers.3.")}
    out.tensors = {n: t for n, t in base.tensors.items() if n not in layer} | sound.with_experts(layer, 6)
    return out


@variant("exploded-tensor", "OUT039", "shared_experts", 1)  # (25)
def exploded_tensor(base, parameters):
    out = sound.bf16(base, parameters)
    name = "layers.1.ffn.shared_experts.w2.weight"
    del out.tensors[name]
    for row, values in enumerate(parameters[name]):
        out.tensors[f"layers.1.ffn.shared_experts.{row}.w2.weight.weight"] = forms.bf16(values)
    return out


DOWN = "model.layers.3.mlp.experts.down_proj"
GATE_UP = "model.layers.3.mlp.experts.gate_up_proj"


def stack_changed(base: Artifact, parameters: Parameters, name: str, change: Callable[[np.ndarray], object]) -> Artifact:
    """Stacked experts as save_pretrained writes them; `change` modifies one stack, or returns a new one."""
    out = sound.huggingface_saved(base, parameters)
    values = forms.values(out.tensors[name]).copy()
    result = change(values)
    out.tensors[name] = forms.bf16(values if result is None else result)
    return out


def assign(*index, value):
    def change(stack: np.ndarray) -> None:
        stack[index] = value

    return change


@variant("stack-expert-not-a-number", "OUT070", "down_proj, expert 5", 1, data=True)
def stack_expert_not_a_number(base, parameters):
    out = stack_changed(base, parameters, DOWN, lambda stack: None)
    t = out.tensors[DOWN]
    at = 2 * 5 * t.shape[1] * t.shape[2]
    out.tensors[DOWN] = Tensor(t.dtype, t.shape, t.data[:at] + b"\xc0\x7f" + t.data[at + 2 :])
    return out


@variant("stack-expert-all-zero", "OUT071", "gate_up_proj, up (w3) of expert 2", 1, data=True)
def stack_expert_all_zero(base, parameters):
    return stack_changed(base, parameters, GATE_UP, assign(2, slice(128, None), value=0))


@variant("stack-expert-copied", "OUT077", "experts 1 and 6 of layers.3 have byte-identical down (w2)", 0, data=True)
def stack_expert_copied(base, parameters):
    def change(stack):
        stack[6] = stack[1]

    return stack_changed(base, parameters, DOWN, change)


@variant("expert-copied", "OUT077", "experts 3 and 4 of layers.2 have byte-identical gate (w1), down (w2), up (w3)", 0, data=True)
def expert_copied(base, parameters):
    first = "layers.2.ffn.experts.3."
    copies = {n.replace(".3.", ".4."): t for n, t in base.tensors.items() if n.startswith(first)}
    return replaced(base, **copies)


@variant("stack-transposed", "OUT032", "transposed: stored [E, width, D], expected [E, D, width]", 1)
def stack_transposed(base, parameters):
    return stack_changed(base, parameters, DOWN, lambda stack: stack.transpose(0, 2, 1))


def beside_bf16(name: str, what: str):
    """Stacks compared with a source that has one tensor per expert. (1: save_pretrained dropped the MTP block, too.)"""
    return variant(name, "OUT082", what, 1, reference="bf16")


@beside_bf16("stack-of-noise-beside-the-source", "model.layers.3.mlp.experts.down_proj differs from the reference in all 8 experts")
def stack_of_noise(base, parameters):
    return stack_changed(base, parameters, DOWN, lambda stack: uniform("noise", stack.shape) * stack.std())


@beside_bf16("stack-transposed-beside-the-source", "gate_up_proj is transposed in all 8 experts")  # square: 2*width is D
def stack_transposed_square(base, parameters):
    return stack_changed(base, parameters, GATE_UP, lambda stack: stack.transpose(0, 2, 1))


@beside_bf16("stack-up-first-beside-the-source", "gate_up_proj has gate and up swapped in all 8 experts")
def stack_up_first(base, parameters):
    return stack_changed(base, parameters, GATE_UP, lambda stack: np.roll(stack, 128, 1))


@beside_bf16("stack-interleaved-beside-the-source", "has gate's and up's rows interleaved in all 8 experts, 1 at a time")
def stack_interleaved(base, parameters):
    def change(stack):
        halves = stack.reshape(stack.shape[0], 2, 128, -1)
        return halves.transpose(0, 2, 1, 3).reshape(stack.shape)

    return stack_changed(base, parameters, GATE_UP, change)


@beside_bf16("stack-permuted-beside-the-source", "expert 1 of layers.3 has the values of expert 4")
def stack_permuted(base, parameters):
    def change(stack):
        stack[[1, 4]] = stack[[4, 1]]

    return stack_changed(base, parameters, GATE_UP, change)


@beside_bf16("stack-shifted-beside-the-source", "row r holds the reference's row r + 3")
def stack_shifted(base, parameters):
    return stack_changed(base, parameters, DOWN, lambda stack: np.roll(stack, -3, 1))


@variant("experts-permuted-beside-the-source", "OUT082", "expert 0 of layers.4 has the values of expert 7", 0, reference=True)
def experts_permuted(base, parameters):
    renamed = {}
    for name, t in sound.w4a16(base, parameters).tensors.items():
        match = re.match(r"layers\.4\.ffn\.experts\.([07])\.", name)
        other = match and name.replace(f"experts.{match[1]}.", f"experts.{7 - int(match[1])}.")
        renamed[other or name] = t
    out = sound.w4a16(base, parameters)
    out.tensors = renamed
    return out


@variant("projections-exchanged-beside-the-source", "OUT082", "mtp.0.e_proj.weight has the values of mtp.0.h_proj", 0, reference=True)
def projections_exchanged(base, parameters):
    names = [f"mtp.0.{p}_proj.{part}" for p in "eh" for part in ("weight", "scale")]
    other = {"e": "h", "h": "e"}
    return replaced(base, **{n: base.tensors[f"mtp.0.{other[n[6]]}{n[7:]}"] for n in names})


@variant("values-changed-beside-the-source", "OUT082", "layers.3.attn.kv_norm.weight", 0, reference=True)
def values_changed(base, parameters):
    name = "layers.3.attn.kv_norm.weight"
    return replaced(base, **{name: forms.bf16(parameters[name] * np.float32(1.5))})
