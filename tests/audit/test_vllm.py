"""The real vLLM: its classes on the meta device (preflight), and its loader on the CPU under the plugin.

The interpreter that has vLLM is $OUTRIDER_VLLM_PYTHON, or build/vllm-venv's; without one these tests are skipped."""

import json
import os
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")

import artifacts  # noqa: E402
import small_models  # noqa: E402
from conftest import PACKAGE, ROOT  # noqa: E402

PYTHON = os.environ.get("OUTRIDER_VLLM_PYTHON") or os.path.join(ROOT, "build", "vllm-venv", "bin", "python")
HEAD, EMBED = "model.layers.6.shared_head.head.weight", "model.embed_tokens.weight"


def run(words, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_AUDIT", "VLLM_"))}
    paths = os.pathsep.join([PACKAGE, *filter(None, [environment.pop("path", None)])])
    return subprocess.run([PYTHON, *words], env={**clean, "PYTHONPATH": paths, **environment}, timeout=580,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)  # fmt: skip


def has_vllm():
    try:
        return run(["-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('vllm'))"]).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not has_vllm(), reason="no vLLM at %s (10 GB): set OUTRIDER_VLLM_PYTHON" % PYTHON)


class Outcome:
    """A report that was printed as JSON."""

    def __init__(self, process):
        assert process.returncode in (0, 1), process.stderr[-3000:]
        self.report = json.loads(process.stdout)
        self.sound = self.report["sound"]
        assert self.sound == (process.returncode == 0)
        self.kinds = [finding["kind"] for finding in self.report["findings"]]
        self.text = process.stdout

    def of(self, kind):
        return [name for finding in self.report["findings"] if finding["kind"] == kind for name in finding["names"]]


def preflight(directory, *flags):
    return Outcome(run(["-m", "outrider.audit.preflight", "--json", *flags, str(directory)]))


def write(directory, tensors, **fields):
    return artifacts.write_directory(str(directory), small_models.config(**fields), {"model.safetensors": tensors})


def write_bf16(directory, extra=(), without=()):
    tensors = {name: entry for name, entry in small_models.bf16().items() if name not in without}
    tensors.update(extra)
    return write(directory, tensors, quantization_config=None, expert_dtype="bf16")


def test_the_bundled_model_as_saved_is_repaired_by_sharing():
    found = preflight(small_models.BUNDLED)
    assert found.sound and found.kinds == ["repaired-by-sharing"]
    assert sorted(found.of("repaired-by-sharing")) == sorted([HEAD, EMBED])
    assert any("vLLM" in line for line in found.report["facts"].values()) and found.report["stand_ins"]


def test_two_pipeline_stages_leave_the_embedding_of_issue_43456_uninitialised():
    found = preflight(small_models.BUNDLED, "--pipeline-parallel-size", "2")
    assert not found.sound
    assert found.of("in-use-uninitialised") == [EMBED] and found.of("repaired-by-sharing") == [HEAD]
    assert "taken-by-nobody" not in found.kinds  # each stage leaves the other's tensors


@pytest.mark.parametrize("flags", [("--tensor-parallel-size", "2"),
                                   ("--tensor-parallel-size", "2", "--enable-expert-parallel")])  # fmt: skip
def test_ranks_together_take_everything(flags, tmp_path):
    found = preflight(write_bf16(tmp_path), *flags)
    assert found.kinds == ["repaired-by-sharing"] * 2, found.text


def test_a_model_that_cannot_be_split_is_named():
    found = preflight(small_models.BUNDLED, "--tensor-parallel-size", "2")
    assert found.kinds == ["load-stopped"] and "192 is not divisible by weight quantization block_n = 128" in found.text


def test_aliases_leave_nothing_to_report(tmp_path):
    aliases = {"mtp.0.head.weight": ("BF16", (2048, 256)), "mtp.0.emb.tok_emb.weight": ("BF16", (2048, 256))}
    found = preflight(write_bf16(tmp_path, aliases))
    assert found.sound and found.kinds == []  # sparse files: all zeros, so the copies are equal


def test_a_trained_draft_head_is_discarded(tmp_path):
    own = {"mtp.0.head.weight": ("BF16", (2048, 256))}
    directory = write_bf16(tmp_path, own)
    entry = __import__("outrider.audit.artifact", fromlist=["x"]).Directory(directory).entries["mtp.0.head.weight"]
    with open(entry.file, "r+b") as file:
        file.seek(entry.first)
        file.write(b"\x01\x3f" * 5)
    found = preflight(directory)
    assert found.of("own-head-discarded") == [HEAD]


def test_without_a_drafter_its_tensors_are_a_note():
    found = preflight(small_models.BUNDLED, "--no-drafter")
    assert found.sound and found.kinds == ["not-used"] and len(found.of("not-used")) == 87


def test_w4a16_whose_ignore_misses_the_drafter_s_prefix(tmp_path):
    config = dict(quantization_config=small_models.W4A16, expert_dtype=None)
    found = preflight(write(tmp_path / "missed", small_models.w4a16(), **config))
    assert found.kinds == ["load-stopped"] and "model.layers.6" in found.text and "`ignore`" in found.text
    named = {**small_models.W4A16, "ignore": [*small_models.W4A16["ignore"], "re:model\\.layers\\.6\\..*"]}
    found = preflight(write(tmp_path / "named", small_models.w4a16(), quantization_config=named, expert_dtype=None))
    assert found.sound, found.text


def test_half_an_expert_is_named(tmp_path):
    found = preflight(write_bf16(tmp_path, without=["layers.3.ffn.experts.5.w3.weight"]))
    (name,) = found.of("written-in-part")
    assert name == "model.layers.3.ffn.experts.routed_experts.w13_weight"
    assert "5 of 8 along dimension 0" in found.text


def test_dspark_with_two_stages_where_vllm_builds_three():
    """vLLM 0.33.0 takes the number of stages from n_mtp_layers, which no release has, or takes three."""
    found = preflight(os.path.join(ROOT, "models", "deepseek-v4-kjv-dspark"))
    assert not found.sound and any(name.startswith("model.layers.2.") for name in found.of("in-use-uninitialised"))


def test_full_size_from_a_list(tmp_path):
    """V4-Flash as released: 69,187 tensors, 1,543 parameters."""
    data = os.environ.get("OUTRIDER_SHARED_DATA") or os.path.join(ROOT, "..", "shared", "data")
    listed = os.path.join(data, "tensors", "V4-Flash_official_fp4fp8.tensors.tsv.xz")
    if not os.path.exists(listed):
        pytest.skip("%s does not exist" % listed)
    with open(os.path.join(data, "configs", "official_DeepSeek-V4-Flash.config.json")) as file:
        directory = artifacts.write_directory(str(tmp_path), json.load(file), artifacts.read_list(listed))
    began = time.monotonic()
    found = preflight(directory)
    print("preflight of V4-Flash: %.1f s, %s" % (time.monotonic() - began, found.report["facts"]))
    assert found.sound and found.kinds == ["repaired-by-sharing"], found.text


def test_an_unknown_version_is_refused(tmp_path):
    (tmp_path / "vllm-9.9.9.dist-info").mkdir()
    (tmp_path / "vllm-9.9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 9.9.9\n")
    found = run(["-m", "outrider.audit.preflight", small_models.BUNDLED], path=str(tmp_path))
    assert found.returncode == 2 and found.stdout == ""
    assert "vLLM 9.9.9 is installed; the preflight knows 0.33.0" in found.stderr


def test_a_directory_that_cannot_be_read(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    found = run(["-m", "outrider.audit.preflight", str(tmp_path)])
    assert found.returncode == 2 and "is not a safetensors file" in found.stderr


# The plugin


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """What pip leaves of the package's entry points."""
    site = tmp_path_factory.mktemp("site")
    information = site / "outrider_entry_points-0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: outrider-entry-points\nVersion: 0\n")
    (information / "entry_points.txt").write_text(
        "[vllm.general_plugins]\noutrider_audit = outrider.audit.vllm_plugin:register\n"
    )
    return str(site)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """A small Qwen3 with random weights, and the same without one half of a fused parameter."""
    transformers = pytest.importorskip("transformers")
    save_file = pytest.importorskip("safetensors.torch").save_file
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=512, tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.Qwen3ForCausalLM(config).to(torch.bfloat16)
    made = {}
    for kind in ("whole", "half"):
        made[kind] = str(tmp_path_factory.mktemp(kind))
        model.save_pretrained(made[kind])
        with open(os.path.join(made[kind], "config.json")) as file:
            fields = json.load(file)
        with open(os.path.join(made[kind], "config.json"), "w") as file:
            json.dump({**fields, "rope_theta": 10000.0}, file)
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        if kind == "half":
            del tensors["model.layers.1.mlp.gate_proj.weight"]
        save_file(tensors, os.path.join(made[kind], "model.safetensors"), metadata={"format": "pt"})
    return made


LOAD = os.path.join(ROOT, "tests", "audit", "vllm_load.py")


def test_a_right_load_passes_refuse_with_every_value_compared(plugin, qwen, tmp_path):
    report = tmp_path / "report.json"
    found = run([LOAD, qwen["whole"]], path=plugin, OUTRIDER_AUDIT="refuse", OUTRIDER_AUDIT_VALUES="all",
                OUTRIDER_AUDIT_REPORT=str(report))  # fmt: skip
    assert found.returncode == 0 and "BUILT" in found.stdout, found.stderr[-3000:]
    written = json.loads(report.read_text())
    assert written["findings"] == [] and "elements compared" in written["facts"]["values"]


def test_vllm_loads_half_a_fused_parameter_silently_and_warn_says_so(plugin, qwen):
    silent = run([LOAD, qwen["half"]], path=plugin)
    assert silent.returncode == 0 and "BUILT" in silent.stdout and "Outrider" not in silent.stdout + silent.stderr
    warned = run([LOAD, qwen["half"]], path=plugin, OUTRIDER_AUDIT="warn")
    assert warned.returncode == 0 and "BUILT" in warned.stdout
    assert "model.layers.1.mlp.gate_up_proj.weight 8192 of 16384 elements missing: 0-127 of 256" in (
        warned.stdout + warned.stderr
    )


def test_refuse_stops_before_serving(plugin, qwen):
    found = run([LOAD, qwen["half"]], path=plugin, OUTRIDER_AUDIT="refuse")
    assert found.returncode != 0 and "BUILT" not in found.stdout
    assert "OUTRIDER_AUDIT=refuse: NOT SOUND" in found.stderr


def test_preflight_of_another_family(qwen):
    assert preflight(qwen["whole"]).kinds == []
    assert preflight(qwen["half"]).of("written-in-part") == ["model.layers.1.mlp.gate_up_proj.weight"]


def test_importing_the_audit_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None\nimport outrider.audit\ntry: outrider.audit.audit\nexcept ImportError as e: print(e)"
    found = run(["-c", code])
    assert "pip install torch" in found.stdout
    assert sys.version_info >= (3, 9)
