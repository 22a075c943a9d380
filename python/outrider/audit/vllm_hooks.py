"""Wraps vLLM's loaders so that every model they build and load is audited."""

import functools
from typing import Callable

from outrider.audit import vllm_models

_MARK = "_outrider_audit"


def install(session: Callable, keep_going: bool = False) -> None:
    """Wraps create_model and load_weights of every loader class. session() gives the Audit to record in, or None.
    Idempotent. With `keep_going` an exception of a load becomes a finding."""
    from vllm.model_executor import model_loader

    classes = {model_loader.BaseModelLoader, *model_loader._LOAD_FORMAT_TO_MODEL_LOADER.values()}
    for loader in classes:
        for name, wrap in (("create_model", _create), ("load_weights", _load)):
            method = vars(loader).get(name)
            if method is not None and not getattr(method, _MARK, False) and not getattr(method, "__isabstractmethod__", 0):
                wrapped = functools.wraps(method)(wrap(method, session, keep_going))
                setattr(wrapped, _MARK, True)
                setattr(loader, name, wrapped)


def _create(method, session, keep_going):
    def create_model(self, *arguments, **named):
        audit = session()
        if audit is None:
            return method(self, *arguments, **named)
        with audit.constructing():
            return method(self, *arguments, **named)

    return create_model


def _load(method, session, keep_going):
    def load_weights(self, model, model_config, *arguments, **named):
        audit = session()
        if audit is None or any(load.model is model for load in audit.loads):  # a loader that calls another's
            return method(self, model, model_config, *arguments, **named)
        with audit.loading(model, audit.next_label(), vllm_models.exempt, keep_going):
            take = model.load_weights
            origin = model_config.model + ": " if audit.path and model_config.model != audit.path else ""
            model.load_weights = lambda weights, *a, **n: take(audit.feed(weights, origin), *a, **n)
            try:
                return method(self, model, model_config, *arguments, **named)
            finally:
                del model.load_weights

    return load_weights
