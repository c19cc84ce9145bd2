"""Make the next value while the present one is in use."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["ahead"]

T = TypeVar("T")


def ahead(values: "Iterator[T]") -> "Generator[T]":
    """Yield *values*, each made in a thread of its own while the one before is in use; what they raise is raised here.

    One is made in advance, no more.  Closing waits for the one under way.
    """
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming = worker.submit(_next, values)
        while made := coming.result():
            coming = worker.submit(_next, values)
            yield made[0]


def _next(values: "Iterator[T]") -> "tuple[T, ...]":
    for value in values:
        return (value,)
    return ()
