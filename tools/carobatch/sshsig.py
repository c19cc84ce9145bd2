"""SSH signatures (OpenSSH PROTOCOL.sshsig) with Ed25519 keys, and the only module that imports cryptography.

    armour     "-----BEGIN SSH SIGNATURE-----", base64 of the blob, "-----END SSH SIGNATURE-----"
    blob       "SSHSIG", uint32 1, then strings: public key, namespace, "", "sha512", signature
    signed     "SSHSIG", then strings: namespace, "", "sha512", SHA-512 of the message

A string is a uint32 length (big-endian) and its bytes.  `ssh-keygen -Y sign` and `-Y verify` do the same.
"""

import base64
import binascii
import hashlib

from carojournal.errors import ConfigError, JournalUnavailable, UsageError

__all__ = ["NAMESPACE", "Signer", "load_signer", "read_allowed_signers", "verify_signature"]

NAMESPACE = "carojournal"
SIGNATURE_BYTES_MAX = 8_192
ALLOWED_SIGNERS_BYTES_MAX = 1_048_576
_MAGIC = b"SSHSIG"
_KIND = b"ssh-ed25519"
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n"
_HASHES = {b"sha512": hashlib.sha512, b"sha256": hashlib.sha256}


_MISSING = "signatures need the extra 'sign': pip install 'carojournal[sign]'"


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _strings(blob: bytes, count: int) -> list[bytes]:
    found, at = [], 0
    for _ in range(count):
        size = int.from_bytes(blob[at : at + 4], "big")
        if len(blob) < at + 4 + size:
            raise ValueError("cut off")
        found.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(blob):
        raise ValueError("bytes follow")
    return found


def _to_sign(message: bytes, algorithm: bytes) -> bytes:
    digest = _HASHES[algorithm](message).digest()
    return _MAGIC + b"".join(map(_string, (NAMESPACE.encode(), b"", algorithm, digest)))


class Signer:
    """An Ed25519 private key; `public` is its public key as SSH writes it, without a comment."""

    def __init__(self, key: object, public: str) -> None:
        self._key = key
        self.public = public

    def sign(self, message: bytes) -> bytes:
        """Return the armoured signature of *message*, the same each time: Ed25519 is deterministic."""
        blob = base64.b64decode(self.public.split()[1])
        raw: bytes = self._key.sign(_to_sign(message, b"sha512"))  # type: ignore[attr-defined]
        parts = (blob, NAMESPACE.encode(), b"", b"sha512", _string(_KIND) + _string(raw))
        text = base64.b64encode(_MAGIC + (1).to_bytes(4, "big") + b"".join(map(_string, parts)))
        lines = [text[at : at + 70] + b"\n" for at in range(0, len(text), 70)]
        return _BEGIN + b"".join(lines) + _END


def load_signer(path: str) -> Signer:
    """Return the key in the OpenSSH private key file at *path*.

    Raises JournalUnavailable without the extra, ConfigError for a key that is encrypted or not Ed25519, OSError.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise JournalUnavailable(_MISSING) from error
    with open(path, "rb") as file:
        data = file.read(ALLOWED_SIGNERS_BYTES_MAX)
    try:
        key = serialization.load_ssh_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{path}: no SSH private key without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: not an Ed25519 key (ssh-keygen -t ed25519 makes one)")
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return Signer(key, public.decode())


def read_allowed_signers(path: str) -> dict[bytes, str]:
    """Return public key blob -> principals of every Ed25519 key that the file at *path* allows for our namespace.

    The format is that of ssh-keygen(1), ALLOWED SIGNERS.  An entry with an option other than `namespaces` is left out:
    what it restricts is not judged here.  Raises UsageError for a file without such a key, OSError.
    """
    found = {}
    with open(path, "rb") as file:
        text = file.read(ALLOWED_SIGNERS_BYTES_MAX).decode("utf-8", "replace")
    for line in text.splitlines():
        entry = _allowed(line.split())
        if entry:
            found[entry[0]] = entry[1]
    if not found:
        raise UsageError("the allowed-signers file names no Ed25519 key for our namespace")
    return found


def _allowed(words: list[str]) -> tuple[bytes, str] | None:
    if not words or words[0].startswith("#"):
        return None
    rest = words[1:]
    while rest and rest[0] != _KIND.decode():
        key, _, value = rest[0].partition("=")
        if key.lower() != "namespaces" or NAMESPACE not in value.strip('"').split(","):
            return None
        rest = rest[1:]
    if len(rest) < 2:
        return None
    try:
        return base64.b64decode(rest[1], validate=True), words[0]
    except (binascii.Error, ValueError):
        return None


def verify_signature(message: bytes, armoured: bytes, allowed: dict[bytes, str]) -> str:
    """Return the principals whose key signed *message*; empty if the signature is none of theirs or does not hold.

    Raises JournalUnavailable without the extra.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise JournalUnavailable(_MISSING) from error
    try:
        public, raw, algorithm = _parse(armoured)
        if public not in allowed:
            return ""
        kind, key = _strings(public, 2)
        if kind != _KIND:
            return ""
        Ed25519PublicKey.from_public_bytes(key).verify(raw, _to_sign(message, algorithm))
    except (ValueError, KeyError, InvalidSignature, binascii.Error):
        return ""
    return allowed[public]


def _parse(armoured: bytes) -> tuple[bytes, bytes, bytes]:
    """Return (public key blob, raw signature, hash algorithm).  Raises ValueError, KeyError."""
    if len(armoured) > SIGNATURE_BYTES_MAX or not armoured.startswith(_BEGIN) or not armoured.endswith(_END):
        raise ValueError("no SSH signature")
    blob = base64.b64decode(b"".join(armoured[len(_BEGIN) : -len(_END)].split()), validate=True)
    if blob[:10] != _MAGIC + (1).to_bytes(4, "big"):
        raise ValueError("no SSH signature of version 1")
    public, namespace, _, algorithm, signature = _strings(blob[10:], 5)
    kind, raw = _strings(signature, 2)
    if namespace != NAMESPACE.encode() or kind != _KIND or algorithm not in _HASHES:
        raise ValueError("a signature for something else")
    return public, raw, algorithm
