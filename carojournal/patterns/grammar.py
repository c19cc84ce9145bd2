"""What telemetry identifiers look like: the positive half of L2.

A text is telemetry when one of these recognises it, whole; whatever is not recognised is a finding.  The grammars know
public words and published formats, not the schema's values, so they also judge what the schema would have to refuse.

    uuid       RFC 9562, lower case, with or without dashes; of a kind that carries no machine address or name hash
    timestamp  RFC 3339 in UTC, of this journal's era (a birthday is not)
    version    1.2, v1.2.3-rc.1, go1.25rc2, a Go pseudo-version
    number     at most two digits
    code       E and four digits
    word       technical words in snake, kebab, dotted, camel or upper case
    method     a method of the Model Context Protocol
    program    a Go command's import path
    counter    program/path:value
    model      see `models`

Every function is linear in its text (the compound splitter quadratic in one word of at most 64 letters).
"""

import re

from carojournal.patterns.models import is_model
from carojournal.patterns.vocabulary import (
    CAPITALISED_NAMES,
    CONTEXT,
    GIVEN_NAMES,
    TECHNICAL,
    is_pronounceable,
    split_compound,
)

__all__ = ["recognise"]

PARTS_MAX = 12  # The longest names of OpenTelemetry's metrics have nine.
DIGITS_MAX = 8  # In a worded identifier: a year, a code, a size; nine and more are someone's number.
DIGIT_RUN_MAX = 4
NUMBERS_MAX = 3  # A version's parts.
REQUEST_WORDS_MIN = 3  # "find_large_files" is what a person wants; "list_changed" is a word.
YEAR_MIN, YEAR_MAX = 2015, 2099  # Caro did not exist before, and dates of birth of its users lie before.
UUID1_EPOCH_100NS = 0x01B21DD213814000  # RFC 9562 section 5.1: 1582-10-15 to 1970-01-01.
SECONDS_PER_YEAR = 31_556_952

_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")
_TIMESTAMP = re.compile(
    r"(\d{4})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|\+00:00)"
)
_NUMBER = r"(?:0|[1-9]\d{0,%d})"
_STAGE = r"(?:alpha|beta|rc|pre|dev|preview|nightly|canary|post|snapshot|lts|stable)"
_TAG = rf"(?:[-.]?{_STAGE}(?:[-.]?\d{{1,4}})?(?:\.\d{{1,3}})?)?"
_VERSION = re.compile(
    r"(?:v|go)" + _NUMBER % 3 + r"(?:\." + _NUMBER % 4 + r"){0,2}" + _TAG
    + r"|" + _NUMBER % 2 + r"\." + _NUMBER % 1 + _TAG
    + r"|" + _NUMBER % 3 + r"\." + _NUMBER % 3 + r"\." + _NUMBER % 4 + _TAG
    + r"|(?:20)?[12]\d\.(?:0[1-9]|1[0-2]|[1-9])(?:\.\d{1,3})?"
    + r"|v\d{1,3}\.\d{1,4}\.\d{1,4}-(?:[a-z]{2,5}\.)?(?:\d\.)?20\d{12}-[0-9a-f]{12}"
)  # fmt: skip
_DOTTED_DATE = re.compile(r"(?:0?[1-9]|[12]\d|3[01])\.(?:0?[1-9]|1[0-2])\.(?:19|20)\d\d")
_HUMP = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_PIECE = re.compile(r"[^/:._-]+")
_WORD_DIGITS = re.compile(r"([a-z]+)\d{1,2}")

_NAMESPACES = CONTEXT["namespaces"]
_HOST_ENDINGS = CONTEXT["host endings"]
_FILE_ENDINGS = CONTEXT["file endings"]
_SINGLE_REFUSED = CONTEXT["refused alone"]
_HOST_ROLES = CONTEXT["host roles"]
_ACCOUNTS = CONTEXT["accounts"]
_COMMAND_TOOLS = CONTEXT["command tools"]
_REQUESTS = CONTEXT["requests"]
_METHOD_FAMILIES = CONTEXT["method families"]
_COUNTER_PROGRAMS = CONTEXT["counter programs"]
_PROGRAM_HOSTS = CONTEXT["program hosts"]
_CODE_HOSTS = CONTEXT["code hosts"]
_CODE_OWNERS = CONTEXT["code owners"]
_ATTRIBUTE_WORDS = CONTEXT["attribute words"]
_ATTRIBUTE_ENDINGS_OF_TWO = frozenset(("id", "io", "ip", "os", "ms", "ns", "db", "vm"))


def recognise(text: str) -> str | None:
    """Return the name of the grammar that recognises the whole of *text* (at most 64 characters), or None."""
    for kind, matches in _GRAMMARS:
        if matches(text):
            return kind
    return None


def _is_uuid(text: str) -> bool:
    """Versions 4, 7 and 8, and 1 and 6 with a random node; 3 and 5 hash a name, 2 holds a user id.

    A node with its multicast bit set is random (RFC 9562 section 6.10); without it, it is the machine's MAC address.
    Times must lie in this era, which keeps arbitrary hexadecimal keys from passing as UUIDs of the timed versions.
    """
    if not _UUID.fullmatch(text):
        return False
    digits = text.replace("-", "")
    if not int(digits, 16):
        return True
    if digits[16] not in "89ab":
        return False
    version = digits[12]
    if version in "16":
        ordered = digits[13:16] + digits[8:12] + digits[:8] if version == "1" else digits[:12] + digits[13:16]
        era = (int(ordered, 16) - UUID1_EPOCH_100NS) / 10_000_000 / SECONDS_PER_YEAR + 1970
        return bool(int(digits[20:22], 16) & 1) and YEAR_MIN <= era <= YEAR_MAX
    if version == "7":
        return YEAR_MIN <= int(digits[:12], 16) / 1000 / SECONDS_PER_YEAR + 1970 <= YEAR_MAX
    return version == "4" or (version == "8" and "-" in text)


def _is_timestamp(text: str) -> bool:
    found = _TIMESTAMP.fullmatch(text)
    return found is not None and YEAR_MIN <= int(found[1]) <= YEAR_MAX


def _is_version(text: str) -> bool:
    if not _VERSION.fullmatch(text) or _DOTTED_DATE.fullmatch(text):
        return False
    return [len(part) for part in text.split(".")] != [3, 3, 4]  # the North American numbering plan


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and (len(text) <= 2 or text in TECHNICAL)


def _is_code(text: str) -> bool:
    return len(text) == 5 and text[0] == "E" and text[1:].isascii() and text[1:].isdigit()


def _is_known(part: str) -> bool:
    """Tell whether lower-case *part* is a technical word, a version, a short number or a word with a short number."""
    if part in TECHNICAL:
        return True
    if part.isdigit():
        return len(part) <= DIGIT_RUN_MAX
    found = _WORD_DIGITS.fullmatch(part)
    return found is not None and found[1] not in _ACCOUNTS and (found[1] in TECHNICAL or found[1] == "v")


def _is_word(text: str) -> bool:
    if text[:1] == "_" and text.isupper():
        text = text[1:]  # OpenTelemetry's "_OTHER"
    parts = _PIECE.findall(text)
    separators = len(text) - sum(map(len, parts))
    if not parts or "/" in text or ":" in text or separators != len(parts) - 1 or len(parts) > PARTS_MAX:
        return False
    if not (text[:1].isalpha() and text[-1:].isalnum() and text.isascii()):
        return False
    return _is_single(text) if len(parts) == 1 else _is_compound(text, [part.lower() for part in parts])


def _is_compound(text: str, parts: list[str]) -> bool:
    if not (text.islower() or text.isupper()) or sum(map(str.isdigit, text)) > DIGITS_MAX:
        return False
    if "." in text and not _is_attribute(text):
        return False
    is_request = parts[0] in _REQUESTS and len(parts) >= REQUEST_WORDS_MIN
    is_command = parts[0] in _COMMAND_TOOLS and len(parts) == 2 and "-" in text
    if is_request or is_command or _is_machine(text, parts) or text in _ACCOUNTS:
        return False
    letters = [part for part in parts if len(part) == 1 and part.isalpha()]  # "c-shared", "z_os"
    more = _ATTRIBUTE_WORDS if "." in text else frozenset()
    return len(letters) <= 1 and all(part in letters or part in more or _is_known(part) for part in parts)


def _is_single(text: str) -> bool:
    lower = text.lower()
    if lower in GIVEN_NAMES or (text.istitle() and lower in CAPITALISED_NAMES):
        return False
    if lower in _SINGLE_REFUSED and text != "HEAD":  # a method of HTTP
        return False
    if text.islower() or text.isupper() or text.istitle():
        return lower in TECHNICAL or (lower[0] == "v" and lower[1:].isdigit() and _is_known(lower))
    humps = _HUMP.findall(text)
    if "".join(humps) != text or (humps[0].lower() in _REQUESTS and len(humps) >= REQUEST_WORDS_MIN):
        return False
    return all(len(hump) > 1 and hump.lower() in TECHNICAL for hump in humps)


def _is_machine(text: str, parts: list[str]) -> bool:
    """Tell whether *parts* are roles of a host, end in the number of one, or hold more numbers than a version has."""
    numbers = sum(part.isdigit() for part in parts)
    if numbers > NUMBERS_MAX or (parts[-1].isdigit() and not _HOST_ROLES.isdisjoint(parts)):
        return True
    return "-" in text and all(part in _HOST_ROLES or part.isdigit() or len(part) == 1 for part in parts)


def _is_attribute(text: str) -> bool:
    labels = text.lower().split(".")
    last = labels[-1]
    if labels[0] not in _NAMESPACES or last in _HOST_ENDINGS or last in _FILE_ENDINGS or last.isdigit():
        return False
    return len(last) > 2 or last in _ATTRIBUTE_ENDINGS_OF_TWO


def _is_method(text: str) -> bool:
    head, _, rest = text.partition("/")
    return head in _METHOD_FAMILIES and all(_is_word(part) for part in rest.split("/"))


def _is_program(text: str) -> bool:
    head, _, rest = text.partition("/")
    segments = rest.split("/")
    if head in _CODE_HOSTS:
        if len(segments) < 2 or segments.pop(0) not in _CODE_OWNERS:
            return False
    elif head not in _PROGRAM_HOSTS and head != "cmd":
        return False
    return all(_is_package(segment) for segment in segments)


def _is_package(segment: str) -> bool:
    parts = segment.split("-")
    return segment.islower() and all(
        part in TECHNICAL or split_compound(part) or part in ("x", "v2", "v3", "v4") for part in parts
    )


def _is_counter(text: str) -> bool:
    program, _, rest = text.partition("/")
    path, colon, value = rest.partition(":")
    if (
        program not in _COUNTER_PROGRAMS
        or not path
        or bool(colon) != bool(value)
        or sum(map(str.isdigit, text)) > DIGITS_MAX
    ):
        return False
    _, dot, ending = value.rpartition(".")
    if (dot and ending in _FILE_ENDINGS) or not (value[:1] + value[-1:] + path[-1]).isalnum():
        return False
    if not all(_is_known(part) or split_compound(part) or len(part) == 1 for part in _PIECE.findall(path)):
        return False
    unknown = 0
    for part in _PIECE.findall(value):
        lower = part.lower()
        if _is_known(lower) or len(lower) == 1 or split_compound(lower):
            continue
        unknown += 1
        if unknown > 1 or not is_pronounceable(lower):
            return False
    return True


_GRAMMARS = (
    ("uuid", _is_uuid),
    ("timestamp", _is_timestamp),
    ("version", _is_version),
    ("number", _is_number),
    ("code", _is_code),
    ("word", _is_word),
    ("method", _is_method),
    ("program", _is_program),
    ("counter", _is_counter),
    ("model", is_model),
)
