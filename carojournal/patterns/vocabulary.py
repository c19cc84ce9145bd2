"""The public words that telemetry identifiers are made of, read from the lists beside this file.

Words, not values: a list never holds a whole model name or counter, so what is accepted follows from a grammar over
words and not from having been seen.  The lists are package data:
sets of blank-separated words, each after an empty line and a comment line with its title.
"""

from importlib.resources import files

__all__ = [
    "ANCHORS",
    "CAPITALISED_NAMES",
    "CONTEXT",
    "GIVEN_NAMES",
    "QUALIFIERS",
    "TECHNICAL",
    "is_pronounceable",
    "split_compound",
]

PIECES_MAX = 5  # Longest public compound of the Go toolchain: no-size-specialized-malloc.
PIECE_CHARS_MIN = 3  # Shorter pieces would let almost any letters pass as a compound.
UNKNOWN_CHARS_MAX = 14  # A product's name; longer unknown letters are a handle or a secret.
CONSONANTS_MAX = 4  # English and product names rarely have five in a row ("ngths" in "lengths"); random letters often.

_SHORT_PIECES = frozenset(("no", "go", "js", "io", "os", "ip", "ui"))


def _sections(name: str) -> dict[str, frozenset[str]]:
    """Return the word sets of the list *name*; a comment line "# title: why" starts each."""
    text = files(__package__).joinpath(name).read_text(encoding="ascii")
    sections = {}
    for block in text.split("\n\n")[1:]:
        title, _, words = block.partition("\n")
        sections[title.removeprefix("# ").partition(":")[0]] = frozenset(words.split())
    return sections


_technical = _sections("technical-words.txt")
_models = _sections("model-words.txt")
TECHNICAL = _technical["letters only"] | _technical["with digits"]
ANCHORS = _models["families and providers"]
QUALIFIERS = _models["qualifiers"]
_names = _sections("given-names.txt")
GIVEN_NAMES = _names["names"]
CAPITALISED_NAMES = _names["capitalised"]
CONTEXT = _sections("context-words.txt")


def split_compound(word: str) -> bool:
    """Tell whether lower-case *word* is at most PIECES_MAX technical words written without a separator.

    Time is bounded by the square of the word's length, which L3 caps at 64.
    """
    fewest = [0] + [PIECES_MAX + 1] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(end):
            piece = word[start:end]
            if len(piece) < PIECE_CHARS_MIN and piece not in _SHORT_PIECES:
                continue
            if fewest[start] < fewest[end] - 1 and (piece in TECHNICAL or piece in _SHORT_PIECES):
                fewest[end] = fewest[start] + 1
    return fewest[-1] <= PIECES_MAX


def is_pronounceable(word: str) -> bool:
    """Tell whether *word* reads like a product's name: 3 to UNKNOWN_CHARS_MAX letters, vowels, and nobody's given name.

    Weak on purpose; a caller uses it for one unknown word inside an otherwise known name, never for a whole text.
    """
    if not (word.isascii() and word.isalpha() and 3 <= len(word) <= UNKNOWN_CHARS_MAX) or word in GIVEN_NAMES:
        return False
    run = vowels = 0
    for letter in word:
        run = 0 if letter in "aeiouy" else run + 1
        vowels += letter in "aeiouy"
        if run > CONSONANTS_MAX:
            return False
    return vowels * 5 >= len(word)
