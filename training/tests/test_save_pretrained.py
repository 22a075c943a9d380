"""transformers reads what `outrider` writes, and `outrider` reads what transformers' save_pretrained writes."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import DeepseekV4ForCausalLM
from transformers.quantizers.quantizer_finegrained_fp8 import FineGrainedFP8HfQuantizer

from engine import BUNDLED, TOKENS, check, codes, logits_of, needs_outrider, outrider, tensors_of
from make_variants import Maker
from names import hugging_face

pytestmark = needs_outrider

RENAMED = "OUT041"  # transformers-rename
SPELLING = "OUT028"  # config-transformers-spelling
MIXED_NAMES = "OUT055"


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """The directory of a variant, made once."""
    directory, maker = tmp_path_factory.mktemp("variants"), Maker()

    def make(name: str) -> Path:
        if not (directory / name).exists():
            maker.make(name).write(directory / name)
        return directory / name

    return make


def load(directory: Path, **options) -> DeepseekV4ForCausalLM:
    model, info = DeepseekV4ForCausalLM.from_pretrained(directory, output_loading_info=True, **options)
    assert not info["missing_keys"] and not info["mismatched_keys"] and not info["unexpected_keys"]
    return model.eval()


@torch.no_grad()
def same_logits(directory: Path, other: Path | None = None) -> None:
    """`outrider logits` gives for `directory` what transformers computes from `other`, both in F32."""
    theirs = load(other or directory, dtype=torch.float32)(torch.tensor([TOKENS]), use_cache=False).logits[0, -1]
    torch.testing.assert_close(logits_of(directory)[0], theirs, atol=2e-3, rtol=1e-3)


def save(model: DeepseekV4ForCausalLM, source: Path, directory: Path, **options) -> None:
    model.save_pretrained(directory, **options)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, directory)


WRITTEN = {
    "bundled": lambda source, out: shutil.copytree(BUNDLED, out),
    "official": lambda source, out: outrider("convert", BUNDLED, "--to", "official", "--output", out),
    "huggingface": lambda source, out: outrider("convert", source, "--to", "huggingface", "--output", out),
    "bf16": lambda source, out: outrider("quantize", BUNDLED, "--recipe", "bf16", "--output", out),
    "mxfp4-fp8": lambda source, out: outrider("quantize", source, "--recipe", "mxfp4-fp8", "--output", out),
    "repaired": lambda source, out: outrider("repair", source, "--output", out),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_transformers_reads_what_outrider_writes(name, variants, tmp_path):
    WRITTEN[name](variants("bf16"), tmp_path / name)
    same_logits(tmp_path / name)


@dataclass
class Saved:
    """A load and a save by transformers. What a save renames depends on the names that were loaded."""

    source: str  # a variant
    load: dict
    original_format: bool  # save_pretrained's default; else Hugging Face names
    renamed: dict[str, str]  # wrong name in the artifact -> right name: save_pretrained's ".kv_norm." -> ".norm."

    def __str__(self) -> str:
        dtype = str(self.load.get("dtype", "auto")).removeprefix("torch.")
        return f"{self.source}-{dtype}-{'default' if self.original_format else 'huggingface'}"


OFFICIAL = {".attn.norm.": ".attn.kv_norm."}
HUGGING_FACE = {
    ".self_attn.norm.": ".self_attn.kv_norm.",
    ".self_attn.compressor.norm.": ".self_attn.compressor.kv_norm.",
    ".self_attn.compressor.indexer.norm.": ".self_attn.compressor.indexer.kv_norm.",
}
SAVED = [
    Saved("bf16", {}, True, OFFICIAL),
    Saved("bf16", {}, False, {}),
    Saved("bf16", {"dtype": torch.float32}, True, OFFICIAL),
    Saved("float32", {}, False, {}),
    Saved("official", {}, True, OFFICIAL),  # dequantised, for there is no GPU
    Saved("official", {}, False, {}),
    Saved("huggingface-saved", {}, True, HUGGING_FACE),
]


def accepted(directory: Path, renamed: dict[str, str]) -> dict:
    """Judges what was saved, and what repair makes of it, in the directory beside; returns the report of the former."""
    report = check(directory)
    assert report["exit_status"] == 0, report["findings"]
    assert (RENAMED in codes(report)) == bool(renamed)
    assert SPELLING in codes(report) and MIXED_NAMES not in codes(report)

    repaired = directory.parent / "repaired"
    outrider("repair", directory, "--output", repaired)
    if not repaired.exists():  # there was nothing to repair
        assert not renamed
        return report
    assert check(repaired)["exit_status"] == 0 and not codes(check(repaired)) & {RENAMED, MIXED_NAMES}
    before, after = tensors_of(directory), tensors_of(repaired)
    for name, tensor in before.items():
        for wrong, right in renamed.items():
            name = name.replace(wrong, right)
        assert after[name].dtype == tensor.dtype and equal(after[name], tensor), name
    assert not [name for name in after if any(wrong in name for wrong in renamed)]
    return report


def equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.view(torch.uint8), b.view(torch.uint8)) if a.dtype.itemsize == 1 else torch.equal(a, b)


@pytest.mark.parametrize("case", SAVED, ids=str)
def test_outrider_reads_what_transformers_saves(case, variants, tmp_path):
    source, saved = variants(case.source), tmp_path / "saved"
    save(load(source, **case.load), source, saved, save_original_format=case.original_format)
    accepted(saved, case.renamed)
    same_logits(saved)
    if case.renamed:
        same_logits(tmp_path / "repaired")
    assert outrider("generate", saved, "-p", "Genesis 11", "--max-tokens", "8").strip()


def test_the_wrong_names_are_those_that_transformers_writes(variants, tmp_path):
    """Should a release of transformers mend its rule, this says so."""
    load(variants("bf16")).save_pretrained(tmp_path / "official")
    load(variants("huggingface-saved")).save_pretrained(tmp_path / "huggingface")
    names = tensors_of(tmp_path / "official").keys() | tensors_of(tmp_path / "huggingface").keys()
    assert all(any(wrong in name for name in names) for wrong in OFFICIAL | HUGGING_FACE)
    assert not [n for n in names if any(right in n for right in (OFFICIAL | HUGGING_FACE).values())]


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Without a GPU transformers dequantises; kept from looking for one it loads the forms, which only cannot run."""
    monkeypatch.setattr(FineGrainedFP8HfQuantizer, "validate_environment", lambda self, *args, **options: None)


@pytest.mark.parametrize("original_format", [True, False], ids=["default", "huggingface"])
def test_outrider_reads_fp4_and_fp8_as_a_gpu_saves_them(original_format, tmp_path, as_on_a_gpu):
    save(load(BUNDLED), BUNDLED, tmp_path / "saved", save_original_format=original_format)
    accepted(tmp_path / "saved", OFFICIAL if original_format else {})
    torch.testing.assert_close(logits_of(tmp_path / "saved"), logits_of(BUNDLED), atol=0, rtol=0)


def test_transformers_on_a_gpu_loads_the_same_from_fp4_and_fp8_under_its_names(tmp_path, as_on_a_gpu):
    outrider("convert", BUNDLED, "--to", "huggingface", "--output", tmp_path / "huggingface")
    release, renamed = load(BUNDLED).state_dict(), load(tmp_path / "huggingface").state_dict()
    assert release.keys() == renamed.keys() and all(equal(release[name], renamed[name]) for name in release)


V3_LAYER = 6


def v3_name(name: str) -> str:
    leaf = hugging_face(name.removeprefix("mtp.0.")).removeprefix("model.")
    return f"model.layers.{V3_LAYER}.{'shared_head.' if leaf == 'norm.weight' else ''}{leaf}"


MTP_NAMES = {
    "official": str,
    "model": "model.{}".format,
    "huggingface": hugging_face,
    "v3": v3_name,
    "v3-official": lambda name: f"model.layers.{V3_LAYER}.{name.removeprefix('mtp.0.')}",
}


@pytest.mark.parametrize("original_format", [True, False], ids=["default", "huggingface"])
@pytest.mark.parametrize("spelling", MTP_NAMES)
def test_an_mtp_block_put_back_drafts(spelling, original_format, variants, tmp_path):
    """transformers drops mtp.*; people copy it from the source, under names of their choice."""
    source, saved = variants("bf16"), tmp_path / "saved"
    save(load(source), source, saved, save_original_format=original_format, max_shard_size="8MB")
    block = {MTP_NAMES[spelling](n): t.contiguous() for n, t in tensors_of(source).items() if n.startswith("mtp.")}
    save_file(block, saved / "model-mtp.safetensors", metadata={"format": "pt"})
    index_file = saved / "model.safetensors.index.json"
    index = json.loads(index_file.read_text())
    index["weight_map"] |= dict.fromkeys(block, "model-mtp.safetensors")
    index["metadata"]["total_size"] += sum(t.nbytes for t in block.values())
    index_file.write_text(json.dumps(index))

    report = accepted(saved, OFFICIAL if original_format else {})
    assert report["drafter"]["kind"] == "mtp" and report["drafter"]["blocks"] == 1
    torch.testing.assert_close(logits_of(saved, "--mtp"), logits_of(source, "--mtp"), atol=0, rtol=0)
    torch.testing.assert_close(logits_of(tmp_path / "repaired", "--mtp"), logits_of(source, "--mtp"), atol=0, rtol=0)


RELEASE_FIELDS = (
    "compress_ratios",
    "num_hash_layers",
    "rope_scaling",
    "rope_theta",
    "compress_rope_theta",
    "qk_rope_head_dim",
    "num_nextn_predict_layers",
)


def test_repair_adds_the_fields_of_the_release(variants, tmp_path):
    source, saved = variants("bf16"), tmp_path / "saved"
    save(load(source), source, saved, save_original_format=False)
    theirs = json.loads((saved / "config.json").read_text())
    outrider("repair", saved, "--only", SPELLING, "--output", tmp_path / "repaired")
    release = json.loads((source / "config.json").read_text())
    config = json.loads((tmp_path / "repaired" / "config.json").read_text())
    assert all(config[field] == value for field, value in theirs.items()), "what was there stays"
    layers = config["num_hidden_layers"]
    assert config["compress_ratios"][:layers] == release["compress_ratios"][:layers]
    assert config["rope_scaling"].items() >= release["rope_scaling"].items()
    for field in set(RELEASE_FIELDS) - {"compress_ratios", "rope_scaling"}:
        assert config[field] == release[field], field
    assert SPELLING not in codes(check(tmp_path / "repaired"))
    same_logits(tmp_path / "repaired")


def test_rope_bases_are_those_that_transformers_computes_with(variants, tmp_path):
    """Nested rope_parameters win over rope_theta beside them, and rope_scaling, where it is there, over both."""
    source = variants("huggingface-saved")
    model = load(source)
    model.config.rope_parameters["main"]["rope_theta"] = 50000.0
    model.config.rope_parameters["compress"]["rope_theta"] = 90000.0
    saved = tmp_path / "saved"
    save(model, source, saved, save_original_format=False)
    same_logits(saved)
    outrider("repair", saved, "--only", SPELLING, "--output", tmp_path / "repaired")
    same_logits(tmp_path / "repaired")
    torch.testing.assert_close(logits_of(tmp_path / "repaired"), logits_of(saved), atol=0, rtol=0)


def test_hash_layers_may_stand_anywhere(variants, tmp_path):
    source = variants("huggingface-saved")
    model = load(source, dtype=torch.float32)
    blocks = model.model.layers
    # Layer 1 routes by a table, layer 3 does not: they change places.
    blocks[1].mlp, blocks[3].mlp = blocks[3].mlp, blocks[1].mlp
    types = model.config.mlp_layer_types
    types[1], types[3] = types[3], types[1]
    save(model, source, tmp_path / "saved", save_original_format=False)
    assert check(tmp_path / "saved")["exit_status"] == 0
    same_logits(tmp_path / "saved")
