"""Names of public models: the shape that Ollama, Hugging Face, cloud catalogues and routers share.

    name   = token ((":" | "/" | "." | "@" | "_" | "-") token)*
    token  = family or provider | qualifier | technical word | number | size | family with a number

At least one family or provider anchors a name, or a maker whose name stands in it twice. New models appear monthly, so
one unknown word is let through when it reads like a product's name and at least two other tokens speak for a model;
given names and random letters never are.

Numbers in a row are a version, a date of release or both, so that no card, telephone number, date of birth, coordinates
or address stands behind a family's name.
"""

import re
from itertools import groupby

from carojournal.patterns.vocabulary import ANCHORS, CONTEXT, GIVEN_NAMES, QUALIFIERS, TECHNICAL, is_pronounceable

__all__ = ["is_model"]

TOKENS_MAX = 16  # The longest catalogue names have twelve.
DIGITS_MAX = 18  # Version, two sizes and an ISO date.
NUMBERS_MAX = 8
EVIDENCE_MIN = 2  # Tokens that speak for a model beside one unknown word, its own name.
EVIDENCE_ACRONYM_MIN = 3  # As above, where the unknown word is only a few letters and need not be pronounceable.
ACRONYM_CHARS_MAX = 4
ANCHOR_CHARS_MIN = 4  # Shorter families would find themselves at the start of too many words.

_HOST_ENDINGS = CONTEXT["host endings"]
_SEPARATORS = re.compile(r"[:/.@_-]")
_NUMBER = re.compile(
    r"\d{1,4}|2\d(?:0[1-9]|1[0-2])[0-3]\d|202\d(?:0[1-9]|1[0-2])[0-3]\d"
)  # YYMMDD, YYYYMMDD of this decade
_MONTH, _DAY = r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_VERSION = r"(?:\d-\d{1,2}(?:-\d)?|\d{1,2})"
_RELEASE = rf"(?:20[123]\d(-?){_MONTH}\1{_DAY}|2\d{_MONTH}{_DAY}|{_MONTH}-20[123]\d)"
_SHORT_RELEASE = rf"(?:{_MONTH}{_DAY}|[23]\d{_MONTH})"
_ROW = re.compile(
    rf"{_VERSION}|(?:{_VERSION}-)?(?:{_RELEASE}|{_SHORT_RELEASE})|{_MONTH}-{_DAY}|\d{{3,4}}"
)  # Joined by "-": 4-5 4-5-20250929 3-5-0125 05-06 2160
_SIZE = re.compile(
    r"[a-z]{0,3}\d{1,4}(?:[px]\d{1,3})?[a-z]{0,2}|\d{1,2}bit|\d[a-z]\d?[a-z]|[a-z]\d[a-z]\d?"
)  # 70b 8x22b 4o a35b i2v
_TAG = re.compile(r"[a-z]:\d{1,3}(?:\.\d)?b(?:-|$)")  # Ollama's size tag says as much as a family's name
_FAMILY = re.compile(r"([a-z]+)\d{1,3}(?:p\d)?[a-z]?")  # qwen3 llama2 qwen2p5 phi3v


def is_model(text: str) -> bool:
    """Tell whether *text* (at most 64 characters) has the shape of a public model's name.  Linear time."""
    tokens = _SEPARATORS.split(text.lower())
    if not 0 < len(tokens) <= TOKENS_MAX or "" in tokens or sum(map(str.isdigit, text)) > DIGITS_MAX:
        return False
    if len(tokens) == 1:
        return _is_family(tokens[0]) and tokens[0] not in GIVEN_NAMES
    if text.rpartition(".")[2].partition(":")[0] in _HOST_ENDINGS or _is_person(tokens):
        return False
    if not all(_ROW.fullmatch("-".join(row)) for is_number, row in groupby(tokens, str.isdigit) if is_number):
        return False
    kinds = [_kind(token) for token in tokens]
    unknown = sorted({token for token, kind in zip(tokens, kinds, strict=True) if kind == "unknown"})
    anchored = "anchor" in kinds or _TAG.search(text) is not None or _is_own_maker(text, unknown)
    if not anchored or kinds.count("number") > NUMBERS_MAX:
        return False
    evidence = sum(kind in ("anchor", "number", "qualifier") for kind in kinds)
    return not unknown or (len(unknown) == 1 and _is_product(unknown[0], evidence))


def _is_own_maker(text: str, unknown: list[str]) -> bool:
    """Tell whether the one unknown word names both maker and model: `zorblax-labs/zorblax-2`."""
    maker, _, name = text.lower().partition("/")
    return len(unknown) == 1 and unknown[0] in _SEPARATORS.split(maker) and unknown[0] in _SEPARATORS.split(name)


def _is_product(token: str, evidence: int) -> bool:
    """Tell whether *token* may be the new word in a name whose other tokens give *evidence*."""
    if evidence < EVIDENCE_MIN or not token.isalpha() or token in GIVEN_NAMES:
        return False
    return is_pronounceable(token) or (evidence >= EVIDENCE_ACRONYM_MIN and len(token) <= ACRONYM_CHARS_MAX)


def _is_person(tokens: list[str]) -> bool:
    """Tell whether a family's name is only part of somebody's: some are given names, and a handle joins two."""
    given = [token in GIVEN_NAMES and token not in QUALIFIERS for token in tokens]
    return any(given) and all(is_given or token in ANCHORS for is_given, token in zip(given, tokens, strict=True))


def _is_family(token: str) -> bool:
    """Tell whether *token* is an anchor, alone, with a version or with a technical word (`moonshotai`)."""
    if token in ANCHORS:
        return True
    found = _FAMILY.fullmatch(token)
    if found is not None:
        return found[1] in ANCHORS
    return any(
        token[:end] in ANCHORS and (token[end:] == "ai" or token[end:] in TECHNICAL)
        for end in range(ANCHOR_CHARS_MIN, len(token) - 1)
    )


def _kind(token: str) -> str:
    if token.isdigit():
        return "number" if _NUMBER.fullmatch(token) else "unknown"
    if _is_family(token):
        return "anchor"
    if token in QUALIFIERS:
        return "qualifier"
    if token in TECHNICAL or (len(token) == 1 and token.isalpha()):
        return "word"
    if _SIZE.fullmatch(token):
        return "number"
    found = _FAMILY.fullmatch(token)
    return "qualifier" if found is not None and (found[1] in QUALIFIERS or found[1] in TECHNICAL) else "unknown"
