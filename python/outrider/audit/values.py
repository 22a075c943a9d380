"""Compares what a parameter holds with what the artifact stores."""

from typing import Optional

SAMPLE = 65536  # elements of a write that are compared, unless all are


def expected(tensor, view):
    """The elements of one of the artifact's tensors that a view describes."""
    item = view.region.itemsize
    if tensor.element_size() != item:
        return None
    base = tensor.contiguous().reshape(-1).view(view.dtype)
    strides = tuple(step // item for step in view.region.strides)
    return base.as_strided(view.region.sizes, strides, view.region.offset // item)


def sample(tensor, limit: Optional[int]):
    """Rows from the beginning to the end of a tensor, about `limit` elements; all of it without a limit."""
    import torch

    if limit is None or tensor.numel() <= limit or tensor.dim() == 0:
        return [tensor]
    row = tensor.numel() // tensor.shape[0]
    count = min(tensor.shape[0], max(3, limit // max(row, 1)))
    rows = sorted(set(torch.linspace(0, tensor.shape[0] - 1, count, device="cpu").long().tolist()))
    if row > limit:
        return [part for index in rows for part in sample(tensor[index], max(1, limit // len(rows)))]
    return [tensor[torch.tensor(rows, device=tensor.device)]]


def differing(actual, wanted, limit: Optional[int]):
    """How many of the compared elements differ, and of how many."""
    import torch

    different = compared = 0
    with torch.device("cpu"):
        for a, b in zip(sample(actual, limit), sample(wanted, limit)):
            a, b = a.cpu(), b.cpu().to(actual.dtype)
            compared += a.numel()
            same = (_bytes(a) == _bytes(b)).view(-1, a.element_size())
            different += int((~same.all(dim=1)).sum())
    return different, compared


def cast_loses(wanted, dtype, limit: Optional[int]) -> int:
    """How many of the compared elements change when they are cast to a dtype."""
    import torch

    changed = 0
    with torch.device("cpu"):
        for part in sample(wanted, limit):
            part = part.cpu()
            back = part.to(dtype).to(part.dtype)
            wide = torch.float64 if not part.dtype.is_complex else part.dtype
            a, b = part.to(wide), back.to(wide)
            changed += int((~((a == b) | (a.isnan() & b.isnan()))).sum())
    return changed


def equal_tensors(a, b) -> bool:
    """Whether two tensors of the artifact hold the same values, the narrower one widened."""
    import torch

    if a.shape != b.shape:
        return False
    with torch.device("cpu"):
        for first in range(0, max(a.shape[0] if a.dim() else 1, 1), 4096):
            left, right = (t[first : first + 4096] if t.dim() else t for t in (a, b))
            if left.dtype != right.dtype:
                left, right = left.to(torch.float32), right.to(torch.float32)
            if not torch.equal(_bytes(left), _bytes(right)):
                return False
    return True


def _bytes(tensor):
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)
