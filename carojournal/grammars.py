"""The closed grammar of model names.  Hot on first sight of one; no regex, linear.

Words of public model families, sizes, quantisations and tunings, in any order after a first family name.  The other
texts that are no enum have theirs in `error_codes` and, for caro's versions, in `kinds`.

Digits are what could make a person's number of a name, so they have rules of their own:

    version  at most three numbers in a row, three digits together: `3`, `3.1`, `2.9.1`, `10`, or a release `001`
    size     `7b`, `8x22b`, `a35b`, `128k`: at most three digits a part
    date     at most one, of RELEASE_YEARS: `20241022`, `2024-08-06`, `08-2024`, `2407` (YYMM);
             behind a version also a day without its year, `0613` or, after a word, `06-05`

and all digits but the date's are at most MODEL_DIGITS_MAX.  A card, a telephone number, a date of birth, coordinates
and an IPv4 address each break the first rule.
"""

from carojournal import kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    MODEL_FAMILIES: frozenset[str]
    MODEL_WORDS: frozenset[str]

__all__ = ["MODEL_FAMILIES", "MODEL_WORDS", "is_model"]

_DIGITS = "0123456789"
_SEPARATORS = "-_:./"
MODEL_TOKENS_MAX = 14  # Cloud catalogues' longest names have 11.
MODEL_DIGITS_MAX = 8  # Beside the date: "qwen3-coder-480b-a35b-v1:0" has eight.
VERSION_NUMBERS_MAX = VERSION_DIGITS_MAX = 3  # "2.9.1"; an IPv4 address has four numbers.
SIZE_DIGITS_MAX = 3  # "671b"
_RELEASES = ("001", "002", "003")  # "gemini-1.5-pro-002"
RELEASE_YEARS = ("2019", "2035")  # Nobody who uses caro was born in them, and no public model is older.
# Of YYMM, as in "mistral-large-2407": earlier ones would read as years of birth ("2004").
RELEASE_YEARS_SHORT = ("23", "35")

# Vocabularies are texts: looking a word up in one takes less time than a set of them takes to make, and most processes
# look up one model's.  `__getattr__` makes the sets for those who list them.
# Public families; a trailing version ("llama3", "qwen2", "gemma2") is read as a number of its own.
_FAMILIES = (
    " ai21 alpaca amazon anthropic apac athene aya baichuan bakllava bert bge bielik bloom c4ai chatglm chatgpt "
    "claude codebooga codegeex codegemma codellama codeqwen codestral codeup cogito cohere command davinci "
    "daybreak dbrx deepcoder deepscaler deepseek devstral dolphin dolphincoder dolly embed embeddinggemma ernie "
    "eu everythinglm exaone falcon flan gemini gemma glm global gpt granite grok h2o hermes hunyuan internlm jais "
    "jamba jp jurassic kimi lfm llama llamaguard llava llama_guard luminous magicoder magistral marco mathstral "
    "meditron medllama meta minicpm minimax ministral mistral mixtral moondream moonshot mxbai mythos nemotron "
    "neural nexusraven nomic notus notux nous nova nvidia o1 o3 o4 olmo openai openchat opencoder openhermes "
    "openthinker opt orca palm palmyra paraphrase phi phind pixtral qwen qwq reader reflection rnj robin sailor "
    "samantha shieldgemma smollm snowflake solar sonar sqlcoder stability stable stablelm starcoder starling "
    "tinyllama titan tts tulu us vicuna voxtral whisper wizard wizardcoder wizardlm wizardmath writer xwin yarn "
    "yi zai zephyr "
)
_WORDS = (
    " 3n 4o adapt air all alpha arctic at audio awq base beta bf blue bnb canvas chat cloud code coder codex "
    "compact cpu creative dense distill dpo dynamic embedding emea english exl expanse express extended fast "
    "flash fp fp16 fp32 fp4 fp8 free full ggml gguf gov gptq green guard haiku high hf image instant instruct int "
    "int4 int8 it k k2 kto l large latest light lite live long low m maverick max medium micro mini minilm mlx mm "
    "moe multilingual mxfp4 nano nemo next ocr omni onnx open opus oss plus premier preview pro quant r r1 rag "
    "red realtime reasoner reasoning reranker research rerank s safeguard scout search sft small sonnet speech "
    "super supernova t te tee text think thinking tiny transcribe translate tulu turbo ultra uncensored v vision "
    "vl vibe writer xl xs xxl zero "
)

# Families whose bare name is also a tool's or an everyday word: not alone.
_ALSO_WORDS = (
    " alpaca amazon anthropic apac command daybreak dolphin embed eu falcon global granite hermes jp luminous meta "
    "neural notus nova opt orca palm reader reflection sailor snowflake solar stability stable titan us wizard "
    "writer yarn zephyr "
)
# Families that are given names: only with a size, version or tuning; other families make a full name of them.
_GIVEN_NAMES = " dolly marco robin samantha "


def __getattr__(name: str) -> "frozenset[str]":
    if name == "MODEL_FAMILIES":
        return frozenset(_FAMILIES.split())
    if name == "MODEL_WORDS":
        return frozenset(_FAMILIES.split() + _WORDS.split())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _is_one(word: str, words: str) -> bool:
    """Tell whether *word* is one of *words*, a text in which each stands between blanks."""
    return " " not in word and f" {word} " in words


def _is_known(word: str) -> bool:
    return _is_one(word, _FAMILIES) or _is_one(word, _WORDS)


def is_model(text: str) -> bool:  # noqa: PLR0911 - one line a rule
    """Tell whether *text* is the name of a public model: a family first, then only known words, sizes and versions."""
    if text == "other":
        return True
    if not text.isascii():  # The Kelvin sign's lower case is an ASCII "k".
        return False
    lowered = text.lower()
    if _is_one(lowered, _ALSO_WORDS):
        return False
    for separator in _SEPARATORS[1:]:
        lowered = lowered.replace(separator, "-")
    tokens = lowered.split("-")
    if not 0 < len(tokens) <= MODEL_TOKENS_MAX:
        return False
    word = tokens[0].rstrip(_DIGITS)
    if not _is_one(word, _FAMILIES) and not _is_one(tokens[0], _FAMILIES):
        return False
    is_given = is_more = False
    for token in tokens:
        is_given = is_given or _is_one(token, _GIVEN_NAMES)
        is_more = is_more or not _is_one(token, _FAMILIES)
        if not (_is_known(token) or _is_number(token) or _is_size(token)):
            return False
    return (is_more or not is_given) and _has_few_digits(tokens)


def _is_number(token: str) -> bool:
    return token != "" and not token.strip(_DIGITS)


def _is_size(token: str) -> bool:
    """Tell whether *token* is a word with a short number, or a size."""
    word = token.rstrip(_DIGITS)
    if _is_known(word) or word in ("q", "iq", "w", "a", "e", "f", "bf", "v", "rc", "b", "c"):
        return len(token) - len(word) <= 2
    if word == "" or token[-1] not in "bmkt":
        return False
    size = token[:-1]  # 7b, 8x22b, a3b, e4b, 270m, 128k
    if size[:1] in ("a", "e"):
        size = size[1:]
    parts = size.split("x")
    return len(parts) <= 2 and all(kinds.is_number(part, SIZE_DIGITS_MAX) for part in parts)


def _has_few_digits(tokens: "list[str]") -> bool:
    """Tell whether the numbers among *tokens* are versions and at most one date, and all digits are few."""
    digits = at = 0
    version: list[str] = []  # What a further number would be a part of.
    is_dated = False
    while at < len(tokens):
        token = tokens[at]
        if not _is_number(token):
            digits += sum(letter in _DIGITS for letter in token)
            word = token.rstrip(_DIGITS)
            version = [token[len(word) :]] if word != token else []  # "llama3" in "llama3.1"
            at += 1
        elif not is_dated and (taken := _date_tokens(tokens[at : at + 3], version, is_versioned=digits > 0)):
            is_dated = True
            version = ["date"]  # No number stands right behind it.
            at += taken
        else:
            version.append(token)
            if not _is_version(version):
                return False
            digits += len(token)
            at += 1
    return digits <= MODEL_DIGITS_MAX


def _is_version(numbers: "list[str]") -> bool:
    """Tell whether *numbers*, which stand in a row, are a version: not a day and a month, nor parts of an address."""
    if len(numbers) == 1:
        return kinds.is_number(numbers[0], 2) or numbers[0] in _RELEASES
    if len(numbers) > VERSION_NUMBERS_MAX or len(numbers[0]) > 1 or len("".join(numbers)) > VERSION_DIGITS_MAX:
        return False
    return all(kinds.is_number(number, 2) for number in numbers)


def _date_tokens(tokens: "list[str]", version: "list[str]", *, is_versioned: bool) -> int:
    """Return how many of the first of *tokens* are a release date, 0 if none.

    *version* holds the numbers right before them, *is_versioned* tells whether there were digits anywhere before.
    """
    first, *others = tokens
    if len(first) == 8:
        return 1 if _is_year(first[:4]) and _is_day(first[4:]) else 0
    if len(first) == 2:
        if version or not others:  # "80-05-17" has a year.
            return 0
        is_month = _is_day(first + "01") and _is_year(others[0])
        return 2 if is_month or (is_versioned and _is_day(first + others[0])) else 0
    if len(others) == 2 and _is_year(first) and _is_day(others[0] + others[1]) and len(others[0]) == 2:
        return 3
    if len(first) != 4 or (version and len(version[0]) > 1):  # As has "80-0517".
        return 0
    is_month = RELEASE_YEARS_SHORT[0] <= first[:2] <= RELEASE_YEARS_SHORT[1] and _is_day(first[2:] + "01")
    return 1 if is_month or (is_versioned and _is_day(first)) else 0


def _is_year(text: str) -> bool:
    return _is_number(text) and len(text) == 4 and RELEASE_YEARS[0] <= text <= RELEASE_YEARS[1]


def _is_day(text: str) -> bool:
    """Tell whether *text* is MMDD."""
    return len(text) == 4 and _is_number(text) and "01" <= text[:2] <= "12" and "01" <= text[2:] <= "31"
