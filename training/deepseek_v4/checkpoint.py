"""Official parameter names, the form each parameter is released in, and files of them."""

import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from .model import Model

HYPER_CONNECTION = re.compile(r"\b(hc_attn|hc_ffn|hc_head)\.(fn|base|scale)$")
FLOAT32 = re.compile(r"(hc_(attn|ffn|head)_(fn|base|scale)|attn_sink|gate\.bias|\.ape)$")


def official_name(name: str) -> str:
    """The name of a module's parameter or buffer -> the release's."""
    return HYPER_CONNECTION.sub(r"\1_\2", name)


def parameters(model: Model) -> dict[str, torch.Tensor]:
    """Every parameter under its official name, in fp32 (the routing tables in int64)."""
    return {official_name(name): value.detach() for name, value in model.state_dict().items()}


def load(model: Model, values: dict[str, torch.Tensor]) -> None:
    """The inverse of `parameters`; a name too many or too few is an error."""
    modules = {official_name(name): name for name in model.state_dict()}
    if modules.keys() != values.keys():
        raise ValueError(f"names that only one side has: {sorted(modules.keys() ^ values.keys())}")
    model.load_state_dict({modules[name]: value for name, value in values.items()})


def save_float32(model: Model, directory: Path) -> None:
    """Unquantised and unrounded: what other implementations are compared on."""
    tensors = {name: value.contiguous() for name, value in parameters(model).items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
