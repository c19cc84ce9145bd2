"""carojournal: caro's telemetry journal.

Names are loaded on first use (PEP 562), so that importing the package costs nothing a host would notice.  So are the
modules that an append needs only when something is out of the ordinary: the hot path says `carojournal.errors.X`, and
the module is imported when such a line runs for the first time.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carojournal import batches as batches  # these are re-exported for type checkers
    from carojournal import cbordecode as cbordecode
    from carojournal import drops as drops
    from carojournal import errors as errors
    from carojournal import grammars as grammars
    from carojournal import identity as identity
    from carojournal import refusal as refusal
    from carojournal import root as root
    from carojournal import rotation as rotation
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
    "drops",
    "errors",
    "grammars",
    "identity",
    "refusal",
    "root",
    "rotation",
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


def __getattr__(name: str) -> object:
    if name in _RARELY_NEEDED:
        return __import__(f"{__name__}.{name}", fromlist=("*",))
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = __import__(f"{__name__}.{home}", fromlist=(name,))
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> "list[str]":
    return sorted(__all__)
