"""What an audit has to know of vLLM's models: which parameters no checkpoint carries, and how drafters are named."""

import re
from typing import Optional

from outrider.audit.model_load import PADDED

_CONFIG_BUILT = ("input_scale_ub",)  # of vllm's default_loader: computed from the quantisation config


def exempt(module_name: str, module, short: str, parameter) -> Optional[str]:
    """Why a parameter need not come from the artifact; None if it must."""
    from vllm.model_executor.layers.quantization.kv_cache import BaseKVCacheMethod

    method = getattr(module, "quant_method", None)
    if isinstance(method, BaseKVCacheMethod):
        return "scales of the KV cache have defaults"
    if getattr(method, "uses_meta_device", False):
        return "quantised while loading"
    if short in _CONFIG_BUILT:
        return "computed from the quantisation config"
    if short.endswith("weight_shape"):
        return "sizes that compressed-tensors stores beside packed weights; vLLM does not use them"
    moe = getattr(module, "moe_config", None)
    for size in ("hidden_dim", "intermediate_size_per_partition"):
        if getattr(moe, size + "_unpadded", None) not in (None, getattr(moe, size, None)):
            return PADDED
    return None


def explain(config, label: str, error: Exception) -> str:
    """A likely reason why the load of a drafter stopped; empty if none is known."""
    quantisation = config.model_config.quantization
    if label.startswith("drafter") and isinstance(error, KeyError) and quantisation == "compressed-tensors":
        layers = config.model_config.hf_config.num_hidden_layers
        return (
            "vLLM builds the drafter as model.layers.%d: an `ignore` that names only mtp.* does not match it, so its "
            "modules are built quantised while their tensors are not. Add `re:model\\.layers\\.%d\\..*` to ignore."
            % (layers, layers)
        )
    return ""


def drafter_tensor(config):
    """A function that says whether a tensor's name is a drafter's: mtp.*, or a layer after the model's last."""
    text = getattr(config, "text_config", None) or config
    layers = getattr(text, "num_hidden_layers", None)
    pattern = re.compile(r"(?:^|\.)layers\.(\d+)\.")

    def is_drafter(name: str) -> bool:
        if name.startswith(("mtp.", "model.mtp.")) or ".mtp." in name:
            return True
        found = pattern.search(name)
        return bool(found and layers is not None and int(found.group(1)) >= layers)

    return is_drafter
