"""Twenty ways in which a sensitive text may arrive in disguise; for scoring only.

Each takes the text and returns the value in which it hides (a document as JSON or CBOR would give it), or None where
the disguise does not apply to that text or leaves it as it was.
"""

import base64
import html
from collections.abc import Callable
from urllib.parse import quote

__all__ = ["OBFUSCATIONS"]

_ZERO_WIDTH = "\u200b"
_FULL_WIDTH = {point: point + 0xFEE0 for point in range(0x21, 0x7F)} | {0x20: 0x3000}
_NUMBER_DIGITS_MIN = 7  # Shorter numbers are no identifiers.


def _text(change: Callable[[str], str]) -> Callable[[str], object | None]:
    def disguise(text: str) -> object | None:
        changed = change(text)
        return None if changed == text else {"value": changed}

    return disguise


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _mixed(text: str) -> str:
    return "".join(letter.upper() if at % 2 else letter.lower() for at, letter in enumerate(text))


def _escaped(text: str) -> str:
    return "".join(f"\\u{unit:04x}" for letter in text for unit in _units(letter))


def _units(letter: str) -> list[int]:
    data = letter.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def _halves(text: str) -> tuple[str, str] | None:
    middle = len(text) // 2
    return (text[:middle], text[middle:]) if middle > 1 else None


def _split_list(text: str) -> object | None:
    halves = _halves(text)
    return {"values": list(halves)} if halves else None


def _split_values(text: str) -> object | None:
    halves = _halves(text)
    return {"part_1": halves[0], "part_2": halves[1]} if halves else None


def _split_keys(text: str) -> object | None:
    halves = _halves(text)
    return dict.fromkeys(halves, True) if halves else None


def _key_and_value(text: str) -> object | None:
    halves = _halves(text)
    return {halves[0]: halves[1]} if halves else None


def _number(text: str) -> object | None:
    digits = "".join(letter for letter in text if letter in "0123456789").lstrip("0")
    return {"value": int(digits)} if len(digits) >= _NUMBER_DIGITS_MIN else None


OBFUSCATIONS: dict[str, Callable[[str], object | None]] = {
    "percent": _text(_percent),
    "percent_twice": _text(lambda text: quote(_percent(text))),
    "base64": _text(lambda text: base64.b64encode(text.encode()).decode()),
    "base64url": _text(lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")),
    "base32": _text(lambda text: base64.b32encode(text.encode()).decode().rstrip("=")),
    "hex": _text(lambda text: text.encode().hex()),
    "zero_width": _text(_ZERO_WIDTH.join),
    "full_width": _text(lambda text: text.translate(_FULL_WIDTH)),
    "upper": _text(str.upper),
    "lower": _text(str.lower),
    "mixed_case": _text(_mixed),
    "escaped": _text(_escaped),
    "entities": _text(
        lambda text: html.escape(text) if html.escape(text) != text else f"&#x{ord(text[0]):x};{text[1:]}"
    ),
    "concatenated": _text(lambda text: f'"{text[: len(text) // 2]}" + "{text[len(text) // 2 :]}"'),
    "split_list": _split_list,
    "split_values": _split_values,
    "split_keys": _split_keys,
    "key_and_value": _key_and_value,
    "bytes": lambda text: {"value": text.encode()},
    "number": _number,
}
assert len(OBFUSCATIONS) == 20
