"""Closed grammars of the text fields that are no enum.  Hot on first sight of such a value; no regex, linear.

error code  "E" and four digits, or one of caro's and TLS's published names (RFC 8446 section 6)
model       words of public model families, sizes, quantisations and tunings, in any order after a first family name

The third one, of caro's versions, stands in `redact`: every session's first event has one, and no model.
"""

from carojournal.redact import is_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    ERROR_CODES: frozenset[str]
    MODEL_FAMILIES: frozenset[str]
    MODEL_WORDS: frozenset[str]

__all__ = ["ERROR_CODES", "MODEL_FAMILIES", "MODEL_WORDS", "is_error_code", "is_model"]

_DIGITS = "0123456789"
_SEPARATORS = "-_:./"
MODEL_TOKENS_MAX = 14  # Cloud catalogues' longest names have 11.
MODEL_NUMBERS_MAX = 4  # Version parts and dates; more would make room for a telephone number.

# Vocabularies are texts: looking a word up in one takes less time than a set of them takes to make, and most processes
# look up one model's.  `__getattr__` makes the sets for those who list them.
_TLS_PREFIX = "ALERT_DESCRIPTION_"
_TLS_ALERTS = (
    " CLOSE_NOTIFY UNEXPECTED_MESSAGE BAD_RECORD_MAC DECRYPTION_FAILED RECORD_OVERFLOW DECOMPRESSION_FAILURE "
    "HANDSHAKE_FAILURE NO_CERTIFICATE BAD_CERTIFICATE UNSUPPORTED_CERTIFICATE CERTIFICATE_REVOKED CERTIFICATE_EXPIRED "
    "CERTIFICATE_UNKNOWN ILLEGAL_PARAMETER UNKNOWN_CA ACCESS_DENIED DECODE_ERROR DECRYPT_ERROR EXPORT_RESTRICTION "
    "PROTOCOL_VERSION INSUFFICIENT_SECURITY INTERNAL_ERROR INAPPROPRIATE_FALLBACK USER_CANCELLED USER_CANCELED "
    "NO_RENEGOTIATION MISSING_EXTENSION UNSUPPORTED_EXTENSION CERTIFICATE_UNOBTAINABLE UNRECOGNIZED_NAME "
    "BAD_CERTIFICATE_STATUS_RESPONSE BAD_CERTIFICATE_HASH_VALUE UNKNOWN_PSK_IDENTITY CERTIFICATE_REQUIRED "
    "NO_APPLICATION_PROTOCOL ENCRYPTED_CLIENT_HELLO_REQUIRED "
)

_ERROR_NAMES = (
    " already_initialized backend_unavailable connection_failed generation_failed internal_error invalid_command "
    "invalid_request load_failed not_found not_initialized parse_failed permission_denied spawn_error timeout "
    "unsafe unsafe_command unsupported validation_failed wait_error other "
)

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

# Families whose bare name is also a person's, a tool's or an everyday word: only with a size, version or tuning.
_ALSO_WORDS = (
    " alpaca amazon anthropic apac command daybreak dolphin embed eu falcon global granite hermes jp luminous marco "
    "meta neural notus nova opt orca palm reader reflection robin sailor samantha snowflake solar stability stable "
    "titan us wizard writer yarn zephyr "
)


def __getattr__(name: str) -> "frozenset[str]":
    if name == "ERROR_CODES":
        return frozenset(_ERROR_NAMES.split()) | {_TLS_PREFIX + alert for alert in _TLS_ALERTS.split()}
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


def is_error_code(text: str) -> bool:
    """Tell whether *text* is "E" and four digits, or one of the published names."""
    if len(text) == 5 and text[0] == "E":
        return all(letter in _DIGITS for letter in text[1:])
    if text.startswith(_TLS_PREFIX):
        return _is_one(text.removeprefix(_TLS_PREFIX), _TLS_ALERTS)
    return _is_one(text, _ERROR_NAMES)


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
    numbers = 0
    for token in tokens:
        if _is_known(token):
            continue
        kind = _model_token(token)
        if kind < 0:
            return False
        numbers += kind
    return numbers <= MODEL_NUMBERS_MAX


def _model_token(token: str) -> int:
    """Return 1 for a bare number, 0 for another known token, -1 for none of ours."""
    if token and all(letter in _DIGITS for letter in token):
        return 1 if len(token) <= 4 or _is_date(token) else -1
    word = token.rstrip(_DIGITS)
    digits = len(token) - len(word)
    if _is_known(word) or word in ("q", "iq", "w", "a", "e", "f", "bf", "v", "rc", "b", "c"):
        return 0 if digits <= 2 or (digits <= 4 and _is_one(word, _FAMILIES)) else -1
    if word == "" or token[-1] not in "bmkt":
        return -1
    size = token[:-1]  # 7b, 8x22b, a3b, e4b, 270m, 128k
    if size[:1] in ("a", "e"):
        size = size[1:]
    parts = size.split("x")
    return 0 if len(parts) <= 2 and all(is_number(part, 4) for part in parts) else -1


def _is_date(text: str) -> bool:
    """Tell whether *text* is YYYYMMDD of this half century: model releases, not birthdays."""
    return len(text) == 8 and "2020" <= text[:4] <= "2050" and "01" <= text[4:6] <= "12" and "01" <= text[6:] <= "31"
