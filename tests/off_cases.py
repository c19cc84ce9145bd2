"""How telemetry is switched off, and every verb with arguments: what `test_off` crosses.

A verb of either program's VERBS that has no entry in INVOCATIONS fails `test_off`: add one, with what it may write.
"""

import os
from dataclasses import dataclass, field

__all__ = ["API_CASES", "INVOCATIONS", "PATHS", "DisablePath", "Invocation"]

YES = (
    "[telemetry]\nenabled = true\nair_gapped = false\n"
    'consent = {answer = "yes", version = 1, at = 2026-01-01T00:00:00Z}\n'
)


@dataclass(frozen=True)
class DisablePath:
    """One way to off.  `config` and `admin` are the files' texts, None for none, "/" for a directory in their place.

    `looks` tells that the files do not plainly say off, so that the snapshot below the root is looked for before they
    are parsed.  `asks`: nobody has decided, so `consent.ensure` may ask.
    """

    environ: dict = field(default_factory=dict)
    config: str | None = None
    admin: str | None = None
    cli_channel: str = "beta"
    append: tuple = ()
    open: dict = field(default_factory=dict)
    ensure: dict = field(default_factory=dict)
    api_only: bool = False
    looks: bool = False
    asks: bool = False
    thorough: bool = False  # With every invocation of every verb, not the first alone.


# Where a variable or the administrator says off, the user's own file says the opposite as loudly as it can.
PATHS = {
    "CARO_TELEMETRY_ENABLED": DisablePath({"CARO_TELEMETRY_ENABLED": "0"}, YES),
    "CARO_TELEMETRY": DisablePath({"CARO_TELEMETRY": "off"}, YES),
    "DO_NOT_TRACK": DisablePath({"DO_NOT_TRACK": "1"}, YES),
    "DO_NOT_TRACK without a config": DisablePath({"DO_NOT_TRACK": "1"}, thorough=True),
    "config": DisablePath(config="[telemetry]\nenabled = false\n", thorough=True),
    "config with a no": DisablePath(
        config=YES.replace("yes", "no").replace("enabled = true", "enabled = false"),
    ),
    "admin": DisablePath(config=YES, admin="[telemetry]\nenabled = false\n", thorough=True),
    "admin without a section": DisablePath(admin="enabled = false\n"),
    "invalid config": DisablePath(config="[telemetry]\nenabled = perhaps\n", looks=True, thorough=True),
    "invalid value": DisablePath(config='[telemetry]\nenabled = true\nlevel = "everything"\n', looks=True),
    "key in other letters": DisablePath(config=f"{YES}air-gapped = true\n", looks=True),
    "config of a mebibyte": DisablePath(config=YES + "#" * 1_048_576, looks=True),
    "unreadable config": DisablePath(config="/"),
    "unreadable admin": DisablePath(config=YES, admin="/", looks=True),
    "ga in config": DisablePath(config='[telemetry]\nchannel = "ga"\n', looks=True, asks=True),
    "ga release": DisablePath(
        cli_channel="ga", append=("--channel", "ga"), open={"channel": "ga"}, ensure={"channel": "ga"}, asks=True
    ),
    "--no-telemetry": DisablePath(
        config=YES,
        append=("--no-telemetry",),
        open={"no_telemetry": True},
        ensure={"no_telemetry": True},
        api_only=True,
    ),
    "mode of the host": DisablePath(config=YES, open={"mode": "off"}, ensure={"no_telemetry": True}, api_only=True),
}


@dataclass(frozen=True)
class Invocation:
    """Words after the verb; `{root}` and the files of `work/` may stand in them.

    `writes` are patterns of paths that the call may create, write or remove: the exceptions, each with its reason in
    INVOCATIONS.  `leaves` are the files that are new or other after it, if there is a journal and nothing forbids it.
    """

    words: tuple = ()
    codes: tuple = (0,)
    writes: tuple = ()
    leaves: tuple = ()
    stdin: str = os.devnull


CONFIG = "home/.config/caro/config.toml"
CONFIG_WRITES = ("home/.config", "home/.config/caro", CONFIG, "home/.config/caro/.config.toml.carojournal")
ROOT = "home/.local/share/caro/telemetry/journal"
EVENT = ("--event", "session_start", "caro_version=1.1.0", "os=linux")
RUN = "0123456789abcdef" * 2


def output(name):
    """Return the patterns of a file that the user named: itself, and its temporary beside it."""
    return {"writes": (f"work/{name}", f"work/.{name}.*.tmp"), "leaves": (f"work/{name}",)}


def choice(*words, codes=(0, 74, 77, 78)):
    """Return a call that stores the user's choice, which is the one purpose of that file."""
    return Invocation(words, codes, CONFIG_WRITES, (CONFIG,))


REFUSED = (77,)

INVOCATIONS = {
    "carojournal": {
        "append": [
            Invocation(EVENT),
            Invocation(("--event", "session_start", "caro_version=not-one")),
            Invocation(("--durability", "each", *EVENT)),
            Invocation(stdin="events.ndjson"),
            Invocation(("--new-run",)),
            Invocation(("--run", RUN, *EVENT)),
            Invocation(("--dir", "another", *EVENT)),
        ],
        "inspect": [
            Invocation(("--since", "2020-01-01", "event=session_start")),
            Invocation(),
            Invocation(("-n", "all", "-o", "json", "--show-cursor")),
            Invocation(("--session", "today", "--reverse", "--no-index")),
            Invocation(("--follow",), (130,)),
            Invocation(("--disk-usage",)),
            Invocation(("--cursor-file", "cursor"), **output("cursor")),  # A file that the user named.
        ],
        "status": [Invocation(("--explain",)), Invocation(), Invocation(("--json",))],
        "verify": [Invocation(), Invocation(("--json",)), Invocation(("{root}/lanes/0.seg",), (0, 74))],
        "salvage": [
            Invocation(("--out", "salvaged"), **output("salvaged")),  # A file that the user named.
            Invocation((), (64,)),
        ],
        "reindex": [Invocation(codes=REFUSED), Invocation(("--json",), REFUSED)],
        "export": [
            # Files that the user named; the default's name stands in `export --help`.
            Invocation(("-o", "out.json"), **output("out.json")),
            Invocation(("--format", "ndjson"), **output("telemetry-export-*.ndjson")),
            Invocation(("-o", "-", "--format", "json")),
            Invocation(("-o", "out.json", "--clear"), REFUSED),
        ],
        "clear": [
            # The removal that the user asked for: below the root things go, and nothing comes.
            Invocation(("--force",), writes=(ROOT, f"{ROOT}/*")),
            Invocation((), (0, 77)),
        ],
        "delete-remote": [
            # The user's request, which survives off.
            Invocation(
                ("--yes",),
                writes=(f"{ROOT}/deletion-requests",),
                leaves=(f"{ROOT}/deletion-requests",),
            ),
            Invocation((), (0, 77)),
        ],
        "on": [choice("--yes"), Invocation((), (0, 77, 78))],
        "local": [choice()],
        "off": [choice()],
        "consent": [Invocation((), (0, 77, 78)), Invocation(("--text",))],
        "config": [
            Invocation(("list",), (0, 78)),
            Invocation(("list", "--json"), (0, 78)),
            Invocation(("get", "enabled"), (0, 78)),
            choice("set", "level", "minimal"),
            choice("set", "enabled", "true"),
            Invocation(("unset", "level"), (0, 77, 78), CONFIG_WRITES),
        ],
        "schema": [Invocation(), Invocation(("--json",)), Invocation(("--cddl",))],
        "audit": [Invocation(), Invocation(("events.ndjson", "--json"))],
        "migrate": [Invocation(("old.json",), REFUSED), Invocation(("--dry-run", "old.json"), REFUSED)],
        "demo": [Invocation((), REFUSED), Invocation(("--dir", "show", "--keep"), REFUSED)],
        "docs": [Invocation(), Invocation(("off",))],
        "sent": [Invocation(), Invocation(("--json",))],
    },
    "carobatch": {
        "run": [Invocation((), (0, 78))],
        "upload": [
            Invocation((), (77, 78)),
            Invocation(("--dry-run",), (0, 77, 78)),
            Invocation(("--json",), (77, 78)),
        ],
        "deletion": [
            Invocation(("list",)),
            # The user's word on a request, which survives off; there is none of that id.
            Invocation(("confirm", "00000000"), (69,)),
        ],
        "schedule": [Invocation(("print", "cron")), Invocation(("print", "systemd")), Invocation(("print", "launchd"))],
        "compact": [Invocation((), REFUSED), Invocation(("--idle", "0", "--json"), REFUSED)],
        "export": [
            Invocation((), REFUSED),
            Invocation(("-o", "bundle.tar.zst"), REFUSED),
            # A file that the user named.
            Invocation(("-o", "out.json", "--format", "json"), **output("out.json")),
        ],
        "verify": [Invocation(("carried.tar.zst",)), Invocation(("--json", "--quick", "carried.tar.zst"))],
        "import": [
            # Folders that the user named: what was carried here is no telemetry of this machine.
            Invocation(
                ("--into", "into", "--receipts", "receipts", "carried.tar.zst"),
                writes=("work/into", "work/into/*", "work/receipts", "work/receipts/*", "work/receipts/.*.tmp"),
                leaves=("work/into/*", "work/receipts/*"),
            )
        ],
        "status": [Invocation(), Invocation(("--json",))],
        "list": [Invocation(), Invocation(("gaps", "--json"))],
        "ack": [Invocation(("receipt.json",), REFUSED), Invocation(("--reclaim", "receipt.json"), REFUSED)],
    },
}

# (name in off_calls.CALLS, whether it reads the journal by its nature)
API_CASES = {
    **dict.fromkeys(("record", "append", "append_many", "append_timed", "new_generation", "count"), False),
    **dict.fromkeys(("collector", "issue_run", "ensure", "ensure_on_a_terminal"), False),
    "reader": True,
}
