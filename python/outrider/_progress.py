"""Progress of long calls: a bar of tqdm's unless the caller gives a callback or wants none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Optional, Union

# True: a bar. False: none. Otherwise called with the bytes done and in all, from any thread.
Progress = Union[bool, Callable[[int, int], None]]
Callback = Optional[Callable[[int, int], None]]


@contextmanager
def shown(progress: Progress, label: str, unit: str = "B") -> Iterator[Callback]:
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield None
        return
    from tqdm.auto import tqdm

    # Calls of less than a second show nothing.
    with tqdm(desc=label, unit=unit, unit_scale=True, delay=1) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
