"""Which schemas exist: the chained list of every released version, and the hash that names one.

    schema hash = SHA-256 of the canonical CBOR of [SCHEMA_VERSION, EVENTS, TYPES], the journal's own events included
    entry hash  = SHA-256(previous entry's hash (32 bytes, first: zeros) + version (4 bytes, big-endian) + schema hash)

The schema hash covers what a stored record may hold: every event, field, type, range, level and the order of an enum's
words.  It leaves out on purpose

    aliases            they act on the way in and are never stored
    the envelope       it belongs to the segment format, which has a version of its own
    word lists of      public model names and error codes grow with every release.  Each station checks against its own
    `grammars` and     list: a word it does not know leaves the field out, and can let nothing in
    `error_codes`

A change of a grammar's rules, not its words, asks for a new SCHEMA_VERSION by hand.

`schema/registry.json` is package data.  An entry is never edited once released: its hash is part of the next one's, so
a changed or missing entry breaks the chain.  A hash outside the list is unknown, and a segment under an unknown schema
is not packed, exported, sent or imported.
"""

import functools
import hashlib
import json
import os

from carojournal import events, own_events
from carojournal.errors import DamagedData

__all__ = [
    "REGISTRY_PATH",
    "chained",
    "entry_hash",
    "is_contained",
    "is_known_schema",
    "read_registry",
    "schema_hash",
]

REGISTRY_PATH = os.path.join(os.path.dirname(__file__), "schema", "registry.json")
NO_ENTRY = bytes(32)  # Stands before the first entry.
# Earlier schemas that the present one only adds to: what it refuses, they refused.  A test compares their JSON Schemas.
_CONTAINED = frozenset((bytes.fromhex("f096de0bce911d9017a229a98a4dbc743a57306dddd8b465e1f168cffc561c02"),))


def schema_hash() -> bytes:
    """Return the SHA-256 (32 bytes) of the schema that this package contains."""
    from carojournal.codec import dumps

    return hashlib.sha256(dumps([events.SCHEMA_VERSION, own_events.ALL_EVENTS, own_events.ALL_TYPES])).digest()


def entry_hash(previous: bytes, version: int, schema: bytes) -> bytes:
    """Return the hash (32 bytes) of the entry for *version* (1 to 2**32 - 1), *schema* and *previous* have 32 bytes."""
    return hashlib.sha256(previous + version.to_bytes(4, "big") + schema).digest()


def chained(released: "list[tuple[int, bytes]]") -> list[dict[str, object]]:
    """Return the registry's entries for (version, schema hash) pairs in order of release."""
    entries: list[dict[str, object]] = []
    previous = NO_ENTRY
    for version, schema in released:
        previous = entry_hash(previous, version, schema)
        entries.append({"version": version, "schema_sha256": schema.hex(), "entry_sha256": previous.hex()})
    return entries


def read_registry(path: str = REGISTRY_PATH) -> list[tuple[int, bytes]]:
    """Return the (version, schema hash) pairs of every released schema, oldest first.

    Raises DamagedData if the file is not a registry or its chain of hashes is broken, OSError if it cannot be read.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        entries = json.loads(text)["schemas"]
        released = [(int(entry["version"]), bytes.fromhex(entry["schema_sha256"])) for entry in entries]
        whole = entries == chained(released)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DamagedData(path, 0, "not a schema registry") from error
    if not whole or [version for version, _ in released] != list(range(1, len(released) + 1)):
        raise DamagedData(path, 0, "the chain of entry hashes is broken")
    return released


def is_contained(schema: bytes) -> bool:
    """Tell whether the present allowlist admits every event that the one named *schema* admitted.

    Only then is an event under that schema which it refuses one that should never have been recorded.
    """
    return schema == events.SCHEMA_HASH or schema in _CONTAINED


@functools.cache
def _known() -> frozenset[bytes]:
    return frozenset(schema for _, schema in read_registry())


def is_known_schema(schema: bytes) -> bool:
    """Tell whether *schema* (the 32 bytes of a segment header) names a released schema.

    Raises DamagedData if the registry of this installation is broken: better nothing is sent than anything unknown.
    """
    return schema in _known()
