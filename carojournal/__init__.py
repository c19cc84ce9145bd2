"""carojournal: caro's telemetry journal.

Names are loaded on first use (PEP 562), so that importing the package costs nothing a host would notice.  So are the
modules that an append needs only when something is out of the ordinary: the hot path says `carojournal.errors.X`, and
the module is imported when such a line runs for the first time.

Modules of the hot path import modules, not names out of them: `from a.b import c` makes CPython 3.11 write the text of
an error that nobody sees, 12,000 instructions each time, because `a.b` is no package.
"""

import _frozen_importlib_external
import _thread
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

    from carojournal import batches as batches  # these are re-exported for type checkers
    from carojournal import cbordecode as cbordecode
    from carojournal import delivered as delivered
    from carojournal import drops as drops
    from carojournal import error_codes as error_codes
    from carojournal import errors as errors
    from carojournal import eviction as eviction
    from carojournal import grammars as grammars
    from carojournal import held as held
    from carojournal import identity as identity
    from carojournal import nowhere as nowhere
    from carojournal import predecessors as predecessors
    from carojournal import refusal as refusal
    from carojournal import root as root
    from carojournal import rotation as rotation
    from carojournal import runs as runs
    from carojournal import shape as shape
    from carojournal import snapshot as snapshot
    from carojournal import spool as spool
    from carojournal import tally as tally
    from carojournal.collector import Collector
    from carojournal.journal import Journal
    from carojournal.reader import JournalReader
    from carojournal.redact import Accepted, check
    from carojournal.refusal import Refused

__all__ = ["Accepted", "Collector", "Journal", "JournalReader", "Refused", "__version__", "check"]

__version__ = "0.1.0"

_RARELY_NEEDED = (
    "batches",
    "cbordecode",
    "delivered",
    "drops",
    "error_codes",
    "errors",
    "eviction",
    "grammars",
    "held",
    "identity",
    "nowhere",
    "predecessors",
    "refusal",
    "root",
    "rotation",
    "runs",
    "shape",
    "snapshot",
    "spool",
    "tally",
)

_HOMES = {
    "Accepted": "redact",
    "Collector": "collector",
    "Journal": "journal",
    "JournalReader": "reader",
    "Refused": "refusal",
    "check": "redact",
}
_HOT = ("events", "frame", "policy", "kinds", "redact", "ids", "lanes", "journal")  # Each needs only those before it.

_MAGIC = _frozen_importlib_external.MAGIC_NUMBER
_CODE_BYTES_MAX = 1 << 16  # Twice the largest; one read gets it all.

# A child of `fork` gets no module that another thread had loaded by half: it would wait for that thread for ever.
_loading = _thread.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)


def _load(short: str) -> "ModuleType":
    """Return a module of this package, imported without a search for it: that is two thirds of what an import costs.

    The module stands beside this one, so its compiled code is looked for beside this one's, and its loader is asked at
    once where there is none that is plainly good.  A module is entered into `sys.modules` when it is whole, so *short*
    must be none that another one imports in turn.  Where the package came from somewhere else than a directory, the
    import system does it all.

    No module that is loaded here may come here while it is imported in the ordinary way: the import system holds a lock
    for it meanwhile, for which somebody who holds ours may wait.  At its top it says `from carojournal.x import y`.
    """
    name = f"{__name__}.{short}"
    package: Any = __spec__
    loader_type = type(package.loader)
    with _loading:
        if name not in sys.modules and loader_type.__name__ == "SourceFileLoader":
            path = f"{__path__[0]}/{short}.py"
            loader = loader_type(name, path)
            module = type(sys)(name)
            spec = type(package)(name, loader, origin=path)
            spec.has_location = True
            module.__spec__, module.__loader__, module.__package__, module.__file__ = spec, loader, __name__, path
            code = _compiled(short, path)
            if code is None:
                loader.exec_module(module)
            else:
                exec(code, module.__dict__)  # noqa: S102 - as the loader does
            if sys.modules.setdefault(name, module) is module:
                globals()[short] = module
                return module
        __import__(name)  # Another thread may be importing it in the ordinary way.
        module = globals()[short] = sys.modules[name]
        return module


def _compiled(short: str, path: str) -> "CodeType | None":
    """Return the code of the module at *path* from its cache, None if anything about that is out of the ordinary.

    The header is PEP 552's: magic, flags (0: checked by time), mtime and size of the source.
    """
    head, found, tail = (__spec__.cached or "").rpartition("__init__")
    if not found:
        return None
    try:
        source = os.stat(path)
        descriptor = os.open(f"{head}{short}{tail}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, _CODE_BYTES_MAX)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    stamp = (int(source.st_mtime) & 0xFFFFFFFF) << 32 | (source.st_size & 0xFFFFFFFF) << 64
    if len(data) == _CODE_BYTES_MAX or data[:16] != _MAGIC + stamp.to_bytes(12, "little"):
        return None
    try:
        code = marshal.loads(memoryview(data)[16:])  # noqa: S302 - the file that the loader would load
    except (EOFError, TypeError, ValueError):
        return None
    return code if getattr(code, "co_filename", None) == path else None


def __getattr__(name: str) -> object:
    if name in _RARELY_NEEDED:
        return _load(name)
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Journal":
        for short in _HOT:
            _load(short)
    module = __import__(f"{__name__}.{home}", fromlist=(name,))
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> "list[str]":
    return sorted(__all__)
