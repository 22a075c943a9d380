"""Loads an artifact with vLLM's own loader, on the CPU, with real values, under the plugin that vLLM itself loads.

    vllm_load.py DIR    the plugin's environment variables are the caller's

Prints BUILT once the worker's load_model has returned. There is no GPU here, so the worker is vLLM's class with a model
runner that only loads; everything between is vLLM's: entry points, Worker.load_model, DefaultModelLoader."""

import os
import sys
import tempfile
import types
import uuid

os.environ["VLLM_TARGET_DEVICE"] = "cpu"
os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")


def main(directory):
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    from outrider.audit import vllm_plugin

    vllm_plugin.register()  # once more: must change nothing

    import torch
    from vllm.config import set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader import get_model
    from vllm.v1.worker.gpu_worker import Worker

    torch.accelerator.empty_cache = lambda: None
    config = EngineArgs(model=directory, skip_tokenizer_init=True, enforce_eager=True, max_model_len=64).create_engine_config()
    with set_current_vllm_config(config):
        init_distributed_environment(1, 0, "file://" + os.path.join(tempfile.gettempdir(), uuid.uuid4().hex), 0, "gloo")
        initialize_model_parallel(1, 1)

    class LoadingWorker(Worker):
        def __init__(self):
            self.vllm_config, self.device = config, torch.device("cpu")
            self.model_runner = types.SimpleNamespace(load_model=lambda **named: get_model(vllm_config=config))

        def _maybe_get_memory_pool_context(self, tag):
            import contextlib

            return contextlib.nullcontext()

        def _scoped_allocator_max_split(self, **named):
            import contextlib

            return contextlib.nullcontext()

    LoadingWorker().load_model()
    print("BUILT")


if __name__ == "__main__":
    main(sys.argv[1])
