"""The closed grammar of model names.  Hot on first sight of one; no regex, linear.

Words of public model families, sizes, quantisations and tunings, in any order after a first family name.  The other
texts that are no enum have theirs in `error_codes` and, for caro's versions, in `kinds`.
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
MODEL_NUMBERS_MAX = 4  # Version parts and dates; more would make room for a telephone number.

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

# Families whose bare name is also a person's, a tool's or an everyday word: only with a size, version or tuning.
_ALSO_WORDS = (
    " alpaca amazon anthropic apac command daybreak dolphin embed eu falcon global granite hermes jp luminous marco "
    "meta neural notus nova opt orca palm reader reflection robin sailor samantha snowflake solar stability stable "
    "titan us wizard writer yarn zephyr "
)


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
    return 0 if len(parts) <= 2 and all(kinds.is_number(part, 4) for part in parts) else -1


def _is_date(text: str) -> bool:
    """Tell whether *text* is YYYYMMDD of this half century: model releases, not birthdays."""
    return len(text) == 8 and "2020" <= text[:4] <= "2050" and "01" <= text[4:6] <= "12" and "01" <= text[6:] <= "31"
