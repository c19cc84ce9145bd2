"""Journals that hold what no recorder would have written, and a look at all that a call leaves behind."""

import base64
import gzip
import io
import json
import os
from pathlib import Path

import zstandard
from conftest import NOON_MS, Clock
from forge import NOON_US, canonical, closed_path, event, segment_bytes
from receivers import Receiver, unpacked
from uploads import YES_MS, upload

import carobatch.cli
import carojournal.cli
from carobatch.preview import preview
from carobatch.sinks import open_sink
from carojournal import JournalReader
from carojournal.cli.exits import DAMAGED
from carojournal.identity import open_identity
from carojournal.salvage import salvage

__all__ = ["FORGERIES", "GOOD", "SECRET", "Leaving", "is_anywhere", "issue_session", "old_rows"]

SECRET = "jane.doe+k3y@example.com"
SEGMENT = bytes(range(16))
GOOD = 3
START = {"event": "session_start", "caro_version": "1.1.0", "os": "linux"}
OWN = {"timestamp": NOON_US // 1000, "session_id": b"s" * 16, "run_id": b"r" * 16}

# What stands where in an event that the allowlist must refuse: payloads, whole and in deterministic encoding.
FORGERIES = {
    "unknown field": event(7, note=SECRET),
    "text field": canonical({**START, **OWN, "caro_version": SECRET}),
    "enum field": canonical({**START, **OWN, "os": SECRET}),
    "number field": event(7, session_duration_ms=SECRET),
    "key": event(7, **{SECRET: True}),
    "bytes": event(7, note=SECRET.encode()),
    "nested": event(7, note={"deep": [SECRET]}),
    "event's name": event(7, event=SECRET),
    "no event at all": canonical({"note": SECRET}),
    "not a map": canonical([SECRET]),
    "not CBOR": b"\xff" + SECRET.encode(),
    "control record of no kind": canonical({"record": SECRET}),
    "event that says it is a seal": event(7, record="seal", note=SECRET),
    "event that says it is a loss": event(7, record="loss", note=SECRET),
    "loss without its keys": canonical({"record": "loss", "reason": SECRET}),
    "seal with one key more": canonical({"record": "seal", "count": 1, "note": SECRET}),
}


class Leaving:
    """A journal with one closed segment, GOOD events and a payload among them (every checksum holds), and the ways out.

    Each way writes below `out` and returns how many events it took or left, and whether it told of the others.
    """

    def __init__(self, root, folder, payload, **header):
        self.root = root
        self.out = folder / "out"
        self.out.mkdir()
        payloads = [event(number) for number in range(GOOD)]
        payloads.insert(1, payload)
        self.add(SEGMENT, payloads, **header)

    def add(self, segment, payloads, **header):
        """Add a closed segment."""
        for folder in ("", "lanes", "segments"):
            os.makedirs(os.path.join(self.root, folder), 0o700, exist_ok=True)
        keywords = {"consent": YES_MS, **header}  # Under a yes, so that it may be uploaded at all.
        closed_path(Path(self.root), segment).write_bytes(segment_bytes(segment, payloads, **keywords))

    def salvage(self):
        return self._salvage("cborseq")

    def salvage_as_ndjson(self):
        return self._salvage("ndjson")

    def _salvage(self, form):
        found = salvage(JournalReader(self.root), str(self.out / "salvaged"), form)
        return found.events, found.refused + len(found.damage)

    def export(self):
        code = carojournal.cli.main(["export", "-o", str(self.out / "events.json")])
        return json.loads((self.out / "events.json").read_text())["event_count"], code == DAMAGED

    def plain(self):
        path = self.out / "events.ndjson"
        code = carobatch.cli.main(["export", "--format", "ndjson", "-o", str(path)])
        return len(path.read_text().splitlines()), code == DAMAGED

    def compact(self):
        return self._held(carobatch.cli.main(["compact", "--idle", "0"]))

    def bundle(self):
        issue_session(self.root)
        return self._held(carobatch.cli.main(["export", "-o", str(self.out)]))

    def upload_caro_v1(self):
        return self._upload("caro-v1")

    def upload_caro_array(self):
        return self._upload("caro-array")

    def upload_posthog(self):
        return self._upload("posthog", "phc_key", _posthog_verdicts)

    def upload_otlp(self):
        return self._upload("otlp")

    def dry_run(self):
        issue_session(self.root)
        sink = open_sink("caro-v1", "https://example.com/v1/events")
        requests = [request for request, _ in preview(self.root, sink, 1_000, YES_MS)]
        self._keep(requests)
        return sum(len(json.loads(gzip.decompress(one.body))["events"]) for one in requests), 1

    def _upload(self, wire, key="", script=None):
        """The whole file stays where one event in it is not allowed to leave; `compact` names it, and counts it."""
        issue_session(self.root)
        with Receiver(script) as receiver:
            found = upload(self.root, receiver.url, Clock(), wire=wire, key=key)
        self._keep(receiver.requests)
        return found.events, len(os.listdir(os.path.join(self.root, "segments")))

    def _keep(self, requests):
        for number, one in enumerate(requests):
            body = unpacked(dict(one.headers), one.body)
            (self.out / f"{number}.request").write_bytes(f"{one.headers}\n".encode() + body)

    def _held(self, code):
        return len(list(JournalReader(self.root).records(events_only=True))), code == DAMAGED


def issue_session(root):
    """Make the identity at *root* one that has issued the session of `event`: of others nothing is ever sent."""
    open_identity(str(root), NOON_MS, os.urandom).append(f"session 2026-09-21 {(b's' * 16).hex()}")


def _posthog_verdicts(request):
    return 200, {}, json.dumps({"results": {one["uuid"]: "ok" for one in request.json()["batch"]}}).encode()


def old_rows(**fields):
    """Return an export of caro 1.1 with one row."""
    row = {"type": "session_start", "timestamp": "2026-01-01T00:00:00Z", "version": "1.1.0", "platform": "linux"}
    return json.dumps([{**row, **fields}])


def is_anywhere(*places, said=""):
    """Tell whether SECRET stands in *said* or below *places*: in names or bytes, also in hex, base64 or zstd."""
    blocks = [said.encode()]
    for place in map(str, places):
        for base, folders, names in os.walk(place):
            blocks += [os.path.join(base, name).encode() for name in (*folders, *names)]
            blocks += [_bytes(os.path.join(base, name)) for name in names]
        if os.path.isfile(place):
            blocks.append(_bytes(place))
    data = b"\n".join(blocks)
    raw = SECRET.encode()
    return any(form in data for form in (raw, raw.hex().encode(), base64.b64encode(raw)[:-4]))


def _bytes(path):
    with open(path, "rb") as file:
        data = file.read()
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
            return data + reader.read()
    except zstandard.ZstdError:
        return data
