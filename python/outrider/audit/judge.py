"""From what was recorded to findings."""

from typing import Dict, List, Optional

from outrider.audit import coverage, values
from outrider.audit.model_load import PADDED, Loaded, ModelLoad
from outrider.audit.report import Finding, ranges

_INITIAL = {
    "uninitialised": "as allocated",
    "constant": "a constant",
    "random": "random values",
    "computed": "computed values",
    "unknown": "its values from before the load",
}


class _Findings:
    """Findings by kind and message, so that forty layers make one."""

    def __init__(self):
        self.by_key: Dict[tuple, Finding] = {}

    def add(self, kind: str, message: str, name: str, detail: str = "") -> None:
        finding = self.by_key.setdefault((kind, message), Finding(kind, message))
        finding.names.append(name)
        finding.where.append(name + (" " + detail if detail else ""))


def judge(audit) -> List[Finding]:
    findings = _Findings()
    taken = set(audit.recorder.read)
    for index, load in enumerate(audit.loads):
        of = " of the %s" % load.label if load.label else ""
        if load.stopped is not None:
            name = audit.recorder.current or ""
            findings.add("load-stopped", " ".join(["The load%s stopped: %s." % (of, load.stopped), load.why]), name)
            continue
        taken |= load.taken_whole | set(load.taken)
        shared = audit.shared.get(index, {})
        reported = set()
        for name, loaded in load.loaded.items():
            taken |= loaded.sources
            if name in shared:
                _judge_shared(findings, audit, load, loaded, shared[name], of)
            elif loaded.key not in reported and loaded.exempt in (None, PADDED) and loaded.elements:
                reported.add(loaded.key)
                _judge_parameter(findings, loaded, of)
        for name, (kind, message, detail) in load.differences.items():
            if name not in shared and load.loaded[name].exempt in (None, PADDED):
                findings.add(kind, message % {"of": of}, name, detail)
    if not audit.stopped:
        _judge_tensors(findings, audit, taken)
    return list(findings.by_key.values())


def _shape(loaded: Loaded) -> str:
    return "%s [%s]" % (str(loaded.dtype).replace("torch.", ""), ", ".join(map(str, loaded.region.sizes)))


def _judge_parameter(findings: _Findings, loaded: Loaded, of: str) -> None:
    if loaded.never_written:
        if loaded.initial == "uninitialised":
            message = "The load%s wrote no element, and the constructor had set none." % of
            findings.add("in-use-uninitialised", message, loaded.name, _shape(loaded))
        else:
            message = "The load%s wrote no element: the parameter keeps %s." % (of, _INITIAL[loaded.initial])
            findings.add("never-written", message, loaded.name, _shape(loaded))
    elif loaded.missing_elements and not loaded.padding:
        detail = "%d of %d elements missing%s" % (loaded.missing_elements, loaded.elements, _which(loaded))
        message = "The load%s left elements as they were: %s." % (of, _INITIAL[loaded.initial])
        findings.add("written-in-part", message, loaded.name, detail)
    for earlier, later, size in loaded.collisions:
        by = "%s over %s, %d elements" % (_some(later) if later else "a constant", _some(earlier), size)
        findings.add("written-twice", "The load%s wrote the same elements from different tensors." % of, loaded.name, by)


def _which(loaded: Loaded) -> str:
    """Which indices of the first dimension miss elements; the second dimension where they all miss the same."""
    region = loaded.region
    rows = coverage.rows_of(region, loaded.missing)
    if not rows or len(region.sizes) == 1 and region.sizes[0] < 2:
        return ""
    if len(rows) < region.sizes[0] or len(region.sizes) < 3:
        return ": %s of %d along dimension 0" % (ranges(rows), region.sizes[0])
    inner = coverage.Region(region.offset, region.sizes[1:], region.strides[1:], region.itemsize)
    first, end = loaded.missing
    within = first < region.offset + region.strides[0]
    return ": in each of %d, %s of %d along dimension 1" % (
        region.sizes[0], ranges(coverage.rows_of(inner, (first[within], end[within]))), region.sizes[1],
    )  # fmt: skip


def _some(names) -> str:
    names = sorted(names)
    return ", ".join(names[:2]) + (" and %d more" % (len(names) - 2) if len(names) > 2 else "")


def _judge_shared(findings: _Findings, audit, load: ModelLoad, loaded: Loaded, now: str, of: str) -> None:
    """A parameter that the engine replaced by the target's after the load."""
    if loaded.never_written:
        message = "The load%s wrote no element; the engine then put the target's parameter in its place." % of
        findings.add("repaired-by-sharing", message, loaded.name, "is now the target's " + now)
        return
    target = next((o.loaded[now] for o in audit.loads if o is not load and now in o.loaded), None)
    if target is None or target.sources == loaded.sources:
        return
    same = _same_values(audit, loaded, target)
    if same:
        return
    detail = "from %s, is now the target's %s from %s" % (_some(loaded.sources), now, _some(target.sources))
    if same is None:
        message = "The load%s wrote it; the engine then put the target's parameter in its place." % of
        findings.add("own-head-not-compared", message, loaded.name, detail)
    else:
        message = "The load%s wrote it; the engine then put the target's parameter, with other values, in its place." % of
        findings.add("own-head-discarded", message, loaded.name, detail)


def _same_values(audit, loaded: Loaded, target: Loaded) -> Optional[bool]:
    if audit.artifact is None or len(loaded.sources) != 1 or len(target.sources) != 1:
        return None
    try:
        a, b = (audit.artifact[next(iter(side.sources))] for side in (loaded, target))
        return None if a.is_meta or b.is_meta else values.equal_tensors(a, b)
    except Exception:  # values that cannot be read are values that were not compared
        return None


def _judge_tensors(findings: _Findings, audit, taken) -> None:
    if not audit.whole:
        return  # one rank of several: what it leaves may be another's
    offered = audit.recorder.fed
    for name in dict.fromkeys([*(audit.artifact or ()), *offered]):
        if name in taken or name in offered and 0 in offered[name][1]:
            continue
        shape = "%s [%s]" % (str(offered[name][0]).replace("torch.", ""), ", ".join(map(str, offered[name][1]))) \
            if name in offered else "never offered to a model"  # fmt: skip
        if audit.not_needed(name):
            findings.add("not-used", "No drafter was loaded.", name)
        else:
            findings.add("taken-by-nobody", "No model wrote a value of these tensors to a parameter.", name, shape)
    views: Dict[str, list] = {}
    whole = set(audit.recorder.read)
    for load in audit.loads:
        whole |= load.taken_whole
        for name, some in load.taken.items():
            views.setdefault(name, []).extend(view.region for view in some)
    for name, regions in views.items():
        if name in whole or name not in offered:
            continue
        dtype, shape = offered[name]
        count = 1
        for extent in shape:
            count *= extent
        if any(region.elements == count for region in regions):
            continue
        item = dtype.itemsize
        have = coverage.length(coverage.union(regions)) // item
        if have < count:
            strides = [item] * len(shape)
            for at in range(len(shape) - 2, -1, -1):
                strides[at] = strides[at + 1] * shape[at + 1]
            all_of_it = coverage.Region(0, tuple(shape), tuple(strides), item)
            gone = coverage.subtract(coverage.union([all_of_it]), coverage.union(regions))
            rows = coverage.rows_of(all_of_it, gone)
            detail = "%d of %d elements: %s of %d along dimension 0" % (count - have, count, ranges(rows), shape[0])
            findings.add("taken-in-part", "These elements were written to no parameter.", name, detail)
