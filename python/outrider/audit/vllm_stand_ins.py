"""What vLLM asks of a GPU while it builds and loads a model, answered without one.

Each stand-in is listed in the report. None of them creates, maps or writes a parameter: layers, quantisation methods,
weight loaders and the sharing between target and drafter are vLLM's own. Knows the versions in KNOWN."""

import contextlib
import importlib
import os
import pkgutil
import sys
from typing import Iterator, List

KNOWN = ("0.33.0",)


class Unknown(Exception):
    """A vLLM that this module was not written for, or none."""


def version(untested: bool = False) -> str:
    """The version of the vLLM that is installed. Raises Unknown unless it is known, or `untested` is given."""
    from importlib import metadata

    try:
        found = metadata.version("vllm")
    except metadata.PackageNotFoundError:
        raise Unknown("vLLM is not installed in %s. Install it: pip install 'outrider[vllm]'" % sys.executable) from None
    if found.split("+")[0] not in KNOWN and not untested:
        raise Unknown(
            "vLLM %s is installed; the preflight knows %s. Install one of these, or give --untested-version to try it "
            "anyway." % (found, ", ".join(KNOWN))
        )
    return found


class Kernel:
    """In place of a kernel of a GPU: chosen while layers are built, used only when they run."""

    def __init__(self, *arguments, **named):
        pass


class _Stream:
    def __init__(self, *arguments, **named):
        pass


def platform(capability: str, world_size: int) -> List[str]:
    """Makes vLLM believe in a GPU. Call it before anything of vLLM but vllm.platforms is imported."""
    import torch
    import vllm.platforms as platforms
    from vllm.platforms.cpu import CpuPlatform
    from vllm.platforms.interface import DeviceCapability

    major, minor = (int(part) for part in capability.split("."))

    class PreflightPlatform(CpuPlatform):
        asked_for_models = False

        @classmethod
        def get_device_capability(cls, device_id: int = 0):
            return DeviceCapability(major, minor)

        def is_cpu(self) -> bool:  # some model packages choose their classes by it when they are imported
            return not self.asked_for_models

        @classmethod
        def check_and_update_config(cls, vllm_config) -> None:
            vllm_config.parallel_config.worker_cls = "vllm.v1.worker.gpu_worker.Worker"

    platforms._current_platform = PreflightPlatform()
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "1")
    for name in ("Stream", "Event"):
        setattr(torch.cuda, name, _Stream)
    return [
        "platform: vLLM's CpuPlatform, which claims compute capability %s" % capability,
        "model runner V2: chosen as where Triton finds a GPU; VLLM_USE_V2_MODEL_RUNNER=0 asks for V1",
        "torch.cuda.Stream and Event: empty objects",
    ]


@contextlib.contextmanager
def model_classes_of_a_gpu() -> Iterator[None]:
    """While vLLM imports the classes of a model: those for NVIDIA instead of those for CPUs."""
    import vllm.platforms as platforms

    platform = platforms._current_platform
    platform.asked_for_models = True
    try:
        yield
    finally:
        platform.asked_for_models = False


def kernels() -> List[str]:
    """Replaces the choice of kernels, which no CPU passes."""
    import vllm.model_executor.kernels.linear as linear
    import vllm.model_executor.layers.fused_moe.oracle as oracle

    replaced = {
        "choose_scaled_mm_linear_kernel": lambda *arguments, **named: Kernel,
        "choose_mp_linear_kernel": lambda *arguments, **named: Kernel,
    }
    for name, function in replaced.items():
        setattr(linear, name, function)
    for found in pkgutil.iter_modules(oracle.__path__):
        module = importlib.import_module(oracle.__name__ + "." + found.name)
        for name in dir(module):
            if name.startswith("select_") and name.endswith("moe_backend") and name not in replaced:
                replaced[name] = _moe_backend(module)
                setattr(module, name, replaced[name])
    for module in [value for key, value in list(sys.modules.items()) if key.startswith("vllm.")]:
        for name, function in replaced.items():
            if name in vars(module):
                setattr(module, name, function)
    return [
        "linear kernels (choose_scaled_mm_linear_kernel, choose_mp_linear_kernel): none, they are used only to run",
        "MoE backend (select_*_moe_backend): Marlin or Triton, which keep the layout of the checkpoint",
    ]


def _moe_backend(module):
    backends = [value for name, value in vars(module).items() if name.endswith("Backend") and hasattr(value, "__members__")]
    members = list(backends[0]) if backends else [None]
    by_name = {getattr(member, "name", ""): member for member in members}
    chosen = by_name.get("MARLIN") or by_name.get("TRITON") or members[0]

    def select(*arguments, **named):
        classes = getattr(module, "backend_to_kernel_cls", lambda backend: None)(chosen)
        return chosen, classes[0] if isinstance(classes, (list, tuple)) else classes

    return select


def loader(artifact) -> List[str]:
    """Feeds the headers: each tensor with its dtype and shape, on the meta device."""
    import torch
    import vllm.model_executor.model_loader.base_loader as base_loader
    import vllm.platforms as platforms
    import vllm.model_executor.model_loader.default_loader as default_loader
    from vllm.model_executor.model_loader.ep_weight_filter import should_skip_weight

    from outrider.audit.artifact import torch_dtype

    by_file: dict = {}
    for name, entry in artifact.entries.items():
        by_file.setdefault(os.path.realpath(entry.file), []).append(name)

    def headers(files, *arguments, **named):
        local = named.get("local_expert_ids")
        for file in files:
            for name in by_file.get(os.path.realpath(file), ()):
                if local is not None and should_skip_weight(name, local):
                    continue
                entry = artifact.entries[name]
                yield name, torch.empty(entry.shape, dtype=torch_dtype(entry.dtype), device="meta")

    default_loader.safetensors_weights_iterator = headers
    base_loader.process_weights_after_loading = lambda *arguments: None
    torch.accelerator.empty_cache = lambda: None
    platforms._current_platform.device_type = "meta"  # some layers allocate on the platform's device by name
    return [
        "safetensors_weights_iterator: the same names in the same order, on the meta device, from the headers",
        "process_weights_after_loading: not run, it computes from values",
    ]


def head_sizes(listed: List[str]) -> None:
    """Lets a small DeepSeek-V4 be built: its compressor refuses head sizes that no kernel has, after all parameters exist."""
    with model_classes_of_a_gpu():
        from vllm.models.deepseek_v4.compressor import DeepseekCompressor

    build = DeepseekCompressor.__init__

    def tolerant(self, *arguments, **named):
        try:
            build(self, *arguments, **named)
        except ValueError as error:
            if "head_dim" not in str(error):
                raise
            line = "DeepseekCompressor: its refusal of head_dim %s was set aside; vLLM will not run this model" % self.head_dim
            if line not in listed:
                listed.append(line)

    DeepseekCompressor.__init__ = tolerant


def rank(pipeline: int, pipeline_size: int, tensor: int, tensor_size: int) -> None:
    """Makes the groups of this one process look like one rank of many. Loading needs no communication."""
    import vllm.distributed.parallel_state as state

    groups = {state.get_pp_group(): (pipeline, pipeline_size), state.get_tp_group(): (tensor, tensor_size)}
    if getattr(state, "_EP", None) is not None:
        groups[state._EP] = (tensor, tensor_size)
    for group, (index, size) in groups.items():
        group.ranks, group.rank, group.rank_in_group, group.world_size = list(range(size)), index, index, size
