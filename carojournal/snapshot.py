"""What the user's and the administrator's files say: `policy` comes here as soon as one of them exists.

The snapshot `policy` below the root saves parsing TOML at every start.  It is text, one `key value` a line, last a
CRC-32 of the lines above, and it names size and mtime of the files it was made from: any doubt, and the files are read
again.

    carojournal-policy 1
    files <config signature> <admin signature>
    channel <beta|ga>
    mode <local|on>
    level <minimal|standard|detailed>
    cap_bytes <integer>
    consent_ms <UTC ms of the recorded yes, 0: none>
    prompt <version of the text that a yes must have been given to>
    source <name of the source that decided the mode>
    crc <8 hex digits>
"""

import os

from carojournal import policy
from carojournal.events import LEVELS
from carojournal.frame import crc32
from carojournal.policy import Policy

__all__ = ["encode_snapshot", "from_files", "parse_snapshot", "read", "says"]


def encode_snapshot(given: Policy, signatures: str) -> bytes:
    """Return the snapshot's bytes; *signatures* are the two file signatures, separated by a space."""
    text = (
        f"carojournal-policy 1\nfiles {signatures}\nchannel {given.channel}\nmode {given.mode}\n"
        f"level {LEVELS[given.level]}\ncap_bytes {given.cap_bytes}\nconsent_ms {given.consent_ms}\n"
        f"prompt {policy.PROMPT_VERSION}\nsource {given.source}\n"
    ).encode()
    return text + b"crc %08x\n" % crc32(text)


def parse_snapshot(data: bytes, signatures: str, channel: str) -> "Policy | None":
    """Return the policy of a snapshot, or None if it is damaged or was made from other files, channel or text."""
    text, _, crc = data.rpartition(b"crc ")
    if crc != b"%08x\n" % crc32(text):
        return None
    lines = dict(line.partition(" ")[::2] for line in text.decode().splitlines())
    expected = {
        "carojournal-policy": "1",
        "files": signatures,
        "channel": channel,
        "prompt": str(policy.PROMPT_VERSION),
    }
    if any(lines.get(key) != value for key, value in expected.items()) or lines.get("mode") not in policy.MODES:
        return None
    found = Policy(
        lines["mode"],
        source=lines["source"],
        channel=channel,
        level=LEVELS.index(lines["level"]),
        cap_bytes=int(lines["cap_bytes"]),
        consent_ms=int(lines["consent_ms"]),
    )
    return found if encode_snapshot(found, signatures) == data else None


def says(data: bytes, name: bytes, word: bytes, *, top: bool = False) -> bool:
    """Tell whether caro's config.toml plainly says `name = word` in its section [telemetry], or with *top* above any.

    Not a TOML parser: it may miss an unusual spelling, which costs a parse, and could at worst see "off" in the middle
    of a multi-line string, which records nothing.  It keeps the start-up of people who opted out free of both.
    """
    here = top
    for raw in data.splitlines():
        line = raw.strip()
        if line.startswith(b"["):
            here = line.split(b"#")[0].strip() == b"[telemetry]"
        elif here and line.startswith(name):
            key, _, value = line.partition(b"=")
            if key.strip() == name and value.split(b"#")[0].strip() == word:
                return True
    return False


def read(path: str, limit: int) -> bytes:
    """Return up to *limit* bytes of a file.  Raises OSError."""
    # O_NONBLOCK: a FIFO where a file should be must not hang the host.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)


def _admin_says_off(admin: str) -> bool:
    """Tell whether the administrator's file plainly does: then nothing below the root is even looked at."""
    try:
        return says(read(admin, policy.CONFIG_BYTES_MAX), b"enabled", b"false", top=True)
    except OSError:
        return False  # Whoever parses the file says why, and it is off then, too.


def from_files(root: str, config: str, admin: str, signatures: str, channel: str) -> Policy:
    """Return the policy that the files name for *channel*; *signatures* are those of *config* and *admin*, just taken.

    Never raises.  Where the snapshot does not fit, the files are parsed and it is written anew.
    """
    try:
        data = b"" if signatures.startswith("-") else read(config, policy.CONFIG_BYTES_MAX)
        if says(data, b"enabled", b"false"):
            return Policy("off", source="config", channel=channel)
        if channel == "ga" and signatures.endswith(" -") and b"telemetry" not in data:
            # Off leaves no snapshot: without this, caro's other settings would be parsed at every start.
            return policy.default_policy(channel)
    except OSError:
        return Policy("off", source="config", channel=channel, problems=(f"{config}: cannot be read",))
    if not signatures.endswith(" -") and _admin_says_off(admin):
        return Policy("off", source="admin", channel=channel)
    try:
        found = parse_snapshot(read(os.path.join(root, policy.SNAPSHOT), 4096), signatures, channel)
    except (OSError, ValueError, KeyError):
        found = None
    if found is None:
        from carojournal import config as files

        found = files.refresh_snapshot(root, config, admin, signatures, channel)
    return found
