"""Records what a load does: which bytes of which storage each operation writes, and from which of the artifact's tensors.

A TorchDispatchMode sees every operation of its thread below Python, on every device, the meta device included: `copy_`,
`fill_`, writes of C++ code that goes through the dispatcher. Assigning `param.data` is no operation; what the new storage
holds is known from the operations that made it."""

from dataclasses import dataclass
from typing import Dict, FrozenSet, List, Optional, Tuple

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from outrider.audit.coverage import Region

NOTHING: FrozenSet[str] = frozenset()


@dataclass(frozen=True)
class View:
    """Elements of one of the artifact's tensors: `region` counts bytes from that tensor's first."""

    name: str
    region: Region
    dtype: torch.dtype


@dataclass(frozen=True)
class Write:
    region: Region
    names: FrozenSet[str]  # the artifact's tensors whose elements were written; none for a constant
    view: Optional[View]  # exactly which elements, if they were copied one by one
    dtype: torch.dtype
    order: int
    whole: bool = False  # every byte of the storage
    kind: str = "computed"  # or "random", "constant"
    arithmetic: bool = False  # in place and without a tensor of the artifact: changes values, writes none


@dataclass
class Source:
    """One of the artifact's tensors, or several, in a storage."""

    name: str
    first: int
    end: int
    dtype: torch.dtype
    shape: Tuple[int, ...]


class Contents:
    """What is known of one storage."""

    __slots__ = ("alive", "initial", "names", "view", "sources", "altered", "writes")

    def __init__(self, storage):
        self.alive = StorageWeakRef(storage)  # while it is held, no other storage gets this address
        self.initial = "unknown"  # "uninitialised", "constant", "random", "computed", "tensor"
        self.names = NOTHING  # computed from these tensors of the artifact, in whole
        self.view: Optional[View] = None
        self.sources: List[Source] = []
        self.altered = False
        self.writes: List[Write] = []


_RANDOM = ("normal", "uniform", "rand", "bernoulli", "exponential", "cauchy", "geometric", "trunc_normal", "multinomial")
_CONSTANT = ("zeros", "ones", "full", "fill", "zero", "scalar_tensor", "arange", "eye", "lift_fresh", "linspace", "tril")
_NO_VALUES = {"set_", "resize_", "as_strided_", "t_", "transpose_", "detach_", "squeeze_", "unsqueeze_", "requires_grad_"}
_COPIES = ("aten::clone", "aten::_to_copy", "aten::contiguous", "aten::lift_fresh_copy", "aten::alias_copy")


@dataclass(frozen=True)
class _Operation:
    written: Tuple[Tuple[int, str], ...]  # position and name of each argument that is written
    uninitialised: bool
    copies: bool  # makes a copy with the same elements
    copies_into: bool  # copy_: writes the elements of its argument
    kind: str


def _operation(function) -> _Operation:
    schema = function._schema
    written = tuple(
        (at, argument.name)
        for at, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    name = schema.name.split("::")[-1]
    if name in _NO_VALUES:
        written = ()
    kind = "computed"
    if any(word in name for word in _RANDOM):
        kind = "random"
    elif any(name.strip("_").replace("new_", "").startswith(word) for word in _CONSTANT):
        kind = "constant"
    return _Operation(written, "empty" in name, schema.name in _COPIES, schema.name == "aten::copy_", kind)


class Recorder(TorchDispatchMode):
    """Active inside `with recorder:`. Tensors of the artifact are announced with `feed`."""

    def __init__(self):
        super().__init__()
        self.fed: Dict[str, Tuple[torch.dtype, Tuple[int, ...]]] = {}
        self.current: Optional[str] = None  # the tensor that was fed last
        self.read: set = set()  # tensors of which a value was read into Python
        self.loading = False  # before: what is written are initial values
        self.operations = 0
        self._contents: Dict[int, Contents] = {}
        self._known: Dict[object, _Operation] = {}
        self._next_sweep = 20000

    def contents(self, tensor) -> Optional[Contents]:
        return self._contents.get(tensor.untyped_storage()._cdata)

    def feed(self, name: str, tensor, reused: bool = True) -> None:
        """Says that a tensor is the artifact's. With `reused`, what was in its bytes before is not there any more."""
        contents = self._of(tensor)
        region = Region.of(tensor)
        if region.elements:
            if reused and contents.sources:
                gone = _overlapping(contents.sources, region, exact=True)
                contents.sources = [source for source in contents.sources if source not in gone]
            contents.altered = False
            if reused:
                contents.writes = []
            contents.sources.append(Source(name, region.offset, _end(region), tensor.dtype, tuple(tensor.shape)))
        self.fed[name] = (tensor.dtype, tuple(tensor.shape))
        self.current = name

    def names_of(self, tensor) -> FrozenSet[str]:
        """The artifact's tensors from which a tensor was computed."""
        contents = self.contents(tensor)
        if contents is None:
            return NOTHING
        if contents.sources:
            return frozenset(source.name for source in _overlapping(contents.sources, Region.of(tensor)))
        names = set()
        for write in reversed(contents.writes):
            names |= write.names
            if write.whole and not write.arithmetic:
                return frozenset(names)
        return contents.names | names

    def view_of(self, tensor, altered_too: bool = False) -> Optional[View]:
        """The elements of the artifact that a tensor holds unchanged, if it holds one tensor's."""
        contents = self.contents(tensor)
        if contents is None:
            return None
        region = Region.of(tensor)
        if contents.sources:
            found = _overlapping(contents.sources, region)
            if contents.altered and not altered_too or len(found) != 1 or found[0].dtype.itemsize != region.itemsize:
                return None
            source = found[0]
            shifted = Region(region.offset - source.first, region.sizes, region.strides, region.itemsize)
            return View(source.name, shifted, tensor.dtype)
        last = contents.writes[-1] if contents.writes else None
        if last is not None and last.whole and last.region == region and last.dtype == tensor.dtype:
            return last.view if last.view is not None and last.view.dtype == tensor.dtype else None
        whole = contents.view
        if last is not None or whole is None or region.offset or not tensor.is_contiguous():
            return None
        return whole if region.sizes == whole.region.sizes and tensor.dtype.itemsize == whole.region.itemsize else None

    def _of(self, tensor) -> Contents:
        storage = tensor.untyped_storage()
        found = self._contents.get(storage._cdata)
        if found is None:
            found = self._contents[storage._cdata] = Contents(storage)
        return found

    def _sweep(self) -> None:
        self._contents = {key: value for key, value in self._contents.items() if not value.alive.expired()}
        self._next_sweep = self.operations + max(20000, 2 * len(self._contents))

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        operation = self._known.get(function)
        if operation is None:
            operation = self._known[function] = _operation(function)
        self.operations += 1
        if self.operations > self._next_sweep:
            self._sweep()
        result = function(*args, **kwargs)
        inputs = list(_tensors(args)) + list(_tensors(kwargs.values()))
        if operation.written:
            self._written(operation, args, kwargs, inputs)
        elif function is torch.ops.aten._local_scalar_dense.default:
            self.read.update(self.names_of(inputs[0]))
        else:
            held = {tensor.untyped_storage()._cdata for tensor in inputs}
            for tensor in _tensors((result,)):
                if tensor.untyped_storage()._cdata not in held:
                    self._made(operation, tensor, inputs)
        return result

    def _made(self, operation: _Operation, tensor, inputs) -> None:
        contents = Contents(tensor.untyped_storage())
        self._contents[tensor.untyped_storage()._cdata] = contents
        contents.initial = "uninitialised" if operation.uninitialised else operation.kind
        if operation.uninitialised:
            return
        names = [self.names_of(source) for source in inputs]
        contents.names = NOTHING.union(*names) if names else NOTHING
        if operation.copies and len(inputs) == 1 and tensor.is_contiguous():
            view = self.view_of(inputs[0])
            if view is not None and tensor.dtype == inputs[0].dtype:
                contents.view = view

    def _written(self, operation: _Operation, args, kwargs, inputs) -> None:
        targets = []
        for at, name in operation.written:
            argument = args[at] if at < len(args) else kwargs.get(name)
            targets.extend(_tensors((argument,)))
        others = [tensor for tensor in inputs if not any(tensor is target for target in targets)]
        names = NOTHING.union(*(self.names_of(tensor) for tensor in others)) if others else NOTHING
        for target in targets:
            contents = self._of(target)
            if contents.sources:  # the loader changes an artifact's tensor in place, or fills a buffer for the next
                contents.altered = True
                continue
            if not self.loading:
                contents.initial = operation.kind
                continue
            copied = others[0] if len(others) == 1 and args and target is args[0] else None
            plain = operation.copies_into and copied is not None and copied.shape == target.shape
            region = Region.of(target)
            contents.writes.append(
                Write(
                    region,
                    names,
                    self.view_of(copied) if plain else None,
                    target.dtype,
                    self.operations,
                    region.elements * region.itemsize == target.untyped_storage().nbytes(),
                    operation.kind,
                    operation.kind == "computed" and not operation.copies_into and not names,
                )
            )


def _end(region: Region) -> int:
    return region.offset + sum((size - 1) * step for size, step in zip(region.sizes, region.strides)) + region.itemsize


def _overlapping(sources: List[Source], region: Region, exact: bool = False) -> List[Source]:
    if len(sources) == 1 and not exact:
        return sources
    end = _end(region)
    return [source for source in sources if source.first < end and region.offset < source.end]


def _tensors(values):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
