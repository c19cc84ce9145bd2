"""Every released schema is known, nothing else is, and the list cannot be edited unnoticed."""

import hashlib
import json
import os
import shutil

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal import events, own_events
from carojournal.errors import DamagedData
from carojournal.schema_registry import (
    REGISTRY_PATH,
    chained,
    entry_hash,
    is_contained,
    is_known_schema,
    read_registry,
    schema_hash,
)


def test_the_constant_is_the_hash_of_the_schema():
    """Computed here the way the docstring says, with cbor2 and hashlib alone."""
    everything = {**events.EVENTS, **own_events.OWN_EVENTS}
    types = {**events.TYPES, **own_events.OWN_TYPES}
    encoded = cbor2.dumps([events.SCHEMA_VERSION, everything, types], canonical=True)
    assert hashlib.sha256(encoded).digest() == schema_hash() == events.SCHEMA_HASH


def test_the_newest_entry_is_this_schema():
    assert read_registry()[-1] == (events.SCHEMA_VERSION, events.SCHEMA_HASH)


def test_known_is_what_the_registry_lists():
    assert all(is_known_schema(schema) for _, schema in read_registry())


def definitions(version):
    with open(os.path.join(os.path.dirname(REGISTRY_PATH), f"events-v{version}.schema.json"), encoding="utf-8") as file:
        return json.load(file)["$defs"]


def test_a_schema_is_contained_if_every_definition_of_it_still_stands():
    """Only then does a refusal by today's allowlist mean that an event of that time should not be there."""
    now = definitions(events.SCHEMA_VERSION)
    for version, schema in read_registry():
        assert is_contained(schema) == (definitions(version).items() <= now.items())
    assert not is_contained(bytes(32))


@given(st.binary(max_size=40))
def test_anything_else_is_unknown(schema):
    assert is_known_schema(schema) == (schema in dict(map(reversed, read_registry())))


def test_one_bit_makes_a_schema_unknown():
    for bit in range(256):
        flipped = bytearray(events.SCHEMA_HASH)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not is_known_schema(bytes(flipped))


def test_entries_are_chained_as_documented():
    first, second = hashlib.sha256(b"one").digest(), hashlib.sha256(b"two").digest()
    entries = chained([(1, first), (2, second)])
    link = hashlib.sha256(bytes(32) + b"\x00\x00\x00\x01" + first).digest()
    assert entries[0] == {"version": 1, "schema_sha256": first.hex(), "entry_sha256": link.hex()}
    assert entries[1]["entry_sha256"] == hashlib.sha256(link + b"\x00\x00\x00\x02" + second).hexdigest()
    assert entry_hash(link, 2, second).hex() == entries[1]["entry_sha256"]


@pytest.fixture
def registry(tmp_path):
    """A registry of three releases, and a function that edits it."""
    path = str(tmp_path / "registry.json")
    shutil.copy(REGISTRY_PATH, path)
    released = [(version, hashlib.sha256(bytes((version,))).digest()) for version in (1, 2, 3)]

    def edit(change=lambda schemas: schemas):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"schemas": change(chained(released))}, file)
        return path

    assert read_registry(edit()) == released
    return edit


@pytest.mark.parametrize(
    "change",
    [
        lambda schemas: [{**schemas[0], "schema_sha256": "00" * 32}, *schemas[1:]],
        lambda schemas: [{**schemas[0], "entry_sha256": "00" * 32}, *schemas[1:]],
        lambda schemas: schemas[1:],
        lambda schemas: [schemas[0], schemas[2]],
        lambda schemas: [schemas[1], schemas[0], schemas[2]],
        lambda schemas: [*schemas, schemas[2]],
        lambda schemas: [{**schemas[0], "note": "edited"}, *schemas[1:]],
        lambda schemas: [{**schemas[0], "version": "1"}, *schemas[1:]],
        lambda schemas: [{**schemas[0], "version": -1}, *schemas[1:]],
        lambda schemas: [{"version": 1}, *schemas[1:]],
        lambda schemas: chained([(2, bytes.fromhex(schemas[0]["schema_sha256"]))]),
        lambda _: None,
        lambda _: [None],
    ],
)
def test_an_edited_registry_is_damage(registry, change):
    with pytest.raises(DamagedData):
        read_registry(registry(change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schemas": 1}'])
def test_a_file_that_is_no_registry_is_damage(tmp_path, text):
    path = tmp_path / "registry.json"
    path.write_text(text)
    with pytest.raises(DamagedData):
        read_registry(str(path))
