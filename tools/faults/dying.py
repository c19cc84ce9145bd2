"""Processes that die on purpose, at a chosen one of their calls that change a file."""

import json
import os
from collections.abc import Callable
from typing import Any

__all__ = ["CHANGES", "Dying", "Lines"]

CHANGES = ("open", "write", "pwrite", "fsync", "rename", "replace", "link", "unlink", "mkdir", "ftruncate", "truncate")
Lines = Callable[[object], None]  # Tells the parent one line, which it hears whatever happens afterwards.


class Dying:
    """Kills its process at the *nth* call that changes a file: before it, or a write in the middle of it; 0: never."""

    def __init__(self, nth: int) -> None:
        self.nth, self.count = nth, 0

    def run(self, operation: Callable[[Lines], object]) -> list[Any]:
        """Do *operation* in a child and return the lines that it told; an exception in it is raised here."""
        theirs, ours = os.pipe()
        child = os.fork()
        if not child:
            code = 1
            try:
                os.close(theirs)
                operation(self._armed(ours))
                code = 0
            except Exception as error:
                os.write(ours, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
            finally:
                os._exit(code)
        os.close(ours)
        with open(theirs, "rb") as pipe:
            lines = [json.loads(line) for line in pipe.read().splitlines()]
        os.waitpid(child, 0)
        errors = [line["error"] for line in lines if isinstance(line, dict) and "error" in line]
        assert not errors, errors
        return lines

    def _armed(self, pipe: int) -> Lines:
        tell = os.write  # Not counted: the pipe is no file of the journal's.
        for name in CHANGES:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        return lambda line: _all(tell, pipe, json.dumps(line).encode() + b"\n")

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += name != "open" or bool(arguments[1] & os.O_CREAT)
            if self.count == self.nth and (name != "open" or arguments[1] & os.O_CREAT):
                if name == "write":
                    call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os._exit(9)
            return call(*arguments, **options)

        return counted


def _all(write: Callable[[int, bytes], int], pipe: int, data: bytes) -> None:
    while data:
        data = data[write(pipe, data) :]
