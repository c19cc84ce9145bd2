"""What an audit makes of the maps in outbox/, sent/, receipts/ and quarantine/ (formats in `sent` and carobatch).

Such a map carries what something else was made of: a request's body, events that a receiver refused, damaged bytes.
Each is looked at by itself, like a file in an archive.  What remains is known by its exact form, and only in a map that
is whole: where something was sent to, how, and the runs of numbers that say which events.

A receiver's key stands in the requests to it.  It is known for that key by the hash of the target that the map names,
and anything else that looks like one is judged.
"""

import re
from collections.abc import Iterator
from hashlib import sha256

from carojournal import codec
from carojournal.config_keys import accept
from carojournal.errors import MalformedCBOR
from carojournal.frame import LABEL
from carojournal.patterns.texts import vetoes
from carojournal.sent_shape import is_whole

__all__ = ["carried", "foreign_parts", "map_in", "remaining", "without_key"]

_CARRIERS = (b"frecordfintent", b"frecordgrefused", b"frecordjquarantine")
_ROWS = {"refused": ("events", "event"), "quarantine": ("damaged", "data")}  # record -> list, and what its rows carry
_SINKS = frozenset(("caro-v1", "caro-array", "posthog", "otlp"))
_KEY = rb"phc_[A-Za-z0-9_-]{1,196}"
_BODY_KEY = re.compile(rb'\{"api_key":"(%b)",' % _KEY)
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_BEARER = "Bearer "
_HEADERS = {
    "Content-Type": "application/json",
    "Content-Encoding": "gzip|zstd",
    "PostHog-Sdk-Info": r"carojournal/\d{1,3}\.\d{1,3}\.\d{1,3}",
    "X-Caro-Batch-Id": _UUID,
    "PostHog-Request-Id": _UUID,
    "X-Caro-Version": "unknown",  # Any other is an event's field, and judged.
}
_NUMBERS = ("at", "consent", "created", "day", "earlier", "rejected", "status", "version")
_NUMBER_MAX = 1 << 53
_HASHES = ("batch", "sha256", "target")
_SHAPED = ("identities", "ranges", "refused", "segments", "sessions")  # Bytes of a fixed size, and numbers.


def map_in(data: bytes) -> dict[str, object] | None:
    """Return the map in *data* if it is one that carries something, and has not been taken apart yet."""
    if not data or data[0] >> 5 != 5 or not any(mark in data for mark in _CARRIERS):
        return None
    try:
        value = codec.loads(data)
    except MalformedCBOR:
        return None
    return value if isinstance(value, dict) and any(True for _ in carried(value)) else None


def carried(value: dict[str, object]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of what *value* carries."""
    body = value.get("body")
    if value.get("record") == "intent" and isinstance(body, bytes) and body:
        yield "#body", body
    rows, key = _ROWS.get(str(value.get("record")), ("", ""))
    parts = [(row, data) for row in _dicts(value.get(rows)) if isinstance(data := row.get(key), bytes) and data]
    if key == "event" and parts:
        yield "#events", b"".join([data for _, data in parts])
    elif key == "data":
        for number, (row, data) in enumerate(parts):
            yield f"#damaged{number}", data if row.get("reason") == "packed" else LABEL + data


def _dicts(rows: object) -> list[dict[str, object]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def remaining(value: dict[str, object]) -> bytes:
    """Return the encoding of *value* without what `carried` yields, and without the key that its target names."""
    rest = dict(value)
    if isinstance(rest.get("body"), bytes):
        rest["body"] = b""
    name, key = _ROWS.get(str(value.get("record")), ("", ""))
    if isinstance(rest.get(name), list):
        rest[name] = [
            {**row, key: b""} if isinstance(row, dict) and isinstance(row.get(key), bytes) else row
            for row in rest[name]  # type: ignore[attr-defined]
        ]
    if is_whole(value, "intent"):
        rest["headers"] = [pair for pair in value["headers"] if not _is_bearer(value, pair)]  # type: ignore[attr-defined]
    return codec.dumps(rest)


def _is_bearer(intent: dict[str, object], pair: list[str]) -> bool:
    name, text = pair
    return name == "Authorization" and text.startswith(_BEARER) and _is_key(intent, text[len(_BEARER) :])


def _is_key(intent: dict[str, object], key: str) -> bool:
    """Tell whether *key* is the one by which the target of *intent* is known."""
    if not re.fullmatch(_KEY, key.encode()):
        return False
    return sha256(f"{intent['sink']}\n{intent['url']}\n{key}".encode()).digest() == intent["target"]


def without_key(intent: dict[str, object], body: bytes) -> bytes:
    """Return the unpacked *body* of *intent* without the receiver's key, where it begins with that."""
    found = _BODY_KEY.match(body)
    if found is None or not is_whole(intent, "intent") or not _is_key(intent, found[1].decode()):
        return body
    return b"{" + body[found.end() :]


def foreign_parts(value: dict[str, object]) -> dict[str, object]:
    """Return what of a whole map of uploads is to be judged; the map itself for any other."""
    kind = value.get("record")
    if kind not in ("intent", "upload", "uploads") or not is_whole(value, str(kind)):
        return value
    rest = {key: item for key, item in value.items() if not _is_form(key, item)}
    if "headers" in rest:
        rest["headers"] = [_foreign_header(*pair) for pair in rest["headers"]]  # type: ignore[attr-defined]
    if "batches" in rest:
        rest["batches"] = [_foreign_row(row) for row in rest["batches"]]  # type: ignore[attr-defined]
    return rest


def _foreign_row(row: list[object]) -> dict[str, object]:
    _, at, sink, url, _, status, events, refused, counts = row
    pairs = (("sink", sink), ("url", url), ("at", at), ("status", status), ("earlier", events), ("earlier", refused))
    return {"counts": counts, **{key: item for key, item in pairs if not _is_form(key, item)}}


def _foreign_header(name: str, text: str) -> list[str]:
    if name not in _HEADERS:
        return [name, text]
    return [] if re.fullmatch(_HEADERS[name], text) else [text]


def _is_form(key: str, item: object) -> bool:
    if key in _NUMBERS:
        return isinstance(item, int) and item <= _NUMBER_MAX
    if key == "sink":
        return item in _SINKS
    if key == "url":
        # Any host may be the user's receiver; its path is the user's word, too, but no place for an address or a key.
        return accept("endpoint", item) is not None and not vetoes("".join(str(item).split("/", 3)[3:]))
    return key == "record" or key in _HASHES or (key in _SHAPED and _numbers_fit(item))


def _numbers_fit(item: object) -> bool:
    if isinstance(item, list):
        return all(map(_numbers_fit, item))
    return not isinstance(item, int) or item <= _NUMBER_MAX
