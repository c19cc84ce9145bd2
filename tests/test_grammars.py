"""The three closed grammars: what they must take, what must never pass, and that time stays linear."""

import itertools
import re

import pytest
from counted import instructions
from hypothesis import given, settings
from hypothesis import strategies as st

from carojournal.error_codes import ERROR_CODES, is_error_code
from carojournal.grammars import MODEL_DIGITS_MAX, MODEL_FAMILIES, MODEL_WORDS, VERSION_DIGITS_MAX, is_model
from carojournal.kinds import is_version
from carojournal.patterns import scan
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


# As Ollama's library, Hugging Face, OpenAI, Anthropic, Google, Mistral, Cohere, xAI and Bedrock list them.
NAMES = """
llama3:8b llama3.1 llama-3.1-8b-instruct-q4_K_M llama3.1:405b-instruct-q4_0 meta.llama3-2-90b-instruct-v1:0
llama4:128x17b qwen2.5-coder:32b-instruct qwen2.5-1.5b-instruct-q4_0 qwen:110b-chat-v1.5-q4_0
qwen3-235b-a22b-instruct-2507-q4_K_M qwen3-coder-480b-a35b-fp16 qwen.qwen3-coder-480b-a35b-v1:0
gpt-4-0613 gpt-4-0125-preview gpt-4-1106-preview gpt-4-32k-0613 gpt-3.5-turbo-0125 gpt-3.5-turbo-16k-0613
gpt-4-turbo-2024-04-09 gpt-4o-2024-08-06 gpt-4.1-2025-04-14 gpt-5.1-codex gpt-oss:120b o1-2024-12-17 o4-mini
claude-3-opus-20240229 claude-3-5-sonnet-20241022 claude-opus-4-1-20250805 claude
us.anthropic.claude-sonnet-4-5-20250929-v1:0 gemini-1.5-pro-002 gemini-2.0-flash-001 gemini-2.5-pro-preview-06-05
mixtral-8x7b-instruct-v0.1 mixtral:8x22b-instruct-v0.1-q4_0 mistral-7b-instruct-v0.2.Q4_K_M.gguf
mistral-large-2407 mistral-small-2409-7b-q4 codestral-2501 command-r-08-2024 command-r-plus-08-2024
deepseek-r1:671b deepseek-r1-0528 deepseek-v3-0324 deepseek-v2.5-1210 deepseek-r1-distill-llama-70b
grok-2-1212 grok-4.20-0309 kimi-k2-0905-preview glm-4-9b-0414 olmo-2-1124-7b-instruct phi-3-mini-128k-instruct
exaone3.5:7.8b-instruct-q4_0 dolphin-2.9.1-8b solar:10.7b-instruct-v1.0 stablelm2:1.6b gemma-3n-e4b-it
ai21.jamba-1-5-mini-v1:0 amazon.nova-pro-v1:0:300k yarn-llama2:13b-128k codellama/CodeLlama-34b-Instruct-hf
dolphin-mixtral nous-hermes dolly-v2-12b
""".split()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_public_catalogues_are_models_and_no_finding(name):
    assert is_model(name)
    assert scan(name) == ()


@pytest.mark.parametrize(
    "text",
    [
        *("gpt-4111-1111-1111-1111", "gpt-3782-8224-6310-005", "llama3-4111.1111.1111.1111"),  # published test cards
        *("gpt-0176-1234-5678", "claude-212-555-0187", "gpt-49-176-1234-5678", "gpt-555-0187", "gpt-4-555-0187"),
        *("gpt-20-55-01-87", "llama-49.30.12.34", "mistral-5555-2407", "gpt-4-20-10-1205"),
        *("gpt-078-05-1120", "qwen-1234", "qwen1234", "gpt-007", "gpt-100"),
        *("gpt-1980-05-17", "llama-17.05.1980", "gpt-17-5-80", "gpt-80-05-17", "gpt-80-0517", "gpt-05-17", "gpt-0517"),
        *("gpt-4-19800517", "gpt-20040517", "gpt-17052024", "gpt-1980", "gpt-2004", "qwen1980", "gpt-2044-01-01"),
        *("gpt-52.5200-13.4050", "gpt-52.52-13.40", "gpt-8.68-50.11"),
        *("gpt-192.168.10.1", "llama-8.8.4.4", "llama3.8.8.4", "gpt-10.0.0.1", "gpt-v10.0.0.1", "gpt-1/2/3/4"),
        *("gpt-2024-08-06-2024-08-07", "gpt-2024-08-06-12", "gpt-480b-a35b-123b-q4"),
        *("claude-dolly-samantha", "samantha-mistral", "marco", "robin-dolly"),
    ],
)
def test_a_family_lends_no_room_to_a_number_or_name_of_somebody(text):
    assert not is_model(text)


SEPARATOR = "[-_:./]?"
_DAY = "(?:0[1-9]|1[0-2])" + SEPARATOR + "(?:0[1-9]|[12][0-9]|3[01])"
_YEAR = "20(?:19|2[0-9]|3[0-5])"
RELEASE = re.compile(
    f"(?<![0-9])(?:{_YEAR}{SEPARATOR}{_DAY}|(?:0[1-9]|1[0-2]){SEPARATOR}{_YEAR}|{_DAY}|"
    "(?:2[3-9]|3[0-5])(?:0[1-9]|1[0-2]))(?![0-9])"
)
# What real names are made of, and what stands in the numbers of people.
NEAR_NAMES = st.lists(
    st.tuples(
        st.sampled_from("-_:./"),
        st.sampled_from(
            "0 1 4 5 8 10 17 30 49 52 80 001 176 212 555 0125 0187 0613 1205 1234 1980 2024 2407 4050 05 06 12 "
            "20241022 19800517 7b 8x22b 480b a35b 128k v0 v1 v10 q4 k2 r1 fp16 llama3 qwen10 pro preview turbo".split()
        )
        | st.text("0123456789", min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=8,
).map(lambda parts: "".join(itertools.chain.from_iterable(parts)))


def _without_releases(text):
    """Yield *text*, and *text* without one of what may be a date of release in it."""
    yield text
    for found in RELEASE.finditer(text):
        yield text[: found.start()] + "x" + text[found.end() :]


def _longest_row(text):
    """How many digits stand in a row in *text*, with nothing but separators between them."""
    rows = itertools.groupby(re.split("[-_:./]", text), str.isdigit)
    return max((len("".join(row)) for is_number, row in rows if is_number), default=0)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_needs_more_digits_than_there_is_room_for(name):
    assert min(len(re.sub("[^0-9]", "", text)) for text in _without_releases(name)) <= MODEL_DIGITS_MAX


def test_there_is_room_for_no_more_digits_than_names_need():
    least = [min(len(re.sub("[^0-9]", "", text)) for text in _without_releases(name)) for name in NAMES]
    assert max(least) == MODEL_DIGITS_MAX == 8


@settings(max_examples=500)
@given(st.sampled_from(["gpt", "llama3", "claude", "qwen2", "o1"]), NEAR_NAMES)
def test_but_for_a_release_date_a_name_has_few_digits_and_fewer_in_a_row(family, rest):
    if is_model(family + rest):
        texts = list(_without_releases(family + rest))
        assert any(
            len(re.sub("[^0-9]", "", text)) <= MODEL_DIGITS_MAX and _longest_row(text) <= VERSION_DIGITS_MAX
            for text in texts
        )


@settings(max_examples=500)
@given(st.sampled_from(["gpt", "llama3", "claude", "qwen2", "o1"]), NEAR_NAMES)
def test_no_number_that_enters_in_a_name_is_a_finding_later(family, rest):
    """Such a name would be recorded, and then never be sent."""
    assert not is_model(family + rest) or scan(family + rest) == ()


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
from carojournal.patterns import scan
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
