"""The module in one process with what artifacts are made with: torch, transformers, safetensors, compressed-tensors."""

import pytest

torch = pytest.importorskip("torch", reason="torch, transformers and compressed-tensors are not installed here")
compressed_tensors = pytest.importorskip("compressed_tensors")
safetensors_torch = pytest.importorskip("safetensors.torch")
transformers = pytest.importorskip("transformers")

import outrider  # noqa: E402: after the others, whose libraries are loaded then
from conftest import MODEL  # noqa: E402


def test_the_line_after_saving(tmp_path):
    outrider.convert(MODEL, tmp_path / "hf", to="huggingface")
    outrider.quantize(tmp_path / "hf", tmp_path / "bf16", "bf16")
    outrider.convert(tmp_path / "bf16", tmp_path / "for-transformers", to="huggingface")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "for-transformers", dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "saved")
    report = outrider.check(tmp_path / "saved")
    assert report.complete, report
    with pytest.raises(outrider.ArtifactError):
        outrider.verify(tmp_path / "saved", reference=MODEL, strict=True)  # F32 parameters were cast to BF16


def test_a_tensor_dropped_by_hand(tmp_path):
    outrider.convert(MODEL, tmp_path / "copy", to="official")
    shard = sorted((tmp_path / "copy").glob("*.safetensors"))[0]
    tensors = safetensors_torch.load_file(shard)
    name = next(iter(tensors))
    del tensors[name]
    safetensors_torch.save_file(tensors, shard)
    with pytest.raises(outrider.ArtifactError, match=name.replace(".", r"\.")):
        outrider.verify(tmp_path / "copy")


def test_compressed_tensors_reads_what_quantize_writes(tmp_path):
    outrider.quantize(MODEL, tmp_path / "w4", "w4a16-fp8", mtp=True)
    config = transformers.PretrainedConfig.get_config_dict(tmp_path / "w4")[0]["quantization_config"]
    read = compressed_tensors.quantization.QuantizationConfig.model_validate(config)
    assert {"pack-quantized", "float-quantized"} & {read.format, *(g.format for g in read.config_groups.values())}
