"""The same text without its disguises: a bounded set of forms that a text may have had before somebody encoded it.

Each step undoes one disguise; steps are repeated on their own results up to ROUNDS times, at most FORMS_MAX forms in
all, so work is bounded by FORMS_MAX times the capped length whatever the input.
"""

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import unquote_plus

__all__ = ["FORMS_MAX", "forms", "visible"]

ROUNDS = 3  # Percent within base64 within JSON; deeper nesting has never been an accident.
FORMS_MAX = 24
ENCODED_CHARS_MIN = 8  # Fewer characters decode to something by chance.
ENCODED_RUNS_MAX = 4  # Encoded runs looked at within one longer text.

_ESCAPE = re.compile(
    r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([0-7]{3}))|&#x([0-9A-Fa-f]{1,6});?"
)
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{{ENCODED_CHARS_MIN},}}={{0,2}}")
_HEX = re.compile(rf"(?:[0-9A-Fa-f]{{2}}[ :,-]?){{{ENCODED_CHARS_MIN // 2},2048}}")
_BASE32 = re.compile(rf"[A-Za-z2-7]{{{ENCODED_CHARS_MIN},}}={{0,6}}")
_JOINTS = re.compile(r"[\"'`]\s{0,4}[+.,&|]{1,2}\s{0,4}[\"'`]|[\s\"'`|,;\\\x00-\x1f]+")
# Cyrillic, Greek and IPA letters that look like ASCII ones, by code point so that this file has none of them itself.
_LOOK_ALIKES = (
    "430 435 43E 440 441 443 445 456 458 455 501 261 251 3BF 391 392 395 397 399 39A 39C 39D 39F 3A1 3A4 3A7 410 412 "
    "415 41A 41C 41D 41E 420 421 422 425"
)
_LOOKS = dict(
    zip((int(point, 16) for point in _LOOK_ALIKES.split()), "aeopcyxijsdgaoABEHIKMNOPTXABEKMHOPCTX", strict=True)
)


def visible(text: str) -> str:
    """Return *text* in compatibility form (NFKC) without invisible characters and marks, look-alikes as ASCII."""
    text = unicodedata.normalize("NFKD", text)
    kept = (
        character for character in text if unicodedata.category(character) not in ("Cf", "Mn", "Me", "Co", "Cn", "Cs")
    )
    return unicodedata.normalize("NFKC", "".join(kept)).translate(_LOOKS)


def forms(text: str) -> list[str]:
    """Return what *text* may stand for, itself excluded, the most direct forms first."""
    found: dict[str, None] = {text: None}
    latest = [text]
    for _ in range(ROUNDS):
        latest = [form for source in latest for form in _undone(source)]
        latest = [form for form in dict.fromkeys(latest) if form not in found]
        for form in latest:
            if len(found) <= FORMS_MAX:
                found[form] = None
    return list(found)[1:]


def _undone(text: str) -> Iterator[str]:
    for step in _STEPS:
        form = step(text)
        if form and form != text:
            yield form
    for pattern, decode in _CODECS:
        for number, run in enumerate(pattern.finditer(text)):
            if number == ENCODED_RUNS_MAX:
                break
            decoded = _text_of(decode, run[0])
            if decoded:
                yield decoded


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        digits = next(group for group in found.groups() if group)
        point = int(digits, 8 if found[4] else 16)
        return chr(point) if point < 0x110000 else ""

    return html.unescape(_ESCAPE.sub(character, text))


def _joined(text: str) -> str:
    return _JOINTS.sub("", text)


_STEPS: tuple[Callable[[str], str], ...] = (visible, unquote_plus, _unescaped, _joined)


def _text_of(decode: Callable[[str], bytes], run: str) -> str | None:
    """Return the text that *run* encodes; None when its bytes are no text, as those of a random key are not."""
    try:
        text = decode(run).decode("utf-8")
    except (ValueError, binascii.Error):
        return None
    return text if text and all(character.isprintable() or character in "\t\r\n" for character in text) else None


def _base64(run: str) -> bytes:
    run = run.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(run + "=" * (-len(run) % 4), validate=True)


def _base32(run: str) -> bytes:
    run = run.rstrip("=").upper()
    return base64.b32decode(run + "=" * (-len(run) % 8))


def _hex(run: str) -> bytes:
    return bytes.fromhex(re.sub(r"[ :,-]", "", run))


_CODECS: tuple[tuple[re.Pattern[str], Callable[[str], bytes]], ...] = (
    (_HEX, _hex),
    (_BASE64, _base64),
    (_BASE32, _base32),
)
