"""Errors of reading that say which file: a system call on a descriptor knows no name."""

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["named"]


@contextmanager
def named(path: str) -> "Iterator[None]":
    """Put *path* into an OSError from within that names no file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = path
        raise
