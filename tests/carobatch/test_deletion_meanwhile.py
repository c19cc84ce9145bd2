"""The user says delete-remote while an upload is under way: it ends there, and whoever had something is asked."""

import json

import pytest
from receivers import Receiver
from uploads import names, record, upload

from carobatch.upload import Upload
from carojournal import deletion
from carojournal.cli import main as carojournal
from carojournal.receivers import Receiver as Named

OLD = Named("caro-v1", "https://old.example/v1/events")
LATE = Named("caro-v1", "https://late.example/v1/events")


@pytest.fixture(autouse=True)
def no_admin(monkeypatch):
    monkeypatch.setattr("carojournal.policy.admin_file", lambda *_: "/nonexistent")


@pytest.fixture
def under_way(root, home, clock, monkeypatch, capsys):
    """An upload to a new receiver, of events of which some went to an old one; delete-remote is said during it.

    Returns a function of the place where it is said (a method of Upload, and whether before it); it returns what the
    upload did, its receiver, and what delete-remote answered.
    """

    def made(name, *, first):
        said = []
        method = getattr(Upload, name)

        def wrapped(self, *words):
            if first and not said:
                said.append(carojournal(["delete-remote", "--yes", "--json"]))
            found = method(self, *words)
            if not said:
                said.append(carojournal(["delete-remote", "--yes", "--json"]))
            return found

        monkeypatch.setattr(Upload, name, wrapped)
        with Receiver() as receiver:
            done = upload(root, receiver.url, clock, events_max=10)
        assert said == [0]
        return done, receiver, json.loads(capsys.readouterr().out)

    record(root, clock, 30)
    [(day, session)] = deletion.read_identity(root).history()
    deletion.mark_sent(root, day, {session}, OLD)
    return made


@pytest.mark.parametrize(
    ("name", "first", "batches"),
    [("_still_wanted", True, 0), ("_still_wanted", False, 0), ("_may_go", False, 1), ("_send", False, 1)],
)
def test_a_deletion_that_is_asked_for_during_an_upload_ends_it(under_way, root, name, first, batches):
    """What arrives all the same was marked before, and its receiver is asked."""
    done, receiver, said = under_way(name, first=first)
    assert (done.kind, done.batches, done.events) == ("done", batches, 10 * batches)
    assert len(receiver.events) == 10 * batches
    asked = {one["receiver"]["url"] for one in said["requests"]}
    assert OLD.url in asked
    assert receiver.url in asked or not batches
    assert names(root, "outbox") == []


def test_whom_an_upload_marks_while_the_deletion_is_queued_is_asked_too(under_way, root, monkeypatch):
    """The upload looked before the request was there, and marks after `delete-remote` has listed the receivers."""
    queue = deletion.queue

    def marked_late(place, sessions, *words, **options):
        [(day, session)] = sessions
        deletion.mark_sent(place, day, {session}, LATE)
        return queue(place, sessions, *words, **options)

    monkeypatch.setattr(deletion, "queue", marked_late)
    _, _, said = under_way("_still_wanted", first=True)
    assert [one["receiver"] for one in said["requests"]] == [OLD._asdict(), LATE._asdict()]
    first, second = deletion.pending(root)
    assert first.sessions == second.sessions
