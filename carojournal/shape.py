"""L3, the shape of a text that may be telemetry: 1 to 64 bytes of ASCII `[A-Za-z0-9._:+/-]`.

Hot path: no imports, no regular expressions.  Nothing here knows what a text means; the point is that whatever follows
(a grammar of `redact`, a pattern of `patterns`) only ever looks at a short text without blanks, quotes, escapes,
control characters or letters that merely look Latin.
"""

__all__ = ["CHARACTERS", "TEXT_BYTES_MAX", "is_plain"]

TEXT_BYTES_MAX = 64  # The longest word that a telemetry field needs is a model name of about 50 bytes.
CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:+/-"


def is_plain(text: str) -> bool:
    """Say whether *text* has the shape.  Never raises for a str, lone surrogates included; time is bounded."""
    return 0 < len(text) <= TEXT_BYTES_MAX and text.isascii() and not text.encode().translate(None, CHARACTERS)
