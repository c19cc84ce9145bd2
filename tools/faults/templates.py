"""The places that operations start from, each made once."""

import os
import re

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from carobatch.cli import main as carobatch
from carojournal.recovery import explained_segments
from faults import tracer
from faults.place import Place, standing
from faults.tracer import Fault

__all__ = ["Templates"]

_CAP_BYTES = 1_000_000  # `offline_spool_max_mb = 1`
_SEGMENT_BYTES = _CAP_BYTES // 40


class Templates:
    """Makes places below a scratch directory; *now_ms* is UTC milliseconds, *url* a receiver's."""

    def __init__(self, now_ms: int, url: str, log: str) -> None:
        self._now_ms = now_ms
        self._url = url
        self._log = log

    def _new(self, path: str, text: str = "", *, yes: bool = True) -> Place:
        place = Place(path)
        for name in ("home", "out", "back", "imported", "stick"):
            os.makedirs(place.folder(name), 0o700)
        place.configure(f'endpoint = "{self._url}"\nbatch_max_events = 3\n{text}', yes=yes)
        return place

    def _run(self, place: Place, *words: str) -> None:
        with standing(place, self._log):
            code = carobatch(list(words))
        if code:
            raise RuntimeError(f"carobatch {words[0]} of the template ended with {code}")

    def empty(self, path: str) -> Place:
        """Make nothing but a configuration."""
        return self._new(path)

    def unasked(self, path: str) -> Place:
        """Make a user who was not asked yet."""
        return self._new(path, yes=False)

    def running(self, path: str) -> Place:
        """Make an open segment of today."""
        place = self._new(path)
        place.fill(5, self._now_ms - 60_000)
        return place

    def yesterday(self, path: str) -> Place:
        """Make an open segment of yesterday."""
        place = self._new(path)
        place.fill(5, self._now_ms, days_ago=1)
        return place

    def closed(self, path: str) -> Place:
        """Make small packed files of two days, closed segments of the same days and another, and an open one."""
        place = self._new(path)
        place.fill(3, self._now_ms, days_ago=4)
        place.fill(3, self._now_ms, days_ago=3)
        self._run(place, "compact", "--idle", "0")
        for ago in (4, 3, 2, 1):
            place.fill(4, self._now_ms, days_ago=ago)
        return place

    def torn(self, path: str) -> Place:
        """Make the same, with a torn record at the end of one segment."""
        place = self.closed(path)
        with open(os.path.join(place.root, "lanes", "0.seg"), "ab") as file:
            file.write(b"\x84\x1a\x00")
        place.fill(2, self._now_ms - 60_000)
        return place

    def full(self, path: str) -> Place:
        """Make a journal at its bound, whose oldest file is packed and whose next has recorded a loss."""
        place = self._new(path, "offline_spool_max_mb = 1")
        filler = os.path.join(place.root, "quarantine", "filler")
        place.fill(3, self._now_ms, days_ago=9)
        os.makedirs(os.path.dirname(filler), 0o700)
        self._fill(filler, 2 * _SEGMENT_BYTES)
        place.fill(3, self._now_ms, days_ago=8)  # The loss of what is nine days old stands in its segment.
        os.truncate(filler, 0)
        place.fill(3, self._now_ms, days_ago=7)
        self._run(place, "compact", "--idle", "0")
        for ago in (4, 3, 2, 1):
            place.fill(3, self._now_ms, days_ago=ago)
        self._fill(filler, 3 * _SEGMENT_BYTES // 2)
        return place

    def _fill(self, filler: str, left: int) -> None:
        with open(filler, "wb") as file:
            file.truncate(_CAP_BYTES - left)

    def exported(self, path: str) -> Place:
        """Make two bundles on a stick, the first of which is imported already."""
        place = self.closed(path)
        self._run(place, "export", "-o", place.folder("stick"), "--until", "60 hours ago")
        stick = place.folder("stick")
        self._run(place, "import", os.path.join(stick, os.listdir(stick)[0]), "--into", place.folder("imported"))
        self._run(place, "export", "-o", stick)
        return place

    def imported(self, path: str) -> Place:
        """Make receipts of all bundles, carried back, and an event that came later."""
        place = self.closed(path)
        self._run(place, "export", "-o", place.folder("stick"))
        stick = place.folder("stick")
        bundle = os.path.join(stick, os.listdir(stick)[0])
        self._run(place, "import", bundle, "--into", place.folder("imported"), "--receipts", place.folder("back"))
        place.fill(2, self._now_ms - 60_000)
        self._run(place, "compact", "--idle", "0")
        return place

    def sendable(self, path: str) -> Place:
        """Make closed segments of two days, and an open one."""
        # One certificate, not all of them: the receiver has none, and reading them would be half of an upload.
        ca_file = f"{path}.pem"
        with open(DEFAULT_CA_BUNDLE_PATH, encoding="ascii", errors="replace") as file:
            first = re.search(r"-----BEGIN.*?-----END CERTIFICATE-----\n", file.read(), re.DOTALL)
        with open(ca_file, "w", encoding="ascii") as file:
            file.write(first[0] if first else "")
        place = self._new(path, f'ca_file = "{ca_file}"')
        for ago in (2, 1, 0):
            place.fill(3, self._now_ms - 60_000, days_ago=ago)
        return place

    def interrupted(self, path: str) -> Place:
        """Make the same, after one upload that went well and one that was killed when it was about to send a batch."""
        place = self.sendable(path)
        self._run(place, "upload")
        place.acknowledged.clear()  # They are gone, as they should be.
        place.removed = explained_segments(place.root)
        for ago in (1, 0):
            place.fill(4, self._now_ms - 30_000, days_ago=ago)

        def upload() -> int:
            with standing(place, self._log):
                return carobatch(["upload"])

        tracer.run(upload, lambda call: Fault(kill=call.name == "connect"), {"connect"})
        if not os.listdir(os.path.join(place.root, "outbox")):
            raise RuntimeError("the upload of the template left no intent")
        return place

    def off(self, path: str) -> Place:
        """Make a journal whose user has switched telemetry off since."""
        place = self.closed(path)
        with open(place.config, encoding="utf-8") as file:
            text = file.read()
        with open(place.config, "w", encoding="utf-8") as file:
            file.write(text.replace("enabled = true", "enabled = false"))
        return place
