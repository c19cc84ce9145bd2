"""age encryption (C2SP age), and the only module that imports pyrage."""

from typing import IO

from carojournal.errors import ConfigError, DamagedData, JournalUnavailable, UsageError

__all__ = ["MAGIC", "decrypt", "encrypt", "parse_recipients", "read_identities"]

MAGIC = b"age-encryption.org/v1\n"
IDENTITIES_BYTES_MAX = 1_048_576
_NOT_DECRYPTED = "cannot be decrypted: not for this identity, or changed on the way"
_MISSING = "encryption needs the extra 'encrypt': pip install 'carojournal[encrypt]'"


def parse_recipients(words: list[str]) -> list[object]:
    """Return the recipients that *words* name: age1... or an SSH public key.  Raises UsageError, JournalUnavailable."""
    try:
        import pyrage  # type: ignore[import-untyped]
    except ImportError as error:
        raise JournalUnavailable(_MISSING) from error
    found: list[object] = []
    for word in words:
        kind = pyrage.ssh if word.startswith("ssh-") else pyrage.x25519
        try:
            found.append(kind.Recipient.from_str(word))
        except pyrage.RecipientError:
            raise UsageError("--encrypt takes age1... or an SSH public key") from None
    return found


def read_identities(path: str) -> list[object]:
    """Return the identities in the file at *path*: lines AGE-SECRET-KEY-1..., or an SSH private key.

    Raises ConfigError, JournalUnavailable, OSError.
    """
    try:
        import pyrage
    except ImportError as error:
        raise JournalUnavailable(_MISSING) from error
    with open(path, "rb") as file:
        data = file.read(IDENTITIES_BYTES_MAX)
    try:
        if data.startswith(b"-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode().splitlines()]
        return [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (pyrage.IdentityError, ValueError):
        raise ConfigError(f"{path}: no age identity") from None  # The cause may quote a secret key.


def encrypt(reader: IO[bytes], writer: IO[bytes], recipients: list[object]) -> None:
    """Encrypt what *reader* gives to *recipients*; the result differs each time, as it must."""
    import pyrage

    pyrage.encrypt_io(reader, writer, recipients)


def decrypt(reader: IO[bytes], writer: IO[bytes], identities: list[object], name: str) -> None:
    """Decrypt *reader* into *writer*.  Raises DamagedData (*name* is its path): another key, or changed bytes."""
    import pyrage

    try:
        pyrage.decrypt_io(reader, writer, identities)
    except pyrage.DecryptError:
        raise DamagedData(name, 0, _NOT_DECRYPTED) from None
    except OSError as error:
        if error.errno is not None:
            raise
        # What the library says of a chunk that does not authenticate; the system's errors have a number.
        raise DamagedData(name, 0, _NOT_DECRYPTED) from None
