"""Audits the load of any torch module."""

from typing import Callable, Iterable, Mapping, Optional, Tuple, Union

from outrider.audit.model_load import Exempt
from outrider.audit.report import Report
from outrider.audit.session import Audit
from outrider.audit.values import SAMPLE

Tensors = Union[Mapping, Iterable[Tuple[str, object]]]


def audit(
    model,
    load: Callable,
    tensors: Tensors,
    artifact: Optional[Mapping] = None,
    exempt: Optional[Exempt] = None,
    limit: Optional[int] = SAMPLE,
) -> Report:
    """Runs `load(tensors)` and reports what it did to the parameters of `model`.

    model: a torch module, or a function that builds one; built here, what is allocated and never filled is known.
    load: takes the tensors, e.g. `model.load_state_dict` or vLLM's `model.load_weights`; given a function that builds
    the model, it takes the model first.
    tensors: a mapping or pairs of name and tensor. A mapping is also the artifact that values are compared with."""
    session = Audit(artifact if artifact is not None else _values(tensors), "audit of a load", limit)
    if isinstance(model, type) or not hasattr(model, "named_parameters"):
        build, take = model, load
        with session.constructing():
            model = build()
        load = lambda given: take(model, given)  # noqa: E731
    session.subject = "audit of %s" % type(model).__name__
    if isinstance(tensors, Mapping):
        given = dict(tensors)
        for name, tensor in given.items():
            session.recorder.feed(name, tensor, reused=False)
    else:
        given = session.feed(tensors)
    with session.loading(model, exempt=exempt, keep_going=True):
        load(given)
    session.in_use()
    return session.report()


def _values(tensors: Tensors) -> Optional[Mapping]:
    return {name: tensor.clone() for name, tensor in tensors.items()} if isinstance(tensors, Mapping) else None
