"""One text in, the rules it breaks out: L3, then the grammars, then the patterns over the text and its forms."""

from carojournal.patterns.decode import forms, visible
from carojournal.patterns.grammar import recognise
from carojournal.patterns.models import is_model
from carojournal.patterns.rules import NAMES, RULES, VETOES
from carojournal.shape import is_plain

__all__ = ["SCAN_CHARS_MAX", "scan", "vetoes"]

SCAN_CHARS_MAX = 4_096  # A longer text already fails L3; patterns then only name it, and its start names it as well.
CLEAN_TEXTS_MAX = 4_096  # Distinct clean texts remembered: a journal repeats a few hundred words a million times.

_clean: set[str] = set()


def scan(text: str) -> tuple[str, ...]:
    """Return the rules of `RULES` that *text* breaks, in their order there; an empty tuple means it is telemetry.

    Never raises for a str.  Time is linear in the first SCAN_CHARS_MAX characters.
    """
    if text in _clean:
        return ()
    plain = _has_shape(text)
    recognised = plain and recognise(text) is not None
    broken = set(vetoes(text))
    if recognised and not broken:
        if len(_clean) < CLEAN_TEXTS_MAX:
            _clean.add(text)
        return ()
    broken.add("unrecognised" if plain else "shape")
    text = text[:SCAN_CHARS_MAX]
    broken |= _named(text)
    seen = visible(text)
    for form in forms(text):
        named = _named(form[:SCAN_CHARS_MAX]) - broken
        broken |= named
        if named:
            broken.add("hidden_character" if form == seen else "encoded")
    return tuple(rule for rule in RULES if rule in broken)


def vetoes(text: str) -> tuple[str, ...]:
    """Return the rules that hold even where a grammar recognises *text*, and for texts put together from several."""
    text = text[:SCAN_CHARS_MAX]
    return tuple(name for name, breaks in VETOES if breaks(text))


def _named(text: str) -> set[str]:
    return {name for name, breaks in (*VETOES, *NAMES) if breaks(text)}


def _has_shape(text: str) -> bool:
    """L3, but for the release pin of cloud catalogues (`name@001`): a plain model name with one more separator."""
    return is_plain(text) or ("@" in text and is_plain(pinless := text.replace("@", ":")) and is_model(pinless))
