"""The whole recorder against sensitive strings of many kinds, in every place: none is stored, none is said, all count.

The strings are invented here.  `tools/score_redaction.py --recorder` does the same with files of them.
"""

import base64
import os
import random

import pytest
from segments_by_hand import events as stored_events

from carojournal import Journal, drops, refusal
from score_recorder import _places

PLAIN = {
    "mail address": "jane.doe+work@example.com",
    "path": "/home/jane/projects/secret-plan/.env",
    "relative path": "../jane/notes.txt",
    "Windows path": r"C:\Users\jane\Documents\taxes.xlsx",
    "UNC path": r"\\fileserver\jane$\hr",
    "IPv4 address": "192.168.17.23",
    "IPv6 address": "2001:db8:85a3::8a2e:370:7334",
    "MAC address": "00:1b:44:11:3a:b7",
    "host name": "build-7.internal.example.org",
    "URL with credentials": "https://jane:hunter2@git.example.com/repo.git?token=abc",
    "AWS key": "AKIA" + "IOSFODNN7EXAMPLE",
    "GitHub token": "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.c2lnbmF0dXJl",
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r",
    "password": "PGPASSWORD=correct-horse-battery",
    "variable": "HOME=/home/jane",
    "command": "scp -r ~/clients jane@10.0.0.5:/srv && rm -rf /tmp/x",
    "plain language": "please delete everything about Jane from the payroll",
    "another script": "\u8bf7\u5220\u9664\u5f20\u4f1f\u7684\u5de5\u8d44\u5355",
    "telephone number": "+49 30 901820",
    "telephone number in digits": "4930901820",
    "card": "4111 1111 1111 1111",
    "IBAN": "DE89370400440532013000",
    "user name": "jane_doe",
    "UUID of somebody else": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "high entropy": "q7Zr9Lw2Xk4Vt8Bn1Mc6Hs3Jd5Gf0Pa",
}
DISGUISED = {
    "base64": base64.b64encode(PLAIN["mail address"].encode()).decode(),
    "hexadecimal": PLAIN["path"].encode().hex(),
    "percent": "jane%2Edoe%40example%2Ecom",
    "zero width": "jane\u200b.doe@exam\u200dple.com",
    "full width": "\uff4a\uff41\uff4e\uff45\uff20\uff45\uff58.com",
    "mixed case": "JaNe.DoE@ExAmPlE.cOm",
    "escape sequence": "\x1b[31mjane.doe@example.com\x1b[0m",
    "NUL": "jane\0doe@example.com",
    "version with a tail": "1.1.0-jane.doe",
    "version with a name": "1.1.0-beta.jane",
    "model with a path": "llama3:8b/home/jane",
    "error code with a tail": "E0001-jane",
    "long": "jane.doe@example.com " * 500,
}
STRINGS = {**PLAIN, **DISGUISED}


def kept_bytes(root):
    """Return every name and byte below *root*."""
    blocks = []
    for base, folders, names in os.walk(root):
        blocks += [name.encode() for name in (*folders, *names)]
        for name in names:
            with open(os.path.join(base, name), "rb") as file:
                blocks.append(file.read())
    return b"\n".join(blocks)


def spellings(text):
    raw = text.encode("utf-8", "surrogatepass")
    return {raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), raw[:20], repr(text)[1:-1].encode()}


@pytest.fixture
def made(root, clock):
    """A journal that keeps all levels; generations, sessions and runs of random ids that never spell a word."""
    bits = random.Random(5)
    with Journal.open(root, clock=clock, admin="/nonexistent", level="detailed", random=bits.randbytes) as journal:
        yield journal


@pytest.mark.parametrize("kind", STRINGS)
def test_no_sensitive_string_gets_in_or_is_said_and_every_event_is_accounted_for(kind, made, root, capfd):
    text = STRINGS[kind]
    told = []
    kept = tried = 0
    for event, fields in _places(text):
        tried += 1
        kept += made.record(event, **{str(key): value for key, value in fields.items()})
    for event, fields in (
        ("session_start", {"caro_version": text, "os": "linux"}),
        (text, {}),
        ("session_end", {text: 1}),
    ):
        try:
            made.append(event, **fields)
        except Exception as error:  # noqa: BLE001 - whatever it is must not repeat the text
            told.append(f"{error!r} {error} {error.args} {error.__cause__!r} {error.__context__!r}")
    assert len(told) == 3
    stats = made.stats
    # Conservation: each call is kept or refused, and what is kept is what is on the disk.
    assert (stats["recorded"], stats["refused"], stats["filtered"], stats["dropped"]) == (kept, tried + 3 - kept, 0, 0)
    assert len(stored_events(root)) == kept
    assert kept > 0, "optional fields cost the field, not the event"
    made.close()
    held = kept_bytes(root)
    said = ("".join(capfd.readouterr()) + repr(stats) + "".join(told)).encode("utf-8", "surrogatepass")
    assert not [form for form in spellings(text) if form in held or form in said]


def test_refusals_are_counted_in_closed_words(made, root):
    texts = [*STRINGS.values(), "jane\udc80doe@example.com"]  # No UTF-8 has a surrogate; a host may well.
    for text in texts:
        assert made.record("session_start", caro_version=text, os="linux") is False
        assert made.record(text) is False
    made.close()
    counts = drops.read_counts(root)[0]
    assert sum(count for key, count in counts.items() if key.startswith("refuse ")) == 2 * len(texts)
    for key in counts:
        kind, *words = key.split(" ")
        assert kind in ("drop", "refuse")
        assert words[-1] in {**refusal.REASONS, **drops.DROP_REASONS}


def test_the_same_places_take_what_the_schema_knows(made, root):
    """The control: a word of the schema, in the same places, is kept."""
    for event, fields in _places("linux"):
        made.record(event, **fields)
    assert b"boslinux" in kept_bytes(root).replace(b"\x65linux", b"linux").replace(b"\x62os", b"bos")
