"""`carojournal clear` knows every file that carobatch leaves below the journal's root."""

import os

from receivers import answers
from uploads import carobatch, configure, fill, names

from carojournal import clear_files
from carojournal.cli import main as carojournal


def test_nothing_that_carobatch_leaves_is_taken_for_somebody_elses(root, home, clock, receiver, tmp_path, capsys):
    configure(home, receiver.settings)
    poison = fill(root, clock)[2]
    receiver.script = lambda request: (
        400 if poison in {event["event_id"] for event in request.events()} else 200,
        {},
        b"",
    )
    assert carobatch(["upload"]) == 0
    fill(root, clock)
    receiver.script = answers()
    assert carobatch(["upload"]) == 0
    fill(root, clock)
    assert carobatch(["export", "-o", str(tmp_path)]) == 0
    [bundle] = tmp_path.glob("*.tar.zst")
    assert carobatch(["import", str(bundle), "--into", str(tmp_path / "into"), "--receipts", str(tmp_path)]) == 0
    [receipt] = tmp_path.glob("receipt-*.json")
    assert carobatch(["ack", str(receipt)]) == 0
    fill(root, clock)
    receiver.script = answers((503, {}, b""))
    assert carobatch(["upload"]) == 75
    for folder in filter(None, clear_files.ORDER):
        assert os.listdir(os.path.join(root, folder)), folder
    assert clear_files.not_ours(root) == 0
    capsys.readouterr()
    assert carojournal(["clear", "--force"]) == 0
    assert "left alone" not in capsys.readouterr().err
    assert [name for folder in clear_files.ORDER if folder for name in names(root, folder)] == ["0.lock"]
