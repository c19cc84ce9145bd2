"""carojournal: caro's telemetry journal.

Names are loaded on first use (PEP 562), so that importing the package costs nothing a host would notice.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carojournal.collector import Collector
    from carojournal.journal import Journal
    from carojournal.reader import JournalReader
    from carojournal.redact import Accepted, Refused, check

__all__ = ["Accepted", "Collector", "Journal", "JournalReader", "Refused", "__version__", "check"]

__version__ = "0.1.0"

_HOMES = {
    "Accepted": "redact",
    "Collector": "collector",
    "Journal": "journal",
    "JournalReader": "reader",
    "Refused": "redact",
    "check": "redact",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = __import__(f"{__name__}.{home}", fromlist=(name,))
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
