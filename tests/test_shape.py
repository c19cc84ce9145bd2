"""L3: which texts have the shape of telemetry at all."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal.shape import TEXT_BYTES_MAX, is_plain

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:+/-"


@pytest.mark.parametrize("text", ["a", "user_abort", "1.2.0-rc.1", "llama3:8b", "a" * 64, "+/.:-"])
def test_shape_of_telemetry_is_plain(text):
    assert is_plain(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "a\n",
        "a\x00",
        "a@b.example",
        "50%",
        "a=b",
        "caf\u00e9",
        "\uff41",
        "a\u200bb",
        "\ud800",
        "a" * 65,
        "'a'",
    ],
)
def test_everything_else_is_not(text):
    assert not is_plain(text)


@given(st.characters())
def test_one_character_is_plain_exactly_when_the_design_lists_it(character):
    """An underscore is listed too: enum words are snake case."""
    assert is_plain(character) == (character in ALPHABET)


@given(st.text(alphabet=ALPHABET, max_size=2 * TEXT_BYTES_MAX))
def test_length_alone_decides_over_listed_characters(text):
    assert is_plain(text) == (0 < len(text) <= 64)


def test_it_imports_nothing():
    """The append path pays for every module; `re` alone costs 9 ms cold."""
    code = "import sys; before = set(sys.modules); import carojournal.shape; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) <= {"carojournal", "carojournal.shape"}
