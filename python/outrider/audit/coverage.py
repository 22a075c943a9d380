"""Which bytes of a storage a set of strided regions covers."""

from dataclasses import dataclass
from typing import Iterable, List, Tuple


@dataclass(frozen=True)
class Region:
    """A strided box in a storage: offset and strides in bytes, sizes in elements."""

    offset: int
    sizes: Tuple[int, ...]
    strides: Tuple[int, ...]
    itemsize: int

    @staticmethod
    def of(tensor) -> "Region":
        item = tensor.element_size()
        return Region(
            tensor.storage_offset() * item, tuple(tensor.shape), tuple(step * item for step in tensor.stride()), item
        )

    @property
    def elements(self) -> int:
        count = 1
        for size in self.sizes:
            count *= size
        return count


def runs_of(region: Region):
    """The contiguous runs of bytes of a region: two int64 arrays, first and end, sorted by first."""
    import numpy

    if region.elements == 0:
        return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.int64)
    dimensions = sorted(((step, size) for step, size in zip(region.strides, region.sizes) if size > 1))
    length = region.itemsize
    while dimensions and dimensions[0][0] == length:  # the inner dimensions that follow one another without a gap
        length *= dimensions.pop(0)[1]
    first = numpy.array([region.offset], numpy.int64)
    for step, size in reversed(dimensions):
        first = (first[:, None] + numpy.arange(size, dtype=numpy.int64) * step).reshape(-1)
    first.sort()
    return first, first + length


def union(regions: Iterable[Region]):
    """The disjoint runs of bytes that at least one region covers, sorted."""
    import numpy

    runs = [runs_of(region) for region in set(regions)]
    if not runs:
        return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.int64)
    first = numpy.concatenate([run[0] for run in runs])
    end = numpy.concatenate([run[1] for run in runs])
    order = numpy.argsort(first, kind="stable")
    first, end = first[order], numpy.maximum.accumulate(end[order])
    starts = numpy.ones(len(first), bool)
    starts[1:] = first[1:] > end[:-1]
    last = numpy.append(numpy.nonzero(starts)[0][1:] - 1, len(first) - 1) if len(first) else []
    return first[starts], end[last]


def intersect(a, b):
    """The runs that are in both of two sorted lists of disjoint runs."""
    import numpy

    if not len(a[0]) or not len(b[0]):
        return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.int64)
    edges = numpy.unique(numpy.concatenate([a[0], a[1], b[0], b[1]]))
    first, end = edges[:-1], edges[1:]
    inside = numpy.ones(len(first), bool)
    for starts, ends in (a, b):
        at = numpy.searchsorted(starts, first, side="right") - 1
        inside &= (at >= 0) & (first < ends[numpy.maximum(at, 0)])
    return first[inside], end[inside]


def subtract(a, b):
    """The runs of a that are not in b."""
    import numpy

    if not len(a[0]) or not len(b[0]):
        return a
    edges = numpy.unique(numpy.concatenate([a[0], a[1], b[0], b[1]]))
    first, end = edges[:-1], edges[1:]
    keep = numpy.ones(len(first), bool)
    for (starts, ends), wanted in ((a, True), (b, False)):
        at = numpy.searchsorted(starts, first, side="right") - 1
        inside = (at >= 0) & (first < ends[numpy.maximum(at, 0)])
        keep &= inside if wanted else ~inside
    return first[keep], end[keep]


def length(runs) -> int:
    return int((runs[1] - runs[0]).sum())


def rows_of(region: Region, runs) -> List[int]:
    """The indices along dimension 0 of a region that the runs touch. For a region whose dimension 0 is its outermost."""
    import numpy

    if not region.sizes or region.strides[0] <= 0:
        return []
    first = (runs[0] - region.offset) // region.strides[0]
    last = (runs[1] - 1 - region.offset) // region.strides[0]
    touched = numpy.zeros(region.sizes[0] + 1, numpy.int64)
    numpy.add.at(touched, numpy.clip(first, 0, region.sizes[0] - 1), 1)
    numpy.add.at(touched, numpy.clip(last, 0, region.sizes[0] - 1) + 1, -1)
    return numpy.nonzero(numpy.cumsum(touched[:-1]))[0].tolist()
