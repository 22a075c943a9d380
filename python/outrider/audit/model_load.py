"""The parameters of one model before, after, and in use after a load."""

from dataclasses import dataclass, field
from typing import Callable, Dict, FrozenSet, List, Optional, Tuple

from outrider.audit import coverage, values
from outrider.audit.recorder import NOTHING, Contents, Recorder, View, Write

PADDED = "sizes are rounded up for a kernel"
Exempt = Callable[[str, object, str, object], Optional[str]]  # module name, module, parameter name, parameter -> why


@dataclass
class Loaded:
    """One parameter at the end of the load."""

    name: str
    region: coverage.Region
    dtype: object
    storage: object  # held, so that what is in use later can be told apart from it
    initial: str
    missing: object  # the runs of bytes that nothing wrote
    sources: FrozenSet[str]
    collisions: List[Tuple[FrozenSet[str], FrozenSet[str], int]]  # earlier, later tensors, and how many elements
    plain: List[Tuple[object, View]]  # tensors over the written elements, and what they should hold
    exempt: Optional[str] = None

    @property
    def elements(self) -> int:
        return self.region.elements

    @property
    def key(self) -> Tuple:
        return (self.storage._cdata, self.region.offset // self.region.itemsize, self.region.sizes)

    @property
    def missing_elements(self) -> int:
        return coverage.length(self.missing) // self.region.itemsize

    @property
    def never_written(self) -> bool:
        return self.elements > 0 and self.missing_elements == self.elements

    @property
    def padding(self) -> bool:
        """Whether what is missing lies beside every row alike: sizes rounded up for a kernel."""
        import numpy

        bound = 1 if self.exempt == PADDED else 4
        known = self.initial == "constant" or self.exempt == PADDED
        if not known or len(self.region.sizes) < 2 or bound * self.missing_elements >= self.elements:
            return False
        step = self.region.strides[0]
        first, end = (edge - self.region.offset for edge in self.missing)
        row = first // step
        if numpy.any((end - 1) // step != row) or len(first) % self.region.sizes[0]:
            return False
        shape = (self.region.sizes[0], -1)
        inner = numpy.stack([(first - row * step).reshape(shape), (end - row * step).reshape(shape)])
        return bool(numpy.all(inner == inner[:, :1]) and numpy.all(row.reshape(shape) == numpy.arange(shape[0])[:, None]))


@dataclass
class ModelLoad:
    label: str  # "target", "drafter", or empty
    model: object
    exempt: Optional[Exempt] = None
    loaded: Dict[str, Loaded] = field(default_factory=dict)
    stopped: Optional[str] = None
    why: str = ""  # it stopped, if that is known
    taken: Dict[str, List[View]] = field(default_factory=dict)  # which elements of which tensors were copied
    taken_whole: set = field(default_factory=set)  # tensors that a computation took, so no elements can be named

    differences: Dict[str, Tuple[str, str, str]] = field(default_factory=dict)  # parameter: kind, message, detail
    compared: int = 0

    def finish(self, recorder: Recorder) -> None:
        """Looks at every parameter. Call it right after the load, before anything else changes the parameters."""
        seen: Dict[Tuple, Loaded] = {}
        for module_name, module in self.model.named_modules(remove_duplicate=False):
            own = list(module._parameters.items())
            own += [(n, b) for n, b in module._buffers.items() if n not in module._non_persistent_buffers_set]
            for short, tensor in own:
                if tensor is None or not hasattr(tensor, "untyped_storage"):
                    continue
                name = module_name + "." + short if module_name else short
                key = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape))
                if key not in seen:
                    seen[key] = self._look(recorder, name, tensor)
                loaded = seen[key]
                why = self.exempt(module_name, module, short, tensor) if self.exempt else None
                if short in module._buffers and loaded.initial != "uninitialised" and loaded.never_written:
                    why = why or "a buffer with an initial value"
                self.loaded[name] = Loaded(**{**loaded.__dict__, "name": name, "exempt": why})

    def _look(self, recorder: Recorder, name: str, tensor) -> Loaded:
        contents = recorder.contents(tensor)
        region = coverage.Region.of(tensor)
        whole = coverage.union([region])
        empty = coverage.union([])
        if contents is None:  # made before the recorder ran, and never written since
            return Loaded(name, region, tensor.dtype, tensor.untyped_storage(), "unknown", whole, NOTHING, [], [])
        initial = contents.initial
        writes = [write for write in contents.writes if not write.arithmetic and (write.names or write.kind != "random")]
        if not contents.names and not any(write.names or write.kind == "computed" for write in writes):
            initial = ([initial] + [write.kind for write in contents.writes if not write.arithmetic])[-1]
            writes = []  # the load itself filled it, from no tensor
        missing = coverage.subtract(whole, coverage.union([write.region for write in writes]))
        if contents.names or contents.sources:  # the storage is an artifact's tensor, or computed from some
            missing = empty
        names = recorder.names_of(tensor)
        collisions = _collisions(writes, region) if len(writes) > 1 else []
        plain = self._plain(recorder, contents, tensor, writes)
        for source in names - {view.name for _, view in plain}:
            self.taken_whole.add(source)
        return Loaded(
            name, region, tensor.dtype, tensor.untyped_storage(), initial, missing, names, collisions, plain
        )

    def _plain(self, recorder: Recorder, contents: Contents, tensor, writes: List[Write]) -> List[Tuple[object, View]]:
        plain = []
        for write in writes:
            if write.view is None:
                self.taken_whole.update(write.names)
                continue
            self.taken.setdefault(write.view.name, []).append(write.view)
            item = write.region.itemsize
            if tensor.element_size() == item and write.dtype == tensor.dtype and not write.region.offset % item:
                strides = tuple(step // item for step in write.region.strides)
                over = tensor.detach().as_strided(write.region.sizes, strides, write.region.offset // item)
                plain.append((over, write.view))
        if any(write.arithmetic for write in contents.writes):
            return []
        if not writes:
            view = recorder.view_of(tensor, altered_too=True)
            if view is not None:
                self.taken.setdefault(view.name, []).append(view)
                plain.append((tensor.detach(), view))
        return plain

    def compare(self, artifact, limit: Optional[int]) -> None:
        """Compares what was copied with the artifact, by dtype, and by value where there are values."""
        cache: Tuple[Optional[str], object] = (None, None)
        seen = set()
        work = [(view.name, name, over, view) for name, one in self.loaded.items() for over, view in one.plain
                if not one.collisions]  # fmt: skip
        for source, name, over, view in sorted(work, key=lambda item: item[:2]):
            key = (over.data_ptr() if not over.is_meta else id(over), view.name)
            if key in seen or name in self.differences:
                continue
            seen.add(key)
            wanted = None
            if artifact is not None and not over.is_meta and source in artifact:
                if cache[0] != source:
                    cache = (source, artifact[source])
                wanted = values.expected(cache[1], view)
            self._compare(name, over, view, wanted, limit)
        for one in self.loaded.values():
            one.plain = []

    def _compare(self, name: str, over, view: View, wanted, limit: Optional[int]) -> None:
        source, own = (str(dtype).replace("torch.", "") for dtype in (view.dtype, over.dtype))
        cast = "%s %s -> %s" % (view.name, source, own)
        if _numeric_cast_of_codes(view.dtype, over.dtype):
            message = "Codes%(of)s were converted as numbers; their bits had to be kept."
            self.differences[name] = ("other-bytes", message, cast)
            return
        if wanted is None or wanted.is_meta:
            if _narrows(view.dtype, over.dtype):
                self.differences[name] = ("cast", "The load%(of)s rounded values.", cast)
            return
        different, compared = values.differing(over, wanted, limit)
        self.compared += compared
        if different:
            detail = "%d of %d compared elements differ from %s" % (different, compared, view.name)
            self.differences[name] = ("other-bytes", "The load%(of)s left other values than the artifact's.", detail)
        elif view.dtype != over.dtype and values.cast_loses(wanted, over.dtype, limit):
            coarse = over.dtype.itemsize == 1 or not over.dtype.is_floating_point
            kind = "other-bytes" if coarse else "cast"
            self.differences[name] = (kind, "The load%(of)s rounded values.", cast)


def _numeric_cast_of_codes(source, own) -> bool:
    """E8M0 to an integer, a float to an integer, an integer to a float."""
    return source != own and source.is_floating_point != own.is_floating_point


def _narrows(source, own) -> bool:
    import torch

    if source == own:
        return False
    if source.is_floating_point and own.is_floating_point:
        a, b = torch.finfo(source), torch.finfo(own)
        return a.eps < b.eps or a.max > b.max
    return False  # integers: only their values can tell


def _collisions(writes: List[Write], region: coverage.Region):
    """Pairs of writes of different tensors to the same elements. A constant under a tensor's values is none."""
    regions = {write.region for write in writes}
    total = sum(r.elements * r.itemsize for r in regions)
    repeated = len(regions) < len(writes)
    if not repeated and coverage.length(coverage.union(regions)) == total:
        return []
    found: Dict[Tuple[FrozenSet[str], FrozenSet[str]], int] = {}
    own = coverage.union([region])
    groups: Dict[coverage.Region, List[Write]] = {}
    for write in writes:
        groups.setdefault(write.region, []).append(write)
    if coverage.length(coverage.union(regions)) == total:  # the only overlaps are of identical regions
        pairs = [(a, b) for group in groups.values() for a, b in zip(group, group[1:])]
    else:
        pairs = [(a, b) for at, a in enumerate(writes) for b in writes[at + 1 :]]
    for earlier, later in pairs:
        if earlier.names and earlier.names != later.names:
            both = coverage.intersect(coverage.union([earlier.region]), coverage.union([later.region]))
            size = coverage.length(coverage.intersect(both, own)) // region.itemsize
            if size:
                key = (earlier.names, later.names)
                found[key] = found.get(key, 0) + size
    return [(a, b, size) for (a, b), size in found.items()]
