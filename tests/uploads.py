"""Journals whose user said yes, and uploads of them to a receiver on the loopback."""

import json
import os
import time

from carobatch import timing
from carobatch.cli import main as carobatch
from carobatch.http import Client
from carobatch.seal import seal_idle_lanes
from carobatch.sinks import open_sink
from carobatch.upload import Job, Upload
from carojournal import Journal, JournalReader
from carojournal.times import utc_text

YES_MS = 1_700_000_000_000
DAY_MS = 86_400_000


def consented(root, clock, consent_ms=YES_MS, **options):
    """Open a journal that records under the yes given then; 0: none."""
    place = os.path.join(os.path.dirname(root), f"home-{consent_ms}")
    configure(place, "", consent_ms)
    environ = {"HOME": place}
    return Journal.open(root, clock=clock, environ=environ, admin="/nonexistent", level="detailed", **options)


def record(root, clock, events, consent_ms=YES_MS, step_ms=1_000):
    """Record *events* events under a yes and close their segment; return the event ids."""
    with consented(root, clock, consent_ms) as journal:
        for number in range(events):
            clock.advance(step_ms)
            journal.append("session_end", session_duration_ms=number, commands_generated=number % 7)
    seal_idle_lanes(root, clock.now_ms + 100 * DAY_MS, 0)
    return ids(root)


def ids(root):
    """The ids of every event that the journal holds."""
    return [one.event_id for one in JournalReader(root).records(events_only=True)]


def job(root, url, clock, **options):
    sink = open_sink(options.pop("wire", "caro-v1"), url, options.pop("key", ""))
    values = {
        "root": root,
        "sink": sink,
        "client": options.pop("client", None) or Client(ca_file=options.pop("ca_file", None), deadline_s=10.0),
        "allowed": lambda: YES_MS,
        "may_ask": lambda: True,
        "clock": lambda: clock.now_ms,
        "events_max": 1_000,
        "cap_bytes": 10_000_000,
        "interval_ms": DAY_MS,
        "random": lambda: 0.5,
    }
    return Job(**{**values, **options})


def upload(root, url, clock, **options):
    made = job(root, url, clock, **options)
    try:
        return Upload(made).run()
    finally:
        made.client.close()


def configure(home, text, consent_ms=YES_MS):
    """Write the user's config.toml, with the answer yes given then, 0: none."""
    folder = os.path.join(home, ".config", "caro")
    os.makedirs(folder, exist_ok=True)
    answer = f'[telemetry.consent]\nanswer = "yes"\nversion = 1\nat = "{utc_text(consent_ms)}"\n' if consent_ms else ""
    with open(os.path.join(folder, "config.toml"), "w") as file:
        file.write(f"[telemetry]\nenabled = true\n{text}\n{answer}")


__all__ = ["DAY_MS", "YES_MS", "carobatch", "configure", "consented", "ids", "job", "record", "upload"]


def fill(root, clock, events=5, consent_ms=YES_MS):
    clock.now_ms = time.time_ns() // 1_000_000
    with consented(root, clock, consent_ms) as journal:
        for number in range(events):
            journal.append("session_end", session_duration_ms=number)
    return ids(root)


def rows(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def due(root, failures=0, **values):
    """Make the next run due, or not."""
    tries = timing.load_tries(root)
    tries.since_ms = time.time_ns() // 1_000_000 - 3 * DAY_MS
    tries.failures = failures
    for name, value in values.items():
        setattr(tries, name, value)
    timing.save_tries(root, tries)


def names(root, folder):
    """What lies in a folder of the journal."""
    path = os.path.join(root, folder)
    return sorted(os.listdir(path)) if os.path.isdir(path) else []
