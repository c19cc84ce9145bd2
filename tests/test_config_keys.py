"""What a setting takes, from the command line and from anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carojournal.config_keys import KEYS, accept, accept_text


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("enabled", "Yes", True),
        ("enabled", "0", False),
        ("enabled", "maybe", None),
        ("level", "Verbose", "detailed"),
        ("batch_max_events", "12", 12),
        ("batch_max_events", "-1", None),
        ("batch_max_events", "1e3", None),
        ("batch_max_events", "\u0661\u0662", None),
        ("batch_max_events", "9" * 5000, None),
        ("endpoint", "https://host/", "https://host/"),
    ],
)
def test_words_of_the_command_line(key, text, value):
    assert accept_text(key, text) == value


@given(st.sampled_from(sorted(KEYS)), st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_accept_takes_anything_and_returns_only_what_it_takes_again(key, value):
    taken = accept(key, value)
    assert taken is None or accept(key, taken) == taken
