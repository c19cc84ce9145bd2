"""Fuzzing targets: signatures, keys and age envelopes."""

import base64
import os
from functools import cache
from io import BytesIO
from random import Random

from carobatch import age, sshsig
from faults.fuzz_mutate import mutated
from faults.fuzz_target import Target, WrongValue, attempt, scratch

__all__ = ["TARGETS"]


@cache
def _key() -> tuple[sshsig.Signer, dict[bytes, str], bytes]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return sshsig.Signer(key, public.decode()), {base64.b64decode(public.split()[1]): "alice"}, private


def _armour(blob: bytes) -> bytes:
    return b"-----BEGIN SSH SIGNATURE-----\n" + base64.encodebytes(blob) + b"-----END SSH SIGNATURE-----\n"


def _blob(armoured: bytes) -> bytes:
    return base64.b64decode(b"".join(armoured.split(b"\n")[1:-2]))


def _fix_signature(random: Random, data: bytes) -> bytes:
    blob = _blob(_key()[0].sign(b"message"))
    return _armour(mutated(random, blob, data, tokens=(b"ssh-ed25519", b"carojournal", b"sha256", b"sha512")))


def _run_signature(data: bytes) -> str:
    signer, allowed, _ = _key()
    found, refused = attempt(lambda: sshsig.verify_signature(b"message", data, allowed))
    if sshsig.verify_signature(b"another message", data, allowed):
        raise WrongValue("a signature that holds for another message")
    if found and _blob_of(data) != _blob(signer.sign(b"message")):
        # The only freedom that the format leaves is the reserved field, which is signed as empty.
        raise WrongValue("a changed signature that holds")
    return refused or found or "none"


def _blob_of(data: bytes) -> bytes:
    lines = data.split(b"\n")
    return base64.b64decode(b"".join(b"".join(lines[1:-2]).split()))


def _run_signers(data: bytes) -> str:
    """Files that users name: allowed signers, a private key."""
    path = os.path.join(scratch("signers"), "given")
    with open(path, "wb") as file:
        file.write(data)
    found, refused = attempt(lambda: sshsig.read_allowed_signers(path))
    key, refused_key = attempt(lambda: sshsig.load_signer(path), quiet=False)
    if key is not None:
        key.sign(b"message")
    return f"{refused or len(found or ())} {refused_key or 'key'}"


def _signers() -> list[bytes]:
    signer, _, private = _key()
    return [f'alice namespaces="carojournal,git" {signer.public} comment\n# note\n'.encode(), private]


@cache
def _age() -> tuple[bytes, list[bytes]]:
    """Return an identity and envelopes for it; made from fresh keys, so these inputs differ from run to run."""
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    out = BytesIO()
    age.encrypt(BytesIO(b"plain text"), out, [identity.to_public()])
    return str(identity).encode(), [out.getvalue()]


def _run_age(data: bytes) -> str:
    folder = scratch("age")
    key, given = os.path.join(folder, "key"), os.path.join(folder, "given")
    for path, raw in ((key, _age()[0]), (given, data)):
        with open(path, "wb") as file:
            file.write(raw)
    identities = age.read_identities(key)
    out = BytesIO()
    _, refused = attempt(lambda: age.decrypt(BytesIO(data), out, identities, "given"), quiet=False)
    if not refused and out.getvalue() != b"plain text":
        raise WrongValue("a changed envelope that decrypts to something else")
    found, refused_key = attempt(lambda: age.read_identities(given), quiet=False)
    words, refused_words = attempt(lambda: age.parse_recipients(data.decode("utf-8", "replace").splitlines()[:2]))
    return f"{refused or 'decrypted'} {refused_key or len(found or ())} {refused_words or len(words or ())}"


def _ages() -> list[bytes]:
    return [*_age()[1], _age()[0], *_signers()]


TARGETS = [
    Target("ssh-signature", lambda: [_key()[0].sign(b"message")], _run_signature, _fix_signature),
    Target(
        "ssh-keys", _signers, _run_signers, shape="lines", tokens=(b"ssh-ed25519", b"namespaces=", b"cert-authority")
    ),
    Target("age", _ages, _run_age, shape="lines", tokens=(b"-> X25519 ", b"-> scrypt ", b"--- ", b"age1")),
]
