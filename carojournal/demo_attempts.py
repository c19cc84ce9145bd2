"""Attempts to record what must not be recorded, for `carojournal demo`, and the search that shows it did not get in.

The strings are invented anew for every run, with a random part, so that a search which finds none of them says
something.
"""

import base64
import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carojournal.errors import EventRefused
from carojournal.journal import Journal

__all__ = ["Attempt", "Search", "make_attempts", "search", "try_attempt"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call that a careless host might make: *strings* are what must not be found anywhere afterwards."""

    what: str
    where: str
    event: str
    fields: dict[str, object]
    strings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """What was searched and how often something was found."""

    files: int
    bytes: int
    found: int


def make_attempts() -> list[Attempt]:
    """Return attempts with freshly invented strings."""
    user, word = f"ada{os.urandom(4).hex()}", f"lawyer{os.urandom(4).hex()}"
    path = f"/home/{user}/.ssh/id_ed25519"
    token = f"ghp_{os.urandom(18).hex()}"
    sentence = f"write to my {word} about the divorce"
    session = str(uuid.uuid4())
    generated: dict[str, object] = {"backend_used": "static", "inference_time_ms": 1}
    start: dict[str, object] = {"caro_version": "1.1.0", "os": "linux"}
    return [
        Attempt("a path", "in a required field", "session_start", {**start, "caro_version": path}, (path, user)),
        Attempt("a token", "in an optional field", "command_generated", {**generated, "model_name": token}, (token,)),
        Attempt(
            "plain language", "as error category", "error_occurred", {"error_category": sentence}, (sentence, word)
        ),
        Attempt(
            "the command", "in a field of its own", "command_generated", {**generated, "command": path}, (path, user)
        ),
        Attempt("a token", "as the name of a field", "command_generated", {**generated, token: 1}, (token,)),
        Attempt("plain language", "as the event's name", sentence, {}, (sentence, word)),
        Attempt("a session id", "of the caller's own", "session_start", {**start, "session_id": session}, (session,)),
    ]


def try_attempt(journal: Journal, attempt: Attempt) -> tuple[str, str]:
    """Make the call; return (what became of the event, field and reason of each refusal)."""
    before = journal.stats["reasons"]
    try:
        kept = journal.append(attempt.event, **attempt.fields) is not None
    except EventRefused as error:
        return "refused", "; ".join(f"{field}: {reason}" for _, field, reason in error.reasons)
    assert isinstance(before, dict)
    after = journal.stats["reasons"]
    assert isinstance(after, dict)
    reasons = [key.split(" ") for key, count in after.items() if count != before.get(key, 0)]
    if reasons:
        return "kept without it", "; ".join(f"{field}: {reason}" for _, _, field, reason in reasons)
    return ("kept without it", "never looked at: ids are the journal's own") if kept else ("left out", "by the level")


def _forms(text: str) -> list[bytes]:
    """Return *text* in the forms in which it might have slipped in."""
    raw = text.encode()
    digest = hashlib.sha256(raw)
    plain_hex = text.replace("-", "").encode()
    forms = [raw, text.encode("utf-16-le"), raw.hex().encode(), base64.b64encode(raw), digest.digest()]
    forms += [digest.hexdigest().encode(), plain_hex]
    with contextlib.suppress(ValueError):
        forms.append(uuid.UUID(text).bytes)
    return forms


def search(folder: str, strings: Sequence[str], more: Iterable[bytes] = ()) -> Search:
    """Search names and contents of all files below *folder*, and *more* data, for *strings* in all their forms."""
    needles = {form for text in strings for form in _forms(text)}
    names, contents = [], [*more]
    for place, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(place, name)
            names.append(os.fsencode(path))
            with open(path, "rb") as file:
                contents.append(file.read())
    found = sum(data.count(needle) for data in (*names, *contents) for needle in needles)
    return Search(len(contents), sum(map(len, contents)), found)
