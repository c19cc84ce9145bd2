"""Who received what: the receivers of a journal's events, known by wire format and URL, and of which sessions.

`mark_sent` (in `deletion`) notes a session and its receiver in the identity file before the first byte goes out:

    sent <YYYY-MM-DD> <32 hex> <wire format> <URL> <crc>    events of that day and session, to that receiver
    sent <YYYY-MM-DD> <crc>                                 as older versions noted it: events of that day, to somebody

For a day that only the older line names, receipts tell the receivers: those of that day, else (folded receipts keep no
day) every one that any receipt or line names.  Where nothing names one, it is the receiver that is configured when a
request is delivered: NOBODY_KNOWN stands for it.
"""

from typing import TYPE_CHECKING, NamedTuple

from carojournal import sent
from carojournal.identity import Identity, day_of
from carojournal.lines import good_lines

if TYPE_CHECKING:
    from carojournal.settings import Settings

__all__ = ["ENDPOINTS", "NOBODY_KNOWN", "Receiver", "configured", "marked", "receivers_of", "sent_days"]

# wire_format -> the endpoint where none is configured; one without must be given an endpoint.
ENDPOINTS = {
    "caro-v1": "https://telemetry.caro.sh/v1/events",
    "caro-array": "https://telemetry.caro.sh/api/events",
    "posthog": "https://us.i.posthog.com/i/v1/analytics/events",
}
NOBODY_KNOWN = None
_DAY_MS = 86_400_000


class Receiver(NamedTuple):
    """A receiver: the wire format that it is spoken to in, and the URL of its events."""

    sink: str
    url: str

    def __str__(self) -> str:
        return f"{self.sink} {self.url}"


def configured(settings: "Settings") -> Receiver:
    """Return the receiver that *settings* name; its URL is "" where one is missing."""
    wire = str(settings.value("wire_format"))
    return Receiver(wire, str(settings.value("endpoint") or ENDPOINTS.get(wire, "")))


def sent_days(identity: Identity) -> set[str]:
    """Return the UTC days (YYYY-MM-DD) of whose events something was, or was about to be, sent."""
    return {words[1] for words in good_lines(identity.data) if words[0] == "sent" and len(words) in (2, 5)}


def marked(identity: Identity) -> set[tuple[str, bytes, Receiver]]:
    """Return the (day, session id, receiver) that the identity file notes: something was, or was about to be, sent."""
    found = set()
    for words in good_lines(identity.data):
        if words[0] == "sent" and len(words) == 5 and len(words[2]) == 32 and words[4].isprintable():
            try:
                found.add((words[1], bytes.fromhex(words[2]), Receiver(words[3], words[4])))
            except ValueError:
                continue
    return found


def receivers_of(
    root: str, identity: Identity, *, everything: bool = False
) -> dict[tuple[str, bytes], set[Receiver | None]]:
    """Return (day, session id) -> its receivers, of every session that has one, oldest first.

    *everything*: of every session that the journal has used; where no receiver is known of one, every one that is
    known counts.  Raises JournalIOError, OSError.
    """
    exact: dict[tuple[str, bytes], set[Receiver | None]] = {}
    for day, session, receiver in marked(identity):
        exact.setdefault((day, session), set()).add(receiver)
    by_receipt: dict[str, set[Receiver | None]] = {}
    for _, receipt in sent.receipts(root):
        day = day_of(int(receipt["day"]) * _DAY_MS)  # type: ignore[call-overload]
        by_receipt.setdefault(day, set()).add(Receiver(str(receipt["sink"]), str(receipt["url"])))
    folded = {Receiver(row[2], row[3]) for row in sent.uploads(root)["batches"]}  # type: ignore[attr-defined]
    anybody = folded.union(*exact.values(), *by_receipt.values()) or {NOBODY_KNOWN}
    older = {words[1] for words in good_lines(identity.data) if words[0] == "sent" and len(words) == 2}
    found: dict[tuple[str, bytes], set[Receiver | None]] = {}
    for one in identity.history():
        known = exact.get(one, set())
        if one[0] in older:
            known = known | by_receipt.get(one[0], set()) or anybody
        if known or everything:
            found[one] = known or anybody
    return found
