"""Runs the release's model.py (not part of this repository) on a checkpoint directory.

`OfficialModel(model_py, directory)` imports that file with the kernels of kernels.py in place of its CUDA kernels.
With `exact` it runs in float32 on widened weights and rounds nothing, which shows the structure without the rounding.
With `float64_sums` it rounds as ever, but sums its products in float64: how far a result moves then is what the order of
sums decides.
"""

import functools
import importlib.util
import sys
import types
from pathlib import Path

import torch

from deepseek_v4.config import Config
from deepseek_v4.stored import read_tensors, widened, widened_weight

from . import kernels

# The inference config's names for the fields of config.json.
FIELDS = {
    "vocab_size": "vocab_size",
    "dim": "hidden_size",
    "moe_inter_dim": "moe_intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_hash_layers": "num_hash_layers",
    "n_mtp_layers": "num_nextn_predict_layers",
    "n_heads": "num_attention_heads",
    "n_routed_experts": "n_routed_experts",
    "n_shared_experts": "n_shared_experts",
    "n_activated_experts": "num_experts_per_tok",
    "score_func": "scoring_func",
    "route_scale": "routed_scaling_factor",
    "swiglu_limit": "swiglu_limit",
    "q_lora_rank": "q_lora_rank",
    "head_dim": "head_dim",
    "rope_head_dim": "qk_rope_head_dim",
    "norm_eps": "rms_norm_eps",
    "o_groups": "o_groups",
    "o_lora_rank": "o_lora_rank",
    "window_size": "sliding_window",
    "compress_ratios": "compress_ratios",
    "compress_rope_theta": "compress_rope_theta",
    "original_seq_len": "rope_original_max_position_embeddings",
    "rope_theta": "rope_theta",
    "rope_factor": "rope_factor",
    "beta_fast": "rope_beta_fast",
    "beta_slow": "rope_beta_slow",
    "index_n_heads": "index_n_heads",
    "index_head_dim": "index_head_dim",
    "index_topk": "index_topk",
    "hc_mult": "hc_mult",
    "hc_sinkhorn_iters": "hc_sinkhorn_iters",
    "hc_eps": "hc_eps",
}


# Of a model with DSpark; only model.py of V4-Flash-0731 and later has them.
DSPARK_FIELDS = {
    "n_mtp_layers": "dspark_stages",
    "dspark_block_size": "dspark_block_size",
    "dspark_noise_token_id": "dspark_noise_token_id",
    "dspark_target_layer_ids": "dspark_target_layer_ids",
    "dspark_markov_rank": "dspark_markov_rank",
}


class _Torch:
    """torch as it computes on a GPU, where that is not what it computes on a CPU."""

    def __getattr__(self, name):
        return getattr(torch, name)

    @staticmethod
    def rsqrt(x: torch.Tensor) -> torch.Tensor:
        """Of BF16 in float32, rounded once. On a CPU, elements that do not fill a vector get a rounded root and the
        rounded inverse of that: 2^-9 off, in heads and tokens that the shape of the batch decides."""
        return torch.rsqrt(x.float()).to(x.dtype)


def _import(model_py: Path, float64_sums: bool):
    kernel = types.ModuleType("kernel")
    for name in ("act_quant", "fp4_act_quant", "hc_split_sinkhorn"):
        setattr(kernel, name, getattr(kernels, name))
    sums = torch.float64 if float64_sums else torch.float32
    for name in ("fp8_gemm", "fp4_gemm", "sparse_attn"):
        setattr(kernel, name, functools.partial(getattr(kernels, name), sums=sums))
    hadamard = types.ModuleType("fast_hadamard_transform")
    hadamard.hadamard_transform = kernels.hadamard_transform
    sys.modules["kernel"], sys.modules["fast_hadamard_transform"] = kernel, hadamard
    spec = importlib.util.spec_from_file_location("official_model", model_py)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.torch = _Torch()
    if float64_sums:
        module.torch, module.F = kernels.Sums(module.torch), kernels.Sums(module.F)
    return module


def _leave_unrounded(module) -> None:
    module.act_quant = lambda x, *_, **__: x
    module.fp4_act_quant = lambda x, *_, **__: x
    module.rotate_activation = lambda x: kernels.hadamard_transform(x, x.shape[-1] ** -0.5)


class OfficialModel:
    """The release's Transformer with the tensors of a checkpoint in official names, FP4 and FP8 or BF16."""

    def __init__(
        self, model_py: Path, directory: Path, max_seq_len: int, exact: bool = False, float64_sums: bool = False
    ):
        self._module = _import(model_py, float64_sums)
        self._dtype = torch.float32 if exact else torch.bfloat16
        config = Config.load(directory)
        tensors = read_tensors(directory)
        if exact:
            tensors = widened(tensors)
            _leave_unrounded(self._module)
        quantized = any(name.endswith(".scale") for name in tensors)
        fields = {theirs: getattr(config, ours) for theirs, ours in FIELDS.items()}
        if config.dspark_block_size:
            fields |= {theirs: getattr(config, ours) for theirs, ours in DSPARK_FIELDS.items()} | {"temperature": 0}
        args = self._module.ModelArgs(
            max_batch_size=1,
            max_seq_len=max_seq_len,
            dtype="fp8" if quantized else "bf16",
            expert_dtype="fp4" if quantized else None,
            scale_fmt="ue8m0",
            scale_dtype="fp8",
            **fields,
        )
        self.model = self._with_dtype(self._module.Transformer, args).eval()
        if exact:
            self.model.float()
        self._fill(tensors)

    @torch.no_grad()
    def _fill(self, tensors: dict[str, torch.Tensor]) -> None:
        used = set()
        for name, parameter in self.model.named_parameters():
            if name.startswith("mtp.") and (".head." in name or ".embed." in name):
                continue  # the model's own
            value = tensors[name]
            used.add(name)
            scale = name.removesuffix(".weight") + ".scale"
            if name.endswith("wo_a.weight") and scale in tensors:
                used.add(scale)
                value = widened_weight(tensors, name)
            if parameter.dtype == torch.float4_e2m1fn_x2:
                parameter.data.view(torch.uint8).copy_(value.view(torch.uint8))
            elif parameter.shape != value.shape:
                raise ValueError(f"{name}: {list(value.shape)} on disk, {list(parameter.shape)} in model.py")
            else:
                parameter.data.copy_(value)
        if used != tensors.keys():
            raise ValueError(f"tensors that model.py has no place for: {sorted(tensors.keys() - used)[:5]}")

    def _with_dtype(self, call, *arguments):
        torch.set_default_dtype(self._dtype)
        try:
            with torch.no_grad():
                return call(*arguments)
        finally:
            torch.set_default_dtype(torch.float32)

    def _forget(self) -> None:
        """model.py begins a sequence without clearing its compressors: one whose first call is shorter than a window
        would see the last window of the sequence before it."""
        for name, state in self.model.named_buffers():
            if name.endswith(".kv_state"):
                state.zero_()
            elif name.endswith(".score_state"):
                state.fill_(float("-inf"))

    def step(self, tokens: torch.Tensor, next_tokens: torch.Tensor, position: int):
        """tokens [n] at `position` on, next_tokens [n] one later.

        -> logits [V] of the last token, streams after each layer [layers, S, D] of the last token, MTP logits [V].
        """
        if position == 0:
            self._forget()
        kept = []
        hooks = [layer.register_forward_hook(lambda _m, _i, out: kept.append(out)) for layer in self.model.layers]
        try:
            logits = self._with_dtype(self.model, tokens[None], position)
        finally:
            for hook in hooks:
                hook.remove()
        streams = torch.stack([h[0, -1].float() for h in kept])
        drafts = None
        if len(self.model.mtp):
            drafts = self._with_dtype(self.model.mtp[0], kept[-1], position, next_tokens[None])[0].float()
        return logits[0].float(), streams, drafts

    def layer(self, index: int, streams: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """One layer alone, on streams [n, S, D] given at positions 0 to n - 1 -> streams."""
        self._forget()
        return self._with_dtype(self.model.layers[index], streams[None], 0, tokens[None])[0]

    def mtp(self, streams: torch.Tensor, next_tokens: torch.Tensor) -> torch.Tensor:
        """The MTP block alone, on streams [n, S, D] given -> streams."""
        kept = []
        hook = self.model.head.register_forward_pre_hook(lambda _m, inputs: kept.append(inputs[0][0]))
        try:
            self._with_dtype(self.model.mtp[0], streams[None], 0, next_tokens[None])
        finally:
            hook.remove()
        return kept[0]

    def head(self, streams: torch.Tensor, of_mtp: bool) -> torch.Tensor:
        """streams [n, S, D] -> logits [V] of the last position, as the model or its MTP block mixes and norms them."""
        m = self.model.mtp[0] if of_mtp else self.model
        mixing = m.hc_head_fn, m.hc_head_scale, m.hc_head_base, m.norm
        return self._with_dtype(self.model.head, streams[None], *mixing)[0]
