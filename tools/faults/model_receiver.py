"""A receiver without sockets, scripted answer by answer, that keeps what it took and says what it must not get."""

import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any

from carobatch.http import Failure, Reply

__all__ = ["ANSWERS", "Receiver"]

ANSWERS = {
    "take": "200 with nothing",
    "take and vanish": "the events are taken, but the answer is lost",
    "vanish": "no connection",
    "busy": "503",
    "wait": "429 with Retry-After",
    "too large": "413 to more than four events",
    "one is bad": "400 to a batch that holds an event of the unlucky kind",
    "some are bad": "200 that names refused events and some to send again",
    "denied": "401",
    "moved": "302",
    "portal": "200 with a web page",
}
_WAIT_S = "60"
_MOST = 4


class Receiver:
    """What `upload.Job` takes for a client.  `script` are keys of ANSWERS, used up from the front, then "take".

    `taken` maps an event id to its document, `refused` holds the ids that it refused for good.  `unlucky` tells of a
    document whether this receiver dislikes it.
    """

    def __init__(
        self, unlucky: Callable[[Mapping[str, object]], bool], tell: Callable[[object], None] | None = None
    ) -> None:
        self.script: list[str] = []
        self.taken: dict[str, dict[str, object]] = {}
        self.refused: set[str] = set()
        self.problems: list[str] = []
        self._unlucky = unlucky
        self._tell = tell

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply | Failure:  # noqa: ARG002, PLR0911
        """Answer one request."""
        events: list[dict[str, object]] = json.loads(gzip.decompress(body))["events"]
        answer = self.script.pop(0) if self.script else "take"
        self._look_at(events)
        bad = [str(event["event_id"]) for event in events if self._unlucky(event)]
        if answer == "vanish":
            return Failure("connect")
        if answer in ("busy", "wait", "denied", "moved"):
            status = {"busy": 503, "wait": 429, "denied": 401, "moved": 302}[answer]
            return Reply(status, {"retry-after": _WAIT_S} if answer == "wait" else {})
        if answer == "portal":
            return Reply(200, {}, b"<html>please log in</html>")
        if answer == "too large" and len(events) > _MOST:
            self.script.insert(0, answer)
            return Reply(413)
        if answer == "one is bad" and bad:
            self.script.insert(0, answer)
            if len(events) == 1:
                self._refuse(bad)
            return Reply(400)
        if answer == "some are bad":
            again = [str(event["event_id"]) for event in events[::3] if event["event_id"] not in bad]
            self._refuse(bad)
            self._take([event for event in events if event["event_id"] not in {*bad, *again}])
            return Reply(200, {}, json.dumps({"rejected": bad, "retry": again}).encode())
        self._take(events)
        return Failure("reset") if answer == "take and vanish" else Reply(200)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _look_at(self, events: list[dict[str, object]]) -> None:
        ids = [str(event["event_id"]) for event in events]
        if len(set(ids)) != len(ids):
            self.problems.append("an event twice in one batch")
        if len({str(event["timestamp"])[:10] for event in events}) > 1:
            self.problems.append("a batch mixes days")

    def hear(self, row: list[Any]) -> None:
        """Take over what a receiver in another process told of: events taken, ids refused."""
        taken, refused = row
        self._look_at(taken)
        self._take(taken)
        self.refused.update(refused)

    def _refuse(self, ids: list[str]) -> None:
        self.refused.update(ids)
        if self._tell:
            self._tell([[], ids])

    def _take(self, events: list[dict[str, object]]) -> None:
        for event in events:
            if self.taken.setdefault(str(event["event_id"]), event) != event:
                self.problems.append(f"event {event['event_id']} came twice with two contents")
        if self._tell:
            self._tell([events, []])
