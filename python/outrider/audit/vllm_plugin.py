"""vLLM's entry point `vllm.general_plugins`: audits every load of a server.

OUTRIDER_AUDIT=warn logs the report after loading; refuse also stops before serving if it is not sound. Unset or off:
nothing is changed. OUTRIDER_AUDIT_VALUES: sample (default), all or none of the elements are compared with the artifact's.
OUTRIDER_AUDIT_REPORT=FILE: the report as JSON; {rank} in FILE is replaced by the rank."""

import functools
import os
from typing import Optional

MODES = ("warn", "refuse")
_session = {"audit": None}


class NotSound(RuntimeError):
    """The load is not sound, and OUTRIDER_AUDIT=refuse was asked for."""


def mode() -> Optional[str]:
    asked = os.environ.get("OUTRIDER_AUDIT", "").strip().lower()
    if asked in ("", "off", "0"):
        return None
    if asked not in MODES:
        raise ValueError("OUTRIDER_AUDIT is %r; it may be warn, refuse or off" % asked)
    return asked


def register() -> None:
    """Called by vLLM in each of its processes, perhaps more than once."""
    if mode() is None:
        return
    from outrider.audit import vllm_hooks

    vllm_hooks.install(_current)
    import importlib

    for path in ("vllm.v1.worker.gpu_worker.Worker", "vllm.v1.worker.cpu_worker.CPUWorker"):
        module, name = path.rsplit(".", 1)
        try:
            worker = getattr(importlib.import_module(module), name)
        except ImportError:
            continue  # a build of vLLM without this kind of worker
        method = vars(worker).get("load_model")
        if method is not None and not getattr(method, vllm_hooks._MARK, False):
            wrapped = functools.wraps(method)(_then_report(method))
            setattr(wrapped, vllm_hooks._MARK, True)
            worker.load_model = wrapped


def _then_report(load_model):
    def load_and_report(self, *arguments, **named):
        result = load_model(self, *arguments, **named)
        finish()
        return result

    return load_and_report


def _current():
    if _session["audit"] is None:
        _session["audit"] = _new_audit()
    return _session["audit"]


def _new_audit():
    from vllm.config import get_current_vllm_config_or_none

    from outrider.audit import vllm_models
    from outrider.audit.session import Audit
    from outrider.audit.values import SAMPLE

    values = os.environ.get("OUTRIDER_AUDIT_VALUES", "sample")
    if values not in ("sample", "all", "none"):
        raise ValueError("OUTRIDER_AUDIT_VALUES is %r; it may be sample, all or none" % values)
    config = get_current_vllm_config_or_none()
    audit = Audit(None, "audit of a load", None if values == "all" else SAMPLE)
    audit.compares = values != "none"
    if config is not None:
        audit.path = config.model_config.model
        audit.subject = "audit of %s" % audit.path
        audit.artifact = _artifact(config.model_config)
        parallel = config.parallel_config
        audit.whole = parallel.world_size_across_dp == 1
        if config.speculative_config is None:
            audit.not_needed = vllm_models.drafter_tensor(config.model_config.hf_config)
    return audit


def _artifact(model_config):
    """The artifact's files, if they are safetensors on this machine."""
    from outrider.audit.artifact import Directory, Unreadable

    path = model_config.model
    try:
        if not os.path.isdir(path):
            from huggingface_hub import snapshot_download

            path = snapshot_download(path, revision=model_config.revision, local_files_only=True)
        return Directory(path)
    except (Unreadable, OSError, ValueError):
        return None


def finish():
    """Reports on what was loaded since the last report, and refuses it if that was asked for."""
    from vllm.logger import init_logger

    audit, _session["audit"] = _session["audit"], None
    if audit is None or not audit.loads:
        return None
    audit.in_use()
    report = audit.report()
    _write(report)
    logger = init_logger("vllm.outrider")
    if report.sound:
        logger.info("Outrider: %s", report.summary())
    else:
        logger.warning("Outrider:\n%s", report.text())
        if mode() == "refuse":
            raise NotSound("OUTRIDER_AUDIT=refuse: %s. The report above says where and what to do." % report.summary())
    return report


def _write(report) -> None:
    path = os.environ.get("OUTRIDER_AUDIT_REPORT")
    if path:
        import torch.distributed as distributed

        rank = distributed.get_rank() if distributed.is_initialized() else 0
        with open(path.replace("{rank}", str(rank)), "w") as file:
            file.write(report.json() + "\n")
