"""from_pretrained under the audit."""

import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")

from outrider.audit import audit_pretrained  # noqa: E402

SMALL = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, head_dim=16, max_position_embeddings=64)  # fmt: skip


def save(directory, config_class="LlamaConfig", model_class="LlamaForCausalLM", dtype=torch.bfloat16, **fields):
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**{**SMALL, **fields})
    getattr(transformers, model_class)(config).to(dtype).save_pretrained(directory)
    return getattr(transformers, model_class)


def change(directory, edit):
    file = directory / "model.safetensors"
    tensors = safetensors_torch.load_file(file)
    edit(tensors)
    safetensors_torch.save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize("tied", [False, True])
def test_a_right_load_of_llama_has_no_findings(tmp_path, tied):
    model_class = save(tmp_path, tie_word_embeddings=tied)
    _, report = audit_pretrained(model_class, tmp_path)
    assert report.findings == [], report.text()


def test_a_right_load_of_experts_that_are_stacked_while_loading(tmp_path):
    model_class = save(tmp_path, "Qwen3MoeConfig", "Qwen3MoeForCausalLM", num_experts=4, num_experts_per_tok=2,
                       moe_intermediate_size=16)  # fmt: skip
    _, report = audit_pretrained(model_class, tmp_path)
    assert report.findings == [], report.text()


def test_a_missing_tensor_is_named(tmp_path):
    model_class = save(tmp_path)
    change(tmp_path, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    _, report = audit_pretrained(model_class, tmp_path)
    names = report.of("never-written") + report.of("in-use-uninitialised")
    assert names == ["model.layers.1.mlp.up_proj.weight"]


def test_a_tensor_that_nobody_takes_is_named(tmp_path):
    model_class = save(tmp_path)
    change(tmp_path, lambda tensors: tensors.update({"model.layers.0.extra.weight": torch.ones(3)}))
    _, report = audit_pretrained(model_class, tmp_path)
    assert report.of("taken-by-nobody") == ["model.layers.0.extra.weight"]


def test_values_are_compared_not_only_names(tmp_path):
    model_class = save(tmp_path)

    class Forgetful(model_class):
        """A class whose construction after the load overwrites what was loaded, which output_loading_info does not see."""

        @classmethod
        def from_pretrained(cls, *arguments, **named):
            model = model_class.from_pretrained(*arguments, **named)
            model.lm_head.weight.data[5].zero_()
            return model

    _, report = audit_pretrained(Forgetful, tmp_path)
    assert not report.sound and "lm_head.weight" in report.text()


def test_the_report_is_json(tmp_path):
    model_class = save(tmp_path)
    _, report = audit_pretrained(model_class, tmp_path)
    assert json.loads(report.json())["sound"] is True
