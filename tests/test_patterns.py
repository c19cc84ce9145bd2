"""L2: what passes for telemetry, what does not, and that judging takes linear time.  All strings here are invented."""

import base64
import re
from collections.abc import Iterator

import pytest
from counted import instructions
from hypothesis import given
from hypothesis import strategies as st

from carojournal import events
from carojournal.patterns import (
    RULES,
    UNKNOWN_KEY,
    checks,
    decode,
    expressions,
    grammar,
    models,
    scan,
    scan_value,
    vendors,
)
from carojournal.patterns.texts import SCAN_CHARS_MAX
from carojournal.patterns.vocabulary import is_pronounceable, split_compound

TELEMETRY = [
    "linux", "x86_64", "user_complete", "dry_run", "embedded-mlx", "PERMISSION_DENIED", "PermissionDenied", "E0042",
    "0.4.0-rc.2", "go1.22rc1", "v0.3.1-pre.2", "v0.0.0-20240102030405-abcdef012345", "2026-02-03T04:05:06.789Z",
    "8c3f2e1a-5b6d-4c7e-9f80-a1b2c3d4e5f6", "0f8fad5bd9cb469fa16570867728950e", "00000000-0000-0000-0000-000000000000",
    "llama3.2:1b-instruct-q4_K_M", "qwen2.5-coder:7b", "eu.anthropic.claude-sonnet-9-1-20290101-v1:0", "o4-mini",
    "meta-llama/Llama-3.9-12B-Instruct", "vertex_ai/gemini-9.5-pro-preview-01-02", "text-embedding-9-large",
    "sonar@001",
    "gopls/client:vscode", "go/platform/target/port:linux-arm64", "crash/malloc", "cmd/vet",
    "golang.org/x/tools/cmd/stress",
    "gen_ai.usage.input_tokens", "service.version", "true", "42",
]  # fmt: skip

SENSITIVE = {
    "email": ["jane.doe@example.com", "x+y@mail.example.org"],
    "ipv4": ["192.0.2.17", "203.0.113.5:8080"],
    "ipv6": ["2001:db8::8a2e:370:7334", "::ffff:192.0.2.1"],
    "mac": ["00:00:5e:00:53:af", "00-00-5E-00-53-AF", "0000.5e00.53af"],
    "hostname": ["db01.prod.example.com", "localhost", "web-7"],
    "url": ["https://example.com/a?b=c", "ssh://git.example.org/x"],
    "url_credential": ["postgres://app:not-a-password@db.example/x"],
    "path": ["/etc/hosts", "~/notes.txt", "../up", "src/main.rs", "C:\\Users\\x", "\\\\files\\share", "a.pdf", "~eve"],
    "vendor_key": ["AKIA" + "Q2" * 8, "ghp_" + "a1B2" * 9, "glpat-" + "x9-Z" * 5, "xoxb-" + "1234567890-" * 2 + "aB3d"],
    "jwt": ["eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"],
    "private_key": ["-----BEGIN OPENSSH PRIVATE KEY-----", "AGE-SECRET-KEY-1" + "Q" * 58],
    "secret_assignment": ["password = correct-horse", "api_key: 'abc'", "AUTH_TOKEN=zzz"],
    "env_assignment": ["LC_ALL=C", "export EDITOR=vi", "${HOME}"],
    "shell_command": ["rm -rf build", "ls | wc", "make && make install"],
    "plain_language": ["please find my holiday pictures", "\u524a\u9664\u6587\u4ef6", "\u0443\u0434\u0430\u043b\u0438"],
    "phone": ["+1 202 555 0143", "(202) 555-0143", "+442079460958"],
    "card": ["4111 1111 1111 1111", "5555555555554444"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "national_id": ["078-05-1120", "AB 12 34 56 C"],
    "postcode": ["SW1A1AA", "K1A-0B1"],
    "date": ["1980-04-22", "22.4.1980", "22 Apr 1980", "19800422"],
    "person_name": ["Alice Example", "J\u00fcrgen", "Mary-Jane", "Page"],
    "username": ["alice", "jdoe", "kim.lee"],
    "location": ["52.5200,13.4050", "geo:52.5,13.4"],
    "entropy": ["q7Zp2LxV9rT4", "9f86d081884c7d659a2feaa0c55ad015"],
    "unrecognised": ["zzyzx", "a-b-c-d", "11B"],
}  # fmt: skip


@pytest.mark.parametrize("text", TELEMETRY)
def test_telemetry_breaks_no_rule(text):
    assert scan(text) == ()


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in SENSITIVE.items() for text in texts])
def test_every_class_is_found_under_its_own_name(rule, text):
    assert rule in scan(text)


def test_every_rule_has_an_example_here():
    """The rest are rules of values, not of one plain text; their tests stand below."""
    assert set(RULES) - set(SENSITIVE) == {
        "shape",
        "encoded",
        "hidden_character",
        "split",
        "binary",
        "number",
        "type",
        "size",
    }


@pytest.mark.parametrize("values", [spec[1] for spec in events.TYPES.values() if spec[0] == "enum"])
def test_every_word_of_the_schema_is_telemetry(values):
    assert [value for value in values if scan(value)] == []


def test_every_key_of_the_schema_is_telemetry():
    keys = (
        {field for _, fields in events.EVENTS.values() for field in fields}
        | set(events.EVENT_ALIASES)
        | set(events.ENVELOPE)
    )
    assert [key for key in sorted(keys) if scan(key)] == []


@pytest.mark.parametrize("secret", ["jane.doe@example.com", "/home/jane/.netrc", "please call me at noon"])
@pytest.mark.parametrize(
    ("disguise", "rule"),
    [
        (lambda text: "".join(f"%{byte:02x}" for byte in text.encode()), "encoded"),
        (lambda text: base64.b64encode(text.encode()).decode(), "encoded"),
        (lambda text: base64.b32encode(text.encode()).decode(), "encoded"),
        (lambda text: text.encode().hex(), "encoded"),
        (lambda text: base64.b64encode(base64.b64encode(text.encode())).decode(), "encoded"),
        (lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text), "encoded"),
        (lambda text: "".join(f"&#x{ord(letter):x};" for letter in text), "encoded"),
        ("\u200b".join, "hidden_character"),
        (lambda text: "".join(chr(ord(letter) + 0xFEE0 * (letter > " ")) for letter in text), "hidden_character"),
        (str.upper, None),
        (str.title, None),
        (lambda text: "".join(reversed(text)), None),
    ],
)  # fmt: skip
def test_a_disguise_hides_nothing(secret, disguise, rule):
    broken = scan(disguise(secret))
    assert broken
    assert rule is None or rule in broken


@pytest.mark.parametrize(
    "text",
    [
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",  # RFC 9562's version 1 example: the node is somebody's MAC address
        "2ed6657d-e927-568b-95e1-2665a8aea6a2",  # version 5: a hash of a name
        "8C3F2E1A-5B6D-4C7E-9F80-A1B2C3D4E5F6",  # RFC 9562 section 4: output is lower case
        "8c3f2e1a5b6d0c7e9f80a1b2c3d4e5f6",  # no version: 16 bytes of key
        "ffffffff-ffff-7fff-bfff-ffffffffffff",  # version 7 of the year 10889
    ],
)
def test_uuids_that_carry_a_machine_or_a_name_are_none(text):
    assert scan(text)


def test_a_birthday_is_no_timestamp():
    assert scan("1985-01-01T00:00:00Z")
    assert not scan("2025-01-01T00:00:00Z")


@pytest.mark.parametrize("number", ["4111111111111111", "378282246310005", "6011111111111117"])
def test_luhn_on_published_test_cards(number):
    assert checks.is_card(number)
    assert not checks.is_card(number[:-1] + str((int(number[-1]) + 1) % 10))


@pytest.mark.parametrize("account", ["GB82WEST12345698765432", "DE89370400440532013000", "FR1420041010050500013M02606"])
def test_iban_on_the_registry_examples(account):
    assert checks.is_iban(account)
    assert not checks.is_iban(account[:-1] + ("1" if account[-1] != "1" else "2"))


@pytest.mark.parametrize(
    ("word", "expected"), [("nonewtimeout", True), ("joecool", False), ("xqzzyq", False), ("", True)]
)
def test_compounds_consist_of_technical_words(word, expected):
    assert split_compound(word) is expected


@pytest.mark.parametrize(("word", "expected"), [("zorblax", True), ("alice", False), ("xkqzt", False), ("ab", False)])
def test_an_unknown_word_passes_only_when_it_reads_like_a_product(word, expected):
    assert is_pronounceable(word) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("openai/zorblax-9", True),
        ("zorblax-labs/zorblax-2", True),
        ("zorblax/notes-2", False),
        ("zorblax/other", False),
        ("openai/alice-9", False),
    ],
)
def test_one_new_word_is_a_model_only_in_good_company(text, expected):
    assert models.is_model(text) is expected


@pytest.mark.parametrize(
    "text",
    ["gpt-4111-1111-1111-1111", "gpt-212-555-0187", "gpt-078-05-1120", "gpt-1980-05-17", "llama-17.05.1980"]
    + ["gpt-52.5200-13.4050", "llama-8.8.4.4", "openai/gpt-49-176-1234-5678", "gpt-0176-1234-5678"],
)
def test_no_number_of_somebody_hides_behind_a_family(text):
    assert scan(text)


def test_values_are_walked_to_their_keys_bytes_and_numbers():
    document = {
        "os": "linux",
        "jane.doe@example.com": 1,
        "level": ["standard", {"os": b"jane.doe@example.com"}],
        "count": 4111111111111111,
        "score": 52.52001,
        "code": b"\xff\x00\x01",
        "what": object(),
    }
    hits = {(hit.path, hit.rule) for hit in scan_value(document, {"os", "level", "count", "score", "code", "what"})}
    assert {
        ((UNKNOWN_KEY,), "email"),
        (("level", 1, "os"), "email"),
        (("count",), "card"),
        (("count",), "number"),
        (("score",), "number"),
        (("code",), "binary"),
        (("what",), "type"),
    } <= hits
    assert not any("jane" in str(part) for path, _ in hits for part in path)


@pytest.mark.parametrize(
    "value",
    [0, -1, 999_999, 86_400_000, 1.0, 0.37, True, None, "", [], {}, b"", {"start_timestamp": 1_770_000_000_000}],
)
def test_counts_durations_and_emptiness_are_clean(value):
    known = {"start_timestamp"}
    assert list(scan_value(value, known)) == []


@pytest.mark.parametrize(
    "value",
    [
        ["AKIAQ2Q2", "Q2Q2Q2Q2Q2Q2"],
        {"part_2": "0.2.1", "part_1": "192."},
        {"192.0": "2.1"},
        [4111, 1111, 1111, 1111],
    ],
)
def test_neighbours_are_read_together(value):
    assert "split" in {hit.rule for hit in scan_value(value)}


def test_character_codes_are_read_as_text():
    assert "encoded" in {hit.rule for hit in scan_value([ord(letter) for letter in "jane.doe"])}
    assert not list(scan_value([ord(letter) for letter in "linux"]))


def test_depth_and_size_are_bounded():
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    assert [hit.rule for hit in scan_value(deep)] == ["size"]


@given(st.text())
def test_any_text_is_judged_by_named_rules_and_never_raises(text):
    assert set(scan(text)) <= set(RULES)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), lambda inner: (
    st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner))))  # fmt: skip
def test_any_document_is_walked_without_an_error(document):
    assert all(hit.rule in RULES for hit in scan_value(document))


def _repeats(parsed: object, inside: int) -> Iterator[tuple[int, int]]:
    """Yield (times that the enclosing repeats allow, this repeat's maximum) of every repeat in a parsed pattern."""
    for operation, argument in parsed:  # type: ignore[attr-defined]
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, body = argument
            high = min(int(high), 1 << 20)
            if low != high:
                yield inside, high
            yield from _repeats(body, inside * max(1, high))
        elif name == "SUBPATTERN":
            yield from _repeats(argument[3], inside)
        elif name == "BRANCH":
            for branch in argument[1]:
                yield from _repeats(branch, inside)
        elif name in ("ASSERT", "ASSERT_NOT"):
            yield from _repeats(argument[1], inside)


def _patterns() -> list[re.Pattern[str]]:
    modules = (expressions, grammar, models, vendors, decode)
    found = [value for module in modules for value in vars(module).values() if isinstance(value, re.Pattern)]
    return found + list(expressions.PATTERNS.values())


@pytest.mark.parametrize("pattern", _patterns(), ids=lambda pattern: pattern.pattern[:24])
def test_no_unbounded_repeat_stands_in_another(pattern):
    """What makes a regex exponential is a repeat of a repeat; a bounded one may stand in a short bounded one."""
    parsed = re._parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)  # type: ignore[attr-defined]
    for enclosing, most in _repeats(parsed, 1):
        assert enclosing == 1 or enclosing * most <= 4096


UNITS = "a 1 a@ a. A_ 1- : / eyJ %41 \\u0041 = ab- 0: \u200b MII (( a1".split(" ") + ["1 ", "pass "]
_SCANS = """
import sys
from carojournal.patterns import scan
size = int(sys.argv[1])
for unit in sys.argv[2:]:
    scan((unit * size)[:size] + "!")
"""


def test_work_grows_with_the_text_not_faster(tmp_path):
    """44,000 instructions a character when written, at every length; growth with the square would show at 600."""
    short, long = (instructions(tmp_path, ["-c", _SCANS, str(size), *UNITS]) for size in (1, 600))
    assert long - short < 60_000 * 600 * len(UNITS)


def test_what_follows_the_longest_scanned_text_is_not_looked_at():
    text = "a" * SCAN_CHARS_MAX
    assert scan(text + "/home/alice/key.pem") == scan(text)
