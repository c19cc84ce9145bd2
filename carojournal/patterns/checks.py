"""Arithmetic that tells a number from a number of somebody: check digits, dates, entropy.  Pure and linear."""

import math

__all__ = ["is_address_v6", "is_birth_date", "is_card", "is_iban", "shannon_bits"]

CARD_DIGITS_MIN, CARD_DIGITS_MAX = 13, 19  # ISO/IEC 7812-1
IBAN_CHARS_MIN, IBAN_CHARS_MAX = 15, 34  # Norway; the standard's limit
BIRTH_YEAR_MIN, BIRTH_YEAR_MAX = 1900, 2020
ADDRESS_V6_CHARS_MAX = 45


def is_card(digits: str) -> bool:
    """Tell whether *digits* could be a payment card: ISO/IEC 7812 length and first digit, and the Luhn check digit."""
    if not CARD_DIGITS_MIN <= len(digits) <= CARD_DIGITS_MAX or digits[0] not in "23456" or len(set(digits)) < 2:
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_iban(text: str) -> bool:
    """Tell whether *text*, without blanks, is an account number: ISO 13616, remainder 1 modulo 97 (ISO 7064)."""
    text = text.upper()
    if not IBAN_CHARS_MIN <= len(text) <= IBAN_CHARS_MAX or not (text.isascii() and text.isalnum()):
        return False
    if not (text[:2].isalpha() and text[2:4].isdigit()):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def is_birth_date(digits: str) -> bool:
    """Tell whether eight *digits* read as YYYYMMDD, DDMMYYYY or MMDDYYYY of a living person's birth."""
    if len(digits) != 8:
        return False
    for year, first, second in ((digits[:4], digits[4:6], digits[6:]), (digits[4:], digits[:2], digits[2:4])):
        if BIRTH_YEAR_MIN <= int(year) <= BIRTH_YEAR_MAX and 1 <= int(first) <= 31 and 1 <= int(second) <= 31:
            return min(int(first), int(second)) <= 12
    return False


def is_address_v6(text: str) -> bool:
    """Tell whether *text* is an IPv6 address in any form of RFC 4291 section 2.2, with or without zone or prefix."""
    import ipaddress

    if len(text) > ADDRESS_V6_CHARS_MAX:
        return False
    try:
        return ipaddress.IPv6Address(text.partition("%")[0].partition("/")[0]).version == 6
    except ValueError:
        return False


def shannon_bits(text: str) -> float:
    """Return the entropy of *text*'s characters, in bits per character."""
    counts = [text.count(character) for character in set(text)]
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
