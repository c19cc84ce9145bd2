"""What may be sent: of the yes that holds now, allowed today, not accounted for, of a session that we have issued."""

from pathlib import Path

from forge import closed_path, event, segment_bytes
from forgeries import issue_session
from receivers import Receiver
from uploads import YES_MS, ids, record, upload

from carobatch.preview import preview
from carobatch.sinks import open_sink

SEGMENT = bytes(range(16))


def test_events_of_a_session_that_was_never_issued_are_not_sent(root, clock):
    """Nobody could ask for their deletion: they are forged, or a host recorded them while the journal was cleared."""
    wanted = record(root, clock, 2)
    closed_path(Path(root), SEGMENT).write_bytes(segment_bytes(SEGMENT, [event(1), event(2)], consent=YES_MS))
    with Receiver() as receiver:
        assert len(list(preview(root, open_sink("caro-v1", receiver.url), 1, YES_MS))) == 2
        upload(root, receiver.url, clock)
        assert set(receiver.events) == set(wanted)
        assert len(ids(root)) == 2  # They stay where the user sees them.
        issue_session(root)
        upload(root, receiver.url, clock)
        assert len(receiver.events) == 4
