"""Audits transformers' from_pretrained, which reports missing keys and shapes but not values."""

import contextlib
import importlib
import os
from typing import Optional

from outrider.audit.artifact import Directory
from outrider.audit.report import Report
from outrider.audit.session import Audit
from outrider.audit.values import SAMPLE

_READERS = ("transformers.modeling_utils", "transformers.core_model_loading", "transformers.integrations.tensor_parallel")


def audit_pretrained(model_class, directory, *arguments, limit: Optional[int] = SAMPLE, **named):
    """model_class.from_pretrained(directory, ...) under an audit: the model and the report. The directory is local and
    holds safetensors files."""
    audit = Audit(Directory(str(directory)), "audit of %s.from_pretrained(%s)" % (model_class.__name__, directory), limit)
    audit.recorder.loading = True
    with _announced(audit), _one_thread(), audit.recorder:
        model = model_class.from_pretrained(directory, *arguments, **named)
    audit.recorder.loading = False
    with audit.loading(model):
        pass  # loaded already: only what became of the parameters is looked at
    ignored = _ignored(model)
    audit.not_needed = lambda name: any(pattern.search(name) for pattern in ignored)
    return model, audit.report()


def _ignored(model):
    """What the model class says it leaves out of a checkpoint."""
    import re

    return [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]


@contextlib.contextmanager
def _one_thread():
    """A dispatch mode sees its own thread only."""
    before = os.environ.get("HF_DEACTIVATE_ASYNC_LOAD")
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_DEACTIVATE_ASYNC_LOAD"]
        else:
            os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = before


@contextlib.contextmanager
def _announced(audit: Audit):
    """Each tensor that is read from a safetensors file is announced as the artifact's."""
    replaced = []
    for name in _READERS:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if hasattr(module, "safe_open"):
            replaced.append((module, module.safe_open))
            module.safe_open = _opener(audit, module.safe_open)
    try:
        yield
    finally:
        for module, original in replaced:
            module.safe_open = original


def _opener(audit: Audit, original):
    class Slice:
        def __init__(self, name, inner):
            self._name, self._inner = name, inner

        def __getattr__(self, attribute):
            return getattr(self._inner, attribute)

        def __getitem__(self, index):
            tensor = self._inner[index]
            if tuple(tensor.shape) == tuple(self._inner.get_shape()):
                audit.recorder.feed(self._name, tensor)
            return tensor

    class File:
        def __init__(self, *arguments, **named):
            self._inner = original(*arguments, **named)

        def __enter__(self):
            self._inner.__enter__()
            return self

        def __exit__(self, *exception):
            return self._inner.__exit__(*exception)

        def __getattr__(self, attribute):
            return getattr(self._inner, attribute)

        def get_tensor(self, name):
            tensor = self._inner.get_tensor(name)
            audit.recorder.feed(name, tensor)
            return tensor

        def get_slice(self, name):
            return Slice(name, self._inner.get_slice(name))

    return File
