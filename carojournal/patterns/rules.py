"""L2's negative half: what sensitive text looks like, rule by rule.

VETOES hold against any text, recognised as telemetry or not.  NAMES only give a finding its name: a text that no
grammar recognises is a finding already, and the reader of an audit wants to know of what kind.
"""

from collections.abc import Callable

from carojournal.patterns.checks import is_address_v6, is_birth_date, is_card, is_iban, shannon_bits
from carojournal.patterns.expressions import CARD, DATE_DIGITS, IBAN, IPV6, LETTERS, PATTERNS, RUN
from carojournal.patterns.vocabulary import GIVEN_NAMES

__all__ = ["NAMES", "RULES", "VETOES"]

ENTROPY_BITS_MIN = 3.0  # Of a run of mixed case or digits; identifiers of words mix neither.

RULES = {
    "shape": "longer than 64 bytes, or a character that no telemetry word has (L3)",
    "unrecognised": "no grammar of telemetry identifiers recognises it",
    "encoded": "sensitive once decoded: percent, base64, base32, hexadecimal, escapes, entities or joined pieces",
    "hidden_character": "invisible, full-width, combining or look-alike characters",
    "split": "sensitive only when neighbouring keys, strings or numbers are read together",
    "binary": "a byte string that is neither text nor the recorder's own",
    "number": "a number too long, or too precise, to be a count or a duration",
    "type": "a value that no record has: not a number, an unknown type",
    "size": "nesting, length or item count beyond what a record has; the rest was not looked at",
    "path": "a path: absolute, relative, home, drive, UNC, or a file's name",
    "email": "a mail address",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "hostname": "a host's name",
    "mac": "a hardware address",
    "url": "a URL",
    "url_credential": "a URL with a user and a password",
    "vendor_key": "a key or token with its issuer's prefix",
    "jwt": "a JSON Web Token (RFC 7519)",
    "private_key": "a private key, PEM or otherwise",
    "secret_assignment": "a password, key or token next to its name",
    "env_assignment": "an environment variable with its value",
    "shell_command": "a shell command",
    "plain_language": "words of a person, in any script",
    "phone": "a telephone number",
    "card": "a payment card number (Luhn)",
    "iban": "a bank account number (ISO 13616, modulo 97)",
    "national_id": "a number by which a state knows a person or firm",
    "postcode": "a postcode",
    "date": "a date, as of a birth",
    "person_name": "a person's name",
    "username": "an account's name",
    "location": "coordinates",
    "entropy": "letters and digits without the regularity of words",
}


def _found(name: str) -> Callable[[str], bool]:
    search = PATTERNS[name].search
    return lambda text: search(text) is not None


def _compact(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _card(text: str) -> bool:
    return any(is_card(_compact(found[0])) for found in CARD.finditer(text))


def _iban(text: str) -> bool:
    return any(is_iban(_compact(found[0])) for found in IBAN.finditer(text))


def _ipv6(text: str) -> bool:
    return any(found[0].count(":") > 1 and is_address_v6(found[0].rstrip(".")) for found in IPV6.finditer(text))


def _phone(text: str) -> bool:
    return any(7 <= sum(map(str.isdigit, found[0])) <= 15 for found in PATTERNS["phone"].finditer(text))


def _date(text: str) -> bool:
    return PATTERNS["date"].search(text) is not None or any(
        is_birth_date(found[0]) for found in DATE_DIGITS.finditer(text)
    )


def _name(text: str) -> bool:
    words = LETTERS.findall(text)
    return any(word.lower() in GIVEN_NAMES for word in words) or PATTERNS["person_name"].search(text) is not None


def _entropy(text: str) -> bool:
    for found in RUN.finditer(text):
        run = found[0]
        mixed = any(map(str.isdigit, run)) + any(map(str.islower, run)) + any(map(str.isupper, run))
        if mixed > 1 and shannon_bits(run) >= ENTROPY_BITS_MIN:
            return True
    return False


Check = Callable[[str], bool]

VETOES: tuple[tuple[str, Check], ...] = (
    *(
        (name, _found(name))
        for name in ("email", "ipv4", "mac", "url", "url_credential", "vendor_key", "jwt", "private_key")
    ),
    ("ipv6", _ipv6),
    ("card", _card),
    ("iban", _iban),
)
NAMES: tuple[tuple[str, Check], ...] = (
    *((name, _found(name)) for name in ("secret_assignment", "env_assignment", "path", "hostname", "shell_command")),
    ("phone", _phone),
    ("date", _date),
    ("person_name", _name),
    ("entropy", _entropy),
    *((name, _found(name)) for name in ("national_id", "postcode", "location", "username", "plain_language")),
)
