"""What an audit does not report: keys, values, lines and texts that our own programs write, in their exact form.

Forms, not trust: an id is 16 or 32 bytes, or hexadecimal digits, under the keys that hold ids; a time is a number of
its size; a word is one of a closed list; a line closes with a checksum.  Anything else is judged.
"""

import re
from base64 import b64decode
from hashlib import sha256

from carojournal import drops, events, own_events, redact, refusal, scan
from carojournal.audit_sources import is_own_name

__all__ = ["KNOWN_KEYS", "README_SHA256", "foreign", "foreign_words", "is_own_text"]

_ID = r"[0-9a-f]{32}"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_HASH = r"[0-9a-f]{64}"

# sent/state.json
_TRIES = ("since_ms", "last_success_ms", "failures", "not_before_ms", "asked_ms", "attempts", "asked_by")
# What requests to PostHog and OTLP receivers say besides events.
_LIBRARY = ("$process_person_profile", "$geoip_disable", "$lib", "$lib_version")
_OTLP = (
    *("resourceLogs", "resource", "attributes", "scopeLogs", "scope", "name", "logRecords", "timeUnixNano"),
    *("observedTimeUnixNano", "severityNumber", "severityText", "eventName"),
)
_SDK_VERSION = r"\d{1,3}\.\d{1,3}\.\d{1,3}"
_OTLP_TEXT = {
    "service.name": "caro",
    "telemetry.sdk.name": "carojournal",
    "telemetry.sdk.version": _SDK_VERSION,
    "event.id": _UUID,
    "session.id": _ID,
}

# Keys of the records that the recorder writes about itself, of packed files, bundles, receipts and exports.
_BOOKKEEPING = (
    *("record", "version", "segment", "segments", "created", "lane", "consent", "previous", "schema", "writer", "seal"),
    *("count", "bytes", "sha256", "loss", "reason", "first_seq", "last_seq", "events", "carried", "seq", "level"),
    *(
        "batch_id",
        "client_timestamp",
        "event_type",
        "event_id",
        "sections",
        "content",
        "frame",
        "checked",
        "size",
        "crc",
    ),
    *("records", "losses", "gaps", "source", "sealed", "damaged", "torn", "runs", "times", "types"),
    *("export_version", "exported_at", "event_count", "generation_id"),
    *("format", "journal", "chain", "bundle", "fingerprint", "manifest_sha256", "redaction", "rules_sha256"),
    *("selection", "since", "until", "time", "first", "last", "files", "path", "missing"),
    *("accepted", "rejected", "conflicts", "field", "acknowledged"),
    # What was sent, is to be sent, or was not: outbox/, sent/, receipts/, quarantine/.
    *(
        "batch",
        "target",
        "sink",
        "url",
        "headers",
        "body",
        "day",
        "identities",
        "sessions",
        "counts",
        "ranges",
        "status",
    ),
    *("refused", "batches", "earlier", "at", "refusals", "offset", "data", *_TRIES),
    # Wire formats.
    *("uuid", "distinct_id", "options", "properties", "created_at", *_LIBRARY, *_OTLP, *_OTLP_TEXT),
)
KNOWN_KEYS = frozenset(
    {*_BOOKKEEPING, *events.ENVELOPE, *events.RECORDER_OWNED, *events.GROUPS, *own_events.ALL_EVENTS}
    | {field for _, fields in own_events.ALL_EVENTS.values() for field in fields}
    | {alias for aliases in events.FIELD_ALIASES.values() for alias in aliases}
    | {f"{group}.{name}" for _, fields in events.EVENTS.values() for name, (_, _, _, group) in fields.items() if group}
)

_DROPS_WORDS = {*drops.DROP_REASONS, *refusal.REASONS, *KNOWN_KEYS, redact.UNKNOWN}

_OWN_BYTES = {
    **dict.fromkeys(("session_id", "run_id", "segment", "sessions"), 16),
    **dict.fromkeys(("sha256", "schema", "checked", "batch"), 32),
    "crc": 4,
}
_OWN_NUMBERS = frozenset(
    (
        "created",
        "consent",
        "timestamp",
        "bytes",
        "first_seq",
        "last_seq",
        "events",
        "seq",
        "count",
        "records",
        "size",
        "crc",
    )
    + ("runs", "times", "since", "until", "offset", *own_events.ALL_EVENTS)
)
_OWN_NUMBER_MAX = 1 << 53  # Microseconds since 1970 stay below until 2255.
# Why the last upload was not the last word.
_REASON = (
    r"(?:deletion request: )?(?:status \d{3}(?:: redirects are not followed|: not allowed| to everything)?|"
    r"no answer \((?:name|connect|proxy|tls|deadline|reset|cut_off|protocol)\)|"
    r"a 2xx answer (?:that is not (?:the receiver's|PostHog's|OTLP's)|that names other events than were sent|"
    r"without a verdict on every event|with an unknown verdict)|"
    r"the receiver wants (?:every event|some events) again|a file of the journal cannot be read now)"
)
_OWN_TEXT = {
    "reason": _REASON,
    **dict.fromkeys(
        ("session_id", "run_id", "segment", "event_id", "id", "batch_id", "journal", "chain", "generation_id"),
        rf"{_ID}|{_UUID}",
    ),
    **dict.fromkeys(("sha256", "schema", "schema_hash", "redaction_hash", "manifest_sha256"), _HASH),
    **dict.fromkeys(("rules_sha256", "fingerprint", "acknowledged", "asked_by"), _HASH),
    **dict.fromkeys(("first", "last", "exported_at"), r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
    "batch_id": rf"{_ID}|{_UUID}|{_HASH}",
    "writer": r"carojournal[ /-]\d{1,3}\.\d{1,3}\.\d{1,3}|other/0\.0",
    "record": "header|loss|seal|section|quarantine|withheld|refused",
    "format": "carojournal-(?:bundle|receipt)",
    **_OTLP_TEXT,
    **dict.fromkeys(("timeUnixNano", "observedTimeUnixNano"), r"\d{13}0{6}"),
    "$lib": "carojournal",
    "$lib_version": _SDK_VERSION,
    "uuid": _UUID,
    "distinct_id": _ID,
    "batch": _HASH,
    "eventName": "|".join(rf"caro\.{name}" for name in own_events.ALL_EVENTS),
}
_OWN_WORDS = {
    "reason": frozenset(
        ("evicted", "delivered", "cleared", "exported", "damaged", "torn", "refused", "selection", "acknowledged")
        + ("unknown", "lost", "packed", "")
    ).union(scan.REASONS, refusal.REASONS),
    "field": KNOWN_KEYS | {redact.UNKNOWN},
    "refusals": frozenset(_DROPS_WORDS),
    "name": frozenset(("carojournal.events",)),
}
_RUN_KEY = re.compile(_ID)

_CRC = "[0-9a-f]{8}"
_DATE = r"20\d\d-\d\d-\d\d"
_RECEIVER = r"(?:caro-v1|caro-array|posthog|otlp) https?://[\w./:%~+=&;,\[\]-]{1,1024}"  # As `endpoint` may be.
_OWN_LINE = re.compile(
    # identity
    rf"carojournal(?:-policy)? \d{{1,3}}(?: {_CRC})?|(?:journal|secret) [0-9a-f]{{32}} {_CRC}|"
    rf"(?:created|rotate|clearing|cleared) \d{{1,16}} {_CRC}|session {_DATE} [0-9a-f]{{32}} {_CRC}|"
    rf"sent {_DATE}(?: [0-9a-f]{{32}} {_RECEIVER})? {_CRC}|"
    # deletion requests
    rf"request [0-9a-f]{{32}} \d{{1,16}} \d{{1,7}}(?: {_RECEIVER})? {_CRC}|"
    rf"session [0-9a-f]{{32}} {_DATE} [0-9a-f]{{32}} {_CRC}|"
    rf"(?:done|confirmed) [0-9a-f]{{32}} \d{{1,16}} {_CRC}|"
    # the ledger of migrated rows: keyed hashes
    rf"taken [0-9a-f]{{32}} \d{{1,7}} (?:[0-9a-f]{{16}})* {_CRC}|"
    # how far discards were told
    rf"discards 1 {_CRC}|day \d{{1,6}} {_CRC}|(?:told|next) (?:refused|dropped|lost)_[a-z_]{{2,10}} \d{{1,20}} {_CRC}|"
    rf"event [0-9a-f]{{32}} \d{{16}} \d{{1,13}} [0-9a-f]{{32}} [0-9a-f]{{32}} {_CRC}|"
    # lanes' locks, policy snapshot
    rf"[0-9a-f]{{32}} \d{{16}} \d{{1,13}} {_CRC}|files [0-9a-f:.-]{{1,64}} [0-9a-f:.-]{{1,64}}|crc {_CRC}|"
    r"(?:cap_bytes|consent_ms|prompt) \d{1,16}|"
    r"source (?:config|admin|--no-telemetry|CARO_TELEMETRY(?:_ENABLED|_AIR_GAPPED)?|DO_NOT_TRACK|"
    r"default \((?:beta|ga)\))|"
    # BagIt
    rf"Bagging-Date: {_DATE}|Payload-Oxum: \d{{1,20}}\.\d{{1,12}}|BagIt-Version: 1\.0|"
    r"Tag-File-Character-Encoding: UTF-8|Bag-Software-Agent: carojournal/\d{1,3}\.\d{1,3}\.\d{1,3}|"
    r"Internal-Sender-Description: Events of caro's telemetry journal; see README\.txt|"
    r"(?:External-Identifier|Bag-Group-Identifier): (?:[0-9a-f-]{32,36}|carojournal-[0-9a-f]{8}-[0-9a-f]{4}-\d{6})"
)
_SUM_LINE = re.compile(r"[0-9a-f]{64} [ *](\S{1,255})")
_DROPS_LINE = re.compile(r"(drop|refuse) ([\w.<> -]{1,94}?) +\d{20} [0-9a-f]{8} ?")
_POLICY_LINE = re.compile(r"(?:channel|mode|level|source) ([\w.:-]{1,64})")

# Segments that nobody may evict for a moment: outbox/spared.tmp.
_SPARED = re.compile(rf"(?:{_ID}\n)+")
# An SSH signature: its fields between "SSHSIG" and the bytes of the signature (OpenSSH, PROTOCOL.sshsig).
_ARMOUR = re.compile(r"-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/=]{1,76}\n)+)-----END SSH SIGNATURE-----\n")
_SIGNATURE = re.compile(
    rb"SSHSIG\0\0\0\x01\0\0\0\x33\0\0\0\x0bssh-ed25519\0\0\0\x20.{32}\0\0\0\x0bcarojournal\0\0\0\0"
    rb"\0\0\0\x06sha(?:256|512)\0\0\0\x53\0\0\0\x0bssh-ed25519\0\0\0\x40.{64}",
    re.DOTALL,
)

# The README.txt of every bundle, with "NAME" for the bundle's name: unsigned, signed.
README_SHA256 = frozenset(
    (
        "5fd59c51178cb1c1882fc7a620dbee03309e0d6b183a1b62a2c4aeb899019675",
        "5aabc8b61dafbf22d4b81430b6651b5612f5c7477c5f7107189af1ccff3f6a5d",
    )
)
_README_CHARS_MAX = 8_192
_BUNDLE_NAME = re.compile(r"carojournal-[0-9a-f]{8}-[0-9a-f]{4}-\d{6}")


def is_own_text(text: str) -> bool:
    """Tell whether *text* is the README.txt of a bundle, word for word, a signature, or a list of spared segments."""
    if found := _ARMOUR.fullmatch(text[:_README_CHARS_MAX]):
        return _is_signature(found[1])
    if len(text) > _README_CHARS_MAX or not text.startswith("What this is\n"):
        return _SPARED.fullmatch(text) is not None
    return sha256(_BUNDLE_NAME.sub("NAME", text).encode()).hexdigest() in README_SHA256


def _is_signature(armoured: str) -> bool:
    try:
        return _SIGNATURE.fullmatch(b64decode(armoured.replace("\n", ""), validate=True)) is not None
    except ValueError:
        return False


def foreign_words(line: str) -> list[str]:
    """Return what of *line* must be telemetry: nothing or single words in a line of ours, the whole line otherwise."""
    if _OWN_LINE.fullmatch(line):
        return []
    if found := _DROPS_LINE.fullmatch(line):
        return [word for word in found[2].split() if word not in _DROPS_WORDS]
    if found := _POLICY_LINE.fullmatch(line):
        return [found[1]]
    if (found := _SUM_LINE.fullmatch(line)) and is_own_name(found[1]):
        return []
    return [line.strip()]


def foreign(value: object, key: str = "") -> object:
    """Return *value*, which stands under *key*, with None for what our own programs made."""
    if isinstance(value, dict):
        if _are_runs(value):
            return None
        if value.keys() == {"key", "value"}:
            value = _attribute(value)
        return {below: foreign(item, below if isinstance(below, str) else "") for below, item in value.items()}
    if isinstance(value, list):
        inner = "segment" if key == "previous" and len(value) == 3 else key
        return [foreign(item, "bytes" if inner == "segment" and type(item) is int else inner) for item in value]
    return None if _is_own(value, key) else value


def _attribute(value: dict[object, object]) -> dict[object, object]:
    """Return an attribute of OTLP, {"key": K, "value": {"intValue": "843"}}, as {K: 843}; anything else as it is."""
    given = _plain(value["value"])
    return {value["key"]: given} if isinstance(value["key"], str) and given is not None else value


def _plain(value: object) -> object:
    """Return what OTLP's encoding of a value stands for, None if it is none."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    [(kind, given)] = value.items()
    if (
        kind == "arrayValue"
        and isinstance(given, dict)
        and given.keys() == {"values"}
        and type(given["values"]) is list
    ):
        values = [_plain(one) for one in given["values"]]
        return None if None in values else values
    if kind == "intValue":
        return int(given) if isinstance(given, str) and re.fullmatch(r"-?\d{1,16}", given, re.ASCII) else None
    wanted = {"stringValue": str, "boolValue": bool, "doubleValue": float}
    return given if type(given) is wanted.get(kind) else None


def _are_runs(value: dict[object, object]) -> bool:
    """Tell whether *value* maps segments to runs of sequence numbers, as receipts and the ledger of bundles do."""
    return all(
        isinstance(key, str)
        and _RUN_KEY.fullmatch(key)
        and isinstance(runs, list)
        and all(isinstance(run, list) and len(run) == 2 and all(_is_own(seq, "seq") for seq in run) for run in runs)
        for key, runs in value.items()
        if key != "crc" or not _is_own(runs, key)
    )


def _is_own(value: object, key: str) -> bool:
    if isinstance(value, bytes):
        return len(value) == _OWN_BYTES.get(key)
    if type(value) is int:
        return key in _OWN_NUMBERS and 0 <= value <= _OWN_NUMBER_MAX
    if not isinstance(value, str):
        return False
    if value in _OWN_WORDS.get(key, ()):
        return True
    if key in _OWN_TEXT:
        return re.fullmatch(_OWN_TEXT[key], value) is not None
    return key in ("path", "file", "name") and len(value) > 20 and is_own_name(value)
