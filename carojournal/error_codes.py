"""The closed grammar of error codes: "E" and four digits, or a published name, caro's or TLS's (RFC 8446, section 6).

Loaded on first sight of one.
"""

__all__ = ["ERROR_CODES", "is_error_code"]

_TLS_ALERTS = (
    "CLOSE_NOTIFY UNEXPECTED_MESSAGE BAD_RECORD_MAC DECRYPTION_FAILED RECORD_OVERFLOW DECOMPRESSION_FAILURE "
    "HANDSHAKE_FAILURE NO_CERTIFICATE BAD_CERTIFICATE UNSUPPORTED_CERTIFICATE CERTIFICATE_REVOKED CERTIFICATE_EXPIRED "
    "CERTIFICATE_UNKNOWN ILLEGAL_PARAMETER UNKNOWN_CA ACCESS_DENIED DECODE_ERROR DECRYPT_ERROR EXPORT_RESTRICTION "
    "PROTOCOL_VERSION INSUFFICIENT_SECURITY INTERNAL_ERROR INAPPROPRIATE_FALLBACK USER_CANCELLED USER_CANCELED "
    "NO_RENEGOTIATION MISSING_EXTENSION UNSUPPORTED_EXTENSION CERTIFICATE_UNOBTAINABLE UNRECOGNIZED_NAME "
    "BAD_CERTIFICATE_STATUS_RESPONSE BAD_CERTIFICATE_HASH_VALUE UNKNOWN_PSK_IDENTITY CERTIFICATE_REQUIRED "
    "NO_APPLICATION_PROTOCOL ENCRYPTED_CLIENT_HELLO_REQUIRED "
)
_ERROR_NAMES = (
    "already_initialized backend_unavailable connection_failed generation_failed internal_error invalid_command "
    "invalid_request load_failed not_found not_initialized parse_failed permission_denied spawn_error timeout "
    "unsafe unsafe_command unsupported validation_failed wait_error other "
)
ERROR_CODES = frozenset(_ERROR_NAMES.split()) | {f"ALERT_DESCRIPTION_{alert}" for alert in _TLS_ALERTS.split()}


def is_error_code(text: str) -> bool:
    """Tell whether *text* is "E" and four digits, or one of the published names."""
    if len(text) == 5 and text[0] == "E":
        return not text[1:].strip("0123456789")
    return text in ERROR_CODES
