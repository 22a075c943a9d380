"""One audit: the models that are loaded from one artifact, and what became of each parameter and each tensor."""

import itertools
import time
from contextlib import contextmanager
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from outrider.audit.judge import judge
from outrider.audit.model_load import Exempt, ModelLoad
from outrider.audit.recorder import Recorder
from outrider.audit.report import Report
from outrider.audit.values import SAMPLE


class Audit:
    """Records loads and reports on them.

    artifact: the tensors by name, to compare values and to find those that were never offered; a mapping that reads a
    tensor when it is asked for is enough (`outrider.audit.artifact.Directory`). Without it only what is fed is known.
    limit: how many elements of each write are compared with the artifact's; None compares all."""

    def __init__(self, artifact: Optional[Mapping] = None, subject: str = "", limit: Optional[int] = SAMPLE):
        self.artifact = artifact
        self.subject = subject
        self.limit = limit
        self.recorder = Recorder()
        self.loads: List[ModelLoad] = []
        self.shared: Dict[int, Dict[str, str]] = {}  # per load: parameter that is another model's now, and its name there
        self.path = ""  # where the artifact is; what is loaded from elsewhere is not compared with it
        self.compares = True
        self.seconds = 0.0
        self.labels: Iterator[str] = itertools.chain(["target"], itertools.repeat("drafter"))
        self.whole = True  # whether the loads together are all ranks
        self.explain: Callable[[str, Exception], str] = lambda label, error: ""
        self.not_needed: Callable[[str], bool] = lambda name: False

    @contextmanager
    def constructing(self):
        """While a model is built, so that what is allocated and never filled is known."""
        with self.recorder:
            yield

    @contextmanager
    def loading(self, model, label: str = "", exempt: Optional[Exempt] = None, keep_going: bool = False):
        """While a model is loaded. An exception ends the audit of this model; with `keep_going` it ends here."""
        load = ModelLoad(label, model, exempt)
        self.loads.append(load)
        began = time.perf_counter()
        self.recorder.loading = True
        try:
            with self.recorder:
                yield load
        except Exception as error:
            load.why = self.explain(label, error)
            load.stopped = _sentence(error, "at the tensor %s" % self.recorder.current if self.recorder.current else "")
            if not keep_going:
                raise
        finally:
            self.recorder.loading = False
        if load.stopped is None:
            load.finish(self.recorder)
            load.compare(self.artifact if self.compares else None, self.limit)
        self.seconds += time.perf_counter() - began

    def feed(self, tensors: Iterable[Tuple[str, object]], origin: str = "") -> Iterator[Tuple[str, object]]:
        """Passes on pairs of name and tensor, which are the artifact's. `origin` goes before the names of another artifact."""
        for name, tensor in tensors:
            self.recorder.feed(origin + name, tensor)
            yield name, tensor

    @property
    def stopped(self) -> bool:
        return any(load.stopped for load in self.loads)

    def stop(self, label: str, error: Exception) -> None:
        """Records that a model could not be built."""
        load = ModelLoad(label, None)
        load.why = self.explain(label, error)
        load.stopped = _sentence(error, "while the model was built")
        self.loads.append(load)

    def next_label(self) -> str:
        return next(self.labels, "drafter")

    def in_use(self) -> None:
        """Looks at the models again, after the engine has let them share what they share."""
        owners: Dict[int, Tuple[ModelLoad, str]] = {}
        for index, load in enumerate(self.loads):
            now = {}
            for name, tensor in _tensors_of(load.model):
                owner, its_name = owners.get(_key(tensor), (load, name))
                if owner is not load and name in load.loaded and _key(tensor) != load.loaded[name].key:
                    now[name] = its_name
                owners.setdefault(_key(tensor), (load, name))
            self.shared.setdefault(index, now)

    def report(self) -> Report:
        began = time.perf_counter()
        findings = judge(self)
        report = Report(self.subject, findings)
        parameters = sum(len({id(loaded.storage) for loaded in load.loaded.values()}) for load in self.loads)
        report.facts.append(
            ("audited", "%d parameters of %s" % (parameters, ", ".join(_title(load) for load in self.loads)))
        )
        offered = "%d tensors offered" % len(self.recorder.fed)
        if self.artifact is not None:
            offered += " of %d" % len(self.artifact)
        report.facts.append(("artifact", offered))
        compared = sum(load.compared for load in self.loads)
        report.facts.append(("values", "%d elements compared with the artifact's" % compared if compared else "not compared"))
        seconds = self.seconds + time.perf_counter() - began
        report.facts.append(("operations", "%d, %.1f s with the load itself" % (self.recorder.operations, seconds)))
        return report


def _title(load: ModelLoad) -> str:
    name = type(load.model).__name__ if load.model is not None else "a model that was not built"
    return "%s%s" % (name, " (%s)" % load.label if load.label else "")


def _sentence(error: Exception, where: str) -> str:
    said = " ".join(str(error).split())[:500]
    return "%s%s%s" % (type(error).__name__, " " + where if where else "", ": " + said if said else "")


def _key(tensor) -> Tuple:
    return (tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape))


def _tensors_of(model):
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)
