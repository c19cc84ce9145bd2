"""`carobatch run`: quiet until it is due, quiet about failures until they are many, one at a time."""

import os
import time

import pytest
from uploads import carobatch, configure, due, fill, ids

from carobatch import timing
from carojournal import deletion


def test_run_is_silent_until_it_is_due_and_says_one_line_then(root, home, clock, receiver, capsys):
    wanted = fill(root, clock)
    configure(home, receiver.settings)
    assert carobatch(["run"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err, receiver.requests) == ("", "", [])
    due(root)
    assert carobatch(["run"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("sent 5 events in 1 batch")
    assert (told.out.count("\n"), told.err) == (1, "")
    assert receiver.events == dict.fromkeys(wanted, 1)
    assert carobatch(["run"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err, len(receiver.requests)) == ("", "", 1)


def test_run_is_quiet_about_failures_until_the_fifth(root, home, clock, receiver, capsys):
    fill(root, clock)
    configure(home, receiver.settings)
    receiver.script = lambda _: (500, {}, b"")
    due(root)
    for number in range(1, 6):
        tries = timing.load_tries(root)
        tries.not_before_ms = 0
        timing.save_tries(root, tries)
        code = carobatch(["run"])
        told = capsys.readouterr()
        assert told.out == ""
        assert (code, told.err) == (
            (75, "") if number < 5 else (69, "carobatch: 5 uploads failed in a row: status 500\n")
        )


def test_run_does_not_try_before_its_time(root, home, clock, receiver, capsys):
    fill(root, clock)
    configure(home, receiver.settings)
    due(root, failures=1, not_before_ms=time.time_ns() // 1_000_000 + 60_000)
    assert carobatch(["run"]) == 0
    assert receiver.requests == []


def test_run_warns_when_the_journal_is_nearly_full(root, home, clock, receiver, capsys):
    fill(root, clock)
    configure(home, f"{receiver.settings}\noffline_spool_max_mb = 1")
    os.makedirs(os.path.join(root, "quarantine"), exist_ok=True)
    with open(os.path.join(root, "quarantine", "x"), "wb") as file:
        file.write(bytes(900_000))
    assert carobatch(["run"]) == 69
    assert "% full" in capsys.readouterr().err


def test_two_at_once_one_gives_way_quietly(root, home, clock, receiver, capsys):
    from carojournal import locks

    fill(root, clock)
    configure(home, receiver.settings)
    with locks.batch_lock(root):
        assert carobatch(["run"]) == 75
        assert capsys.readouterr().err == ""
        assert carobatch(["upload"]) == 75


def test_run_packs_what_is_old_enough(root, home, clock, receiver, capsys):
    wanted = fill(root, clock, consent_ms=0)
    configure(home, "", 0)
    old = time.time() - 7_200
    os.utime(os.path.join(root, "lanes", "0.seg"), (old, old))
    assert carobatch(["run"]) == 0
    assert [name[-12:] for name in os.listdir(os.path.join(root, "packed"))] == [".cborseq.zst"]
    assert ids(root) == wanted
    assert capsys.readouterr().out == ""


def test_run_says_what_the_configuration_lacks(root, home, clock, receiver, capsys):
    fill(root, clock)
    configure(home, 'wire_format = "otlp"')
    due(root)
    assert carobatch(["run"]) == 78
    assert capsys.readouterr().err == "carobatch: endpoint: wire_format otlp has none of its own\n"


@pytest.mark.parametrize("asked", [False, True])
def test_run_says_that_the_configuration_is_broken_and_does_nothing(root, home, clock, receiver, capsys, asked):
    """A request to delete waits like under off, and goes out first when the file is mended."""
    fill(root, clock)
    due(root)
    if asked:
        deletion.queue(root, [("2026-01-01", bytes(16))], 1)
    for text, reason in (("level = 7", "[telemetry] level: allowed is "), ("level = [", "not TOML")):
        configure(home, f"{receiver.settings}\n{text}")
        assert carobatch(["run"]) == 78
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("carobatch: ")
        assert reason in told.err
        assert told.err.count("\n") == 1
    assert receiver.requests == []
    configure(home, receiver.settings)
    assert carobatch(["run"]) == 0
    assert [request.path for request in receiver.requests] == ["/v1/deletions"] * asked + ["/v1/events"]
    assert deletion.pending(root) == []


def test_run_is_silent_about_a_broken_configuration_where_a_variable_says_off(
    root, home, clock, receiver, capsys, monkeypatch
):
    fill(root, clock)
    configure(home, "level = 7")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert carobatch(["run"]) == 0
    assert capsys.readouterr() == ("", "")


def test_run_takes_its_folder_and_refuses_other_words(root, home, clock, receiver, tmp_path):
    assert carobatch(["run", "--dir", str(tmp_path / "missing")]) == 0
    assert carobatch(["run", "--frequently"]) == 64
    assert carobatch(["run", "--dir"]) == 64
