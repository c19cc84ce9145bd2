"""The three closed grammars: what they must take, what must never pass, and that time stays linear."""

import re

import pytest
from counted import instructions
from hypothesis import given
from hypothesis import strategies as st

from carojournal.error_codes import ERROR_CODES, is_error_code
from carojournal.grammars import MODEL_FAMILIES, MODEL_WORDS, is_model
from carojournal.kinds import is_version
from carojournal.shape import is_plain

VERSION = re.compile(
    r"(0|[1-9])\.(0|[1-9][0-9]?)(\.(0|[1-9][0-9]{0,2}))?(-(alpha|beta|rc)(\.(0|[1-9][0-9]?))?)?", re.ASCII
)
# The alphabet of everything a version could be confused with, so that random texts come close.
NEAR_VERSIONS = st.lists(
    st.sampled_from(["0", "1", "9", "12", "192", ".", "-", "alpha", "beta", "rc", "+", "v", "\n", "\u0661"]), max_size=9
).map("".join)


@pytest.mark.parametrize(
    "text", ["1.1", "1.1.0", "0.0.0", "9.99.999", "1.1.0-alpha", "1.1.0-beta.2", "1.2.0-rc.10", "1.1-rc"]
)
def test_versions_of_caro(text):
    assert is_version(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1",
            "1.",
            ".1",
            "1..1",
            "1.1.1.1",
            "192.168.0.1",
            "10.0.0",
            "2026.01.31",
            "31.12.2026",
            "01.1.0",
            "1.01.0",
        ),
        *(
            "1.1.0-",
            "1.1.0-dev",
            "1.1.0-beta.",
            "1.1.0-beta.007",
            "1.1.0-beta-2",
            "1.1.0+build",
            "v1.1.0",
            "1.1.0 ",
            "1.1.0\n",
        ),
        *("\u0661.1.0", "\uff11.1.0", "1.1.1000", "1.100.0", "555.123.4567", "1.1.0-RC.1", "-1.1.0", "1,1"),
    ],
)
def test_addresses_dates_and_numbers_are_no_versions(text):
    assert not is_version(text)


@given(NEAR_VERSIONS)
def test_version_grammar_is_the_published_pattern(text):
    assert is_version(text) == bool(VERSION.fullmatch(text))


@pytest.mark.parametrize("text", ["E0000", "E1234", "E9999", "timeout", "connection_failed", "other"])
def test_error_codes(text):
    assert is_error_code(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "E",
            "E123",
            "E12345",
            "e1234",
            "1234",
            "E 123",
            "E12e4",
            "E\u0661234",
            "Eabcd",
            "E-123",
            "E1234\n",
            "E+123",
        ),
        *("TIMEOUT", "hunter2", "timeout_", "/etc/passwd", "ALERT_DESCRIPTION_", "ALERT_DESCRIPTION_HUNTER2"),
    ],
)
def test_no_error_codes(text):
    assert not is_error_code(text)


def test_tls_alerts_are_those_of_the_rfc():
    """RFC 8446 section 6: a sample of the enum AlertDescription."""
    for name in ("close_notify", "bad_record_mac", "unknown_ca", "certificate_required", "no_application_protocol"):
        assert is_error_code(f"ALERT_DESCRIPTION_{name.upper()}")


@pytest.mark.parametrize(
    "text",
    [
        *("llama3", "llama3:8b", "llama-3.1-8b-instruct", "Meta-Llama-3.1-70B-Instruct-Q4_K_M.gguf", "mixtral:8x7b"),
        *(
            "qwen2.5-coder-7b-instruct-q4_k_m",
            "qwen3-30b-a3b",
            "gemma-2-9b-it",
            "phi-3-mini-4k-instruct",
            "gpt-4o-mini",
        ),
        *(
            "claude-3-5-sonnet-20241022",
            "deepseek-r1:1.5b",
            "mistral-7b-instruct-v0.3",
            "codellama:13b",
            "starcoder2:15b",
        ),
        *(
            "gemini-2.0-flash",
            "gpt-4o",
            "gpt-5-codex",
            "gemma-3n-e4b",
            "tinyllama:1.1b",
            "command-r-plus",
            "other",
            "smollm:135m",
            "OpenAI/gpt-oss-20b",
        ),
    ],
)
def test_public_models(text):
    assert is_model(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "-",
            "8b",
            "q4_k_m",
            "instruct-llama-acme",
            "acme-internal-7b",
            "llama-acme",
            "llama/home/alice",
            "john",
            "alice",
        ),
        *(
            "llama-john",
            "llama3:8b-secret",
            "gpt-4-sk-abcdef",
            "llama-555-123-4567-89-10",
            "llama-5551234567",
            "llama-123456",
        ),
        *("llama-19800101", "llama--8b\n", "llama 8b", "my.company.internal", "192.168.0.1", "llama-" + "8b-" * 14),
        *("ll\u0430ma3", "llama\u0663", "llama-8bb", "llama-8x8x8b", "llama-00b"),
    ],
)
def test_private_names_and_numbers_are_no_models(text):
    assert not is_model(text)


@given(st.text(alphabet="0123456789-.:/_", min_size=1, max_size=64))
def test_no_number_is_a_model(text):
    assert not is_model(text)


@given(st.text(alphabet="0123456789-.", min_size=7, max_size=40))
def test_a_family_lends_no_room_to_a_telephone_number(text):
    """More than ten digits behind a family name: only a date of this half century brings eight at once."""
    digits = re.sub("[^0-9]", "", text)
    if is_model(f"llama-{text}"):
        assert len(digits) <= 4 * 4 + 8
        assert not re.search("[0-9]{5}", re.sub("20[2-5][0-9][01][0-9][0-3][0-9]", "", text))


@given(st.text(max_size=80))
def test_no_grammar_raises_or_takes_what_has_no_shape(text):
    for grammar in (is_version, is_error_code, is_model):
        assert not grammar(text) or is_plain(text) or grammar is is_model


def test_every_word_list_is_plain_and_lower_case():
    assert MODEL_FAMILIES <= MODEL_WORDS
    assert all(is_plain(word) and word == word.lower() for word in MODEL_WORDS)
    assert all(is_plain(code) for code in ERROR_CODES)


_CHECKS = """
import sys
from carojournal.error_codes import is_error_code
from carojournal.kinds import is_version
from carojournal.grammars import is_model
for text in sys.argv[2:]:
    text = text[: int(sys.argv[1])]
    for _ in range(100):
        is_version(text), is_error_code(text), is_model(text)
"""


def test_the_longest_texts_take_little_work(tmp_path):
    """On 64 bytes at most 10,000 instructions more than on one; a pattern that backtracks would take millions."""
    texts = ["1." * 32, "9" * 64, "llama-" * 10 + "lla", "8x" * 32, "-" * 64, "E" * 64, "q4_" * 21]
    short, long = (instructions(tmp_path, ["-c", _CHECKS, str(size), *texts]) for size in (1, 64))
    assert long - short < 10_000 * 300 * len(texts)
