"""Builds and loads vLLM's models for every rank. Imported after the stand-in platform is in place."""

import json
import os
import tempfile
import uuid

from outrider.audit import vllm_hooks, vllm_models
from outrider.audit import vllm_stand_ins as stand_ins
from outrider.audit.artifact import Unreadable
from outrider.audit.report import Report
from outrider.audit.session import Audit


def run(options, artifact, listed) -> Report:
    config, method = _engine_config(options, artifact)
    listed = listed + stand_ins.kernels() + stand_ins.loader(artifact)
    if config.model_config.hf_config.model_type == "deepseek_v4":
        stand_ins.head_sizes(listed)
    _one_process(config)
    audit = Audit(artifact, "preflight of %s" % options.directory)
    vllm_hooks.install(lambda: audit, keep_going=True)
    audit.explain = lambda label, error: vllm_models.explain(config, label, error)
    if method is None:
        audit.not_needed = vllm_models.drafter_tensor(config.model_config.hf_config)
    stages, ranks = options.pipeline_parallel_size, options.tensor_parallel_size
    if stages * ranks > 1:
        listed.append("process groups: of one process, which takes the place of each rank in turn")
    for stage in range(stages):
        for rank in range(ranks):
            stand_ins.rank(stage, stages, rank, ranks)
            where = (", stage %d of %d" % (stage, stages)) * (stages > 1) + (", rank %d of %d" % (rank, ranks)) * (ranks > 1)
            _load_rank(audit, config, where, method if stage == stages - 1 else None)
            if audit.stopped:
                break
        if audit.stopped:
            break
    report = audit.report()
    report.stand_ins = listed
    report.facts.insert(0, ("drafter", _drafter_text(config, method)))
    return report


def _engine_config(options, artifact):
    from vllm.engine.arg_utils import EngineArgs

    speculative = options.speculative_config
    if speculative is None and not options.no_drafter:
        speculative = _own_drafter(artifact)
    method = speculative.get("method") if speculative else None
    try:
        with stand_ins.model_classes_of_a_gpu():
            config = EngineArgs(
                model=options.directory,
                tokenizer=options.directory,
                skip_tokenizer_init=True,
                enforce_eager=True,
                load_format="safetensors",
                dtype=options.dtype,
                max_model_len=_length(options.directory),
                max_num_batched_tokens=4096,
                pipeline_parallel_size=options.pipeline_parallel_size,
                tensor_parallel_size=options.tensor_parallel_size,
                enable_expert_parallel=options.enable_expert_parallel,
                speculative_config=speculative,
                trust_remote_code=options.trust_remote_code,
                distributed_executor_backend="mp" if options.pipeline_parallel_size * options.tensor_parallel_size > 1 else None,
            ).create_engine_config()
    except Exception as error:
        if os.environ.get("OUTRIDER_TRACEBACK"):
            raise
        raise Unreadable(
            "vLLM refuses the configuration of %s: %s" % (options.directory, " ".join(str(error).split())[:800])
        ) from error
    config.load_config.device = "meta"
    return config, method


def _length(directory: str):
    """A short context, so that buffers stay small; no longer than the model's."""
    try:
        with open(os.path.join(directory, "config.json")) as file:
            fields = json.load(file)
        longest = fields.get("text_config", fields).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError) as error:
        raise Unreadable("config.json of %s cannot be read: %s" % (directory, error)) from error
    return min(4096, longest) if isinstance(longest, int) and longest > 0 else None


def _own_drafter(artifact):
    """The speculative config for the drafter that is in the artifact, by its tensors."""
    names = artifact.entries
    if "mtp.0.main_proj.weight" in names:
        return {"method": "dspark", "num_speculative_tokens": 5}
    if any(name.startswith("mtp.") and name.endswith("enorm.weight") for name in names):
        return {"method": "mtp", "num_speculative_tokens": 1}
    return None


def _drafter_text(config, method) -> str:
    if method is None:
        return "none"
    architecture = config.speculative_config.draft_model_config.architecture
    return "%s (method %s), model runner V%d" % (architecture, method, 2 if config.use_v2_model_runner else 1)


def _one_process(config) -> None:
    from vllm.config import set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel

    sizes = config.parallel_config.pipeline_parallel_size, config.parallel_config.tensor_parallel_size
    config.parallel_config.pipeline_parallel_size = config.parallel_config.tensor_parallel_size = 1
    rendezvous = os.path.join(tempfile.gettempdir(), "outrider-preflight-" + uuid.uuid4().hex)
    with set_current_vllm_config(config):
        init_distributed_environment(1, 0, "file://" + rendezvous, 0, "gloo")
        initialize_model_parallel(1, 1)
    config.parallel_config.pipeline_parallel_size, config.parallel_config.tensor_parallel_size = sizes


def _load_rank(audit, config, where: str, method) -> None:
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader import get_model

    config.compilation_config.static_forward_context.clear()
    audit.labels = iter(["target" + where, "drafter" + where])
    try:
        with set_current_vllm_config(config), stand_ins.model_classes_of_a_gpu():
            target = get_model(vllm_config=config)
            if method is not None and not audit.loads[-1].stopped:
                _load_drafter(config, target, method)
    except Exception as error:
        if os.environ.get("OUTRIDER_TRACEBACK"):
            raise
        audit.stop(next(audit.labels, "drafter" + where), error)
    if not audit.stopped:
        audit.in_use()


def _load_drafter(config, target, method: str) -> None:
    """As the model runner does: its own function loads the drafter and shares the target's head and embedding."""
    if method == "dspark":
        from vllm.v1.worker.gpu.spec_decode.dspark.utils import load_dspark_model

        load_dspark_model(target, config)
    elif config.use_v2_model_runner:
        from vllm.v1.worker.gpu.spec_decode.eagle.utils import load_eagle_model

        load_eagle_model(target, config)
    else:
        _load_with_runner_1(config, target)


def _load_with_runner_1(config, target) -> None:
    from types import SimpleNamespace

    from vllm.model_executor.model_loader import get_model
    from vllm.v1.spec_decode.llm_base_proposer import SpecDecodeBaseProposer

    model = get_model(vllm_config=config, model_config=config.speculative_config.draft_model_config)
    proposer = SimpleNamespace(model=model, vllm_config=config, use_local_argmax_reduction=False)
    SpecDecodeBaseProposer._maybe_share_embeddings(proposer, target)
    SpecDecodeBaseProposer._maybe_share_lm_head(proposer, target)
