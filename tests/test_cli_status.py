"""`carojournal status`: what it says in each mode, and that it makes nothing."""

import json
import os
import subprocess
import sys

import pytest
from carobatch_journals import close_lanes
from conftest import Clock
from full_journals import by_hand, bytes_below, fill
from terminals import on_terminal

import carojournal
from carobatch.cli import main as carobatch
from carojournal import Journal, policy
from carojournal.cli import main
from carojournal.cli.output import bytes_text
from carojournal.index import INDEX
from carojournal.own_events import ALL_EVENTS
from carojournal.status import gather

STRACE = ("strace", "-f", "-e", "trace=network,openat,creat,mkdir,rename,link", "-o")
TREE = os.path.dirname(os.path.dirname(carojournal.__file__))


@pytest.fixture
def run(root, capfd, tmp_path, monkeypatch):
    """Run one verb on the default journal; return (exit code, standard output, standard error)."""
    monkeypatch.setattr(policy, "admin_file", lambda *_args: str(tmp_path / "admin.toml"))

    def call(*words):
        code = main(list(words))
        out, err = capfd.readouterr()
        return code, out, err

    assert os.path.isabs(root)
    return call


@pytest.fixture
def view(run):
    def call(*words):
        code, out, err = run("status", "--json", *words)
        assert (code, err) == (0, "")
        return json.loads(out)

    return call


def rows(out):
    """Return [(key, text)] of the form for pipes."""
    return [tuple(line.split("\t")) for line in out.splitlines()]


def below(place):
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names)


def configure(home, text):
    place = os.path.join(home, ".config", "caro", "config.toml")
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "w") as file:
        file.write(text)
    os.utime(place, (1, 1))


def test_before_the_first_event_there_is_nothing_and_nothing_is_made(run, view, home):
    code, out, err = run("status")
    assert (code, err) == (0, "")
    assert ("kept", "nothing yet") in rows(out)
    assert rows(out)[0] == ("mode", "local (set by default (beta)): events are kept on this machine and never sent")
    found = view()
    assert (found["exists"], found["events"], found["used_bytes"]) == (False, 0, 0)
    assert below(home) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("DO_NOT_TRACK", "1"), ("CARO_TELEMETRY", "0"), ("CARO_TELEMETRY_ENABLED", "false")],
)
def test_off_says_why_and_looks_at_nothing_else(run, home, root, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    code, out, err = run("status")
    assert (code, out, err) == (0, f"mode\toff (set by {name}): nothing is recorded\n", "")
    assert below(home) == []
    looked = []
    monkeypatch.setattr(os, "listdir", looked.append)
    monkeypatch.setattr(os, "scandir", looked.append)
    assert gather(root, os.environ).kept is None
    assert looked == []


def test_off_still_shows_what_is_kept_and_makes_no_index(view, root, monkeypatch):
    fill(root, 700_000)
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    before = below(root)
    off = view()
    assert off["mode"] == "off"
    assert off["events"] == len(by_hand(root))
    assert below(root) == before
    monkeypatch.delenv("DO_NOT_TRACK")
    on = view()
    assert os.path.exists(os.path.join(root, INDEX))
    for key in ("counts", "events", "oldest", "newest", "segments", "sendable"):
        assert on[key] == off[key], "the index counts what reading counts"


def test_a_config_that_cannot_be_understood_means_off_and_status_says_why(run, view, home):
    configure(home, "[telemetry]\nenabled = 'hunter2'\n")
    found = view()
    assert (found["mode"], found["source"]) == ("off", "config")
    assert len(found["problems"]) == 1
    assert "enabled" in found["problems"][0]
    _, out, _ = run("status")
    assert [key for key, _ in rows(out)][:2] == ["mode", "problem"]
    assert "hunter2" not in out


def test_a_mistyped_key_is_named_with_its_file_and_never_its_value(run, view, home):
    configure(home, "[telemetry]\nenabld = false\nair_gaped = 'hunter2'\nhunter3 = 1\n")
    place = f"{home}/.config/caro/config.toml: [telemetry]"
    notes = [f"{place} {name}: unknown key, ignored" for name in ("enabld", "air_gaped", "<unknown>")]
    _, out, _ = run("status")
    assert rows(out)[1:4] == [("note", text) for text in notes]
    assert "hunter" not in out
    found = view()
    assert (found["mode"], found["problems"], found["notes"]) == ("local", [], notes)


def test_a_sound_config_needs_no_note(run, view, home):
    configure(home, "[telemetry]\nair_gapped = true\n[telemetry.consent]\n[other]\nenabld = false\n")
    _, out, _ = run("status")
    assert "note" not in dict(rows(out))
    assert view()["notes"] == []


def test_counts_times_and_bytes_are_those_of_the_files(view, root):
    clock = fill(root, 100_000)
    assert clock
    events = by_hand(root)
    names = [row[3]["event"] for row in events]
    found = view()
    assert found["counts"] == {name: names.count(name) for name in ALL_EVENTS}
    assert found["events"] == found["pending"] == len(events)
    assert found["sendable"] == 0, "nobody said yes"
    assert found["oldest"].startswith("2026-09-")
    assert found["newest"] > found["oldest"]
    files = sum(os.path.getsize(path) for path in below(root) if os.path.basename(path) != "journal")
    assert found["used_bytes"] == files > bytes_below(root)
    assert found["cap_bytes"] == 10_000_000
    assert found["segments"] == {"open": 1, "closed": 0, "packed": 0}
    close_lanes(root)
    assert view()["segments"] == {"open": 0, "closed": 1, "packed": 0}


def test_only_events_after_a_yes_may_be_sent(view, home, root, clock):
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        journal.record("session_end", session_duration_ms=1)
    configure(
        home,
        "[telemetry]\nenabled = true\n[telemetry.consent]\nanswer = 'yes'\n"
        f"version = {policy.PROMPT_VERSION}\nat = 2026-09-21T00:00:00Z\n",
    )
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        assert journal.mode == "on"
        journal.record("session_end", session_duration_ms=2)
        journal.record("session_end", session_duration_ms=3)
    found = view()
    assert (found["pending"], found["sendable"]) == (3, 2)
    assert found["consent"] == {"answer": "yes", "current": True, "at": "2026-09-21T00:00:00.000Z"}
    assert found["mode"] == "on"
    assert root == found["journal"]


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("what", ["writable", "a link"])
def test_a_directory_that_hosts_refuse_is_noted(run, view, root, clock, made, what):
    """Hosts dropped every event, and the only place to look at said nothing."""
    if made:
        fill(root, 20_000)
    else:
        os.makedirs(root, 0o700)
    if what == "writable":
        os.chmod(root, 0o777)
        note = "the directory is writable by others (chmod go-w): no event is kept"
    else:
        os.rename(root, f"{root}-away")
        os.symlink(f"{root}-away", root)
        note = "the directory is a symbolic link: no event is kept"
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        assert not journal.record("session_end", session_duration_ms=1)
    assert ("note", note) in rows(run("status")[1])
    assert view()["notes"] == [note]


def test_a_folder_that_leads_elsewhere_is_noted_and_off_needs_no_note(view, root, tmp_path, monkeypatch):
    fill(root, 20_000)
    os.symlink(tmp_path, os.path.join(root, "packed"))
    assert view()["notes"] == [f"{root}/packed is a symbolic link: no event is kept"]
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert view()["notes"] == []


def test_refusals_are_counted_by_event_field_and_reason_without_a_word_of_theirs(run, view, journal):
    journal.record("session_end", session_duration_ms="hunter2")
    journal.record("session_end", session_duration_ms="hunter2")
    journal.record("session_end", session_duration_ms=1, password="hunter2")
    journal.record("hunter2")
    found = view()
    assert {(row["event"], row["field"], row["reason"]): row["count"] for row in found["refusals"]} == {
        ("session_end", "session_duration_ms", "type"): 2,
        ("session_end", "<unknown>", "unknown_field"): 1,
        ("<unknown>", "<unknown>", "unknown_event"): 1,
    }
    _, out, _ = run("status")
    assert ("refused", "4") in rows(out)
    assert "2 session_end session_duration_ms type: the value is of another type than the field" in out
    assert "hunter2" not in out + json.dumps(found)
    assert "password" not in out + json.dumps(found)


def test_drops_are_named(run, view, journal, root):
    from carojournal import drops

    journal.record("session_end", session_duration_ms=1)
    assert drops.add_counts(root, {"drop disk_full": 12, "drop busy": 1})
    assert view()["drops"] == {"busy": 1, "disk_full": 12}
    out = run("status")[1]
    assert ("dropped", "13 events") in rows(out)
    assert "12 disk_full: no space or quota left for the spool" in out


def test_evictions_are_losses_and_nothing_is_unaccounted_for(view, root):
    clock = Clock()
    made = 0
    environ = {"HOME": "/nonexistent"}
    with Journal.open(root, clock=clock, environ=environ, admin="/nonexistent") as journal:
        journal._policy.cap_bytes = 200_000
        journal.record("session_end", session_duration_ms=1)
        made += 1
        for lane in journal._lanes:
            lane.cap_bytes = 200_000
        while made < 3_000:
            journal.append("session_end", session_duration_ms=made)
            made += 1
    found = view()
    assert found["losses"], "the spool was full"
    assert {row["reason"] for row in found["losses"]} == {"evicted"}
    assert found["events"] + sum(row["events"] for row in found["losses"]) == made


def test_damage_is_noted(run, root):
    fill(root, 400_000)
    path = os.path.join(root, "segments", min(os.listdir(os.path.join(root, "segments"))))
    with open(path, "r+b") as file:
        file.seek(50_000)
        file.write(b"\0" * 400)
    with open(os.path.join(root, "drops"), "r+b") as file:
        file.seek(5)
        file.write(b"!")
    code, out, err = run("status")
    assert code == 0
    assert "in 1 place" in dict(rows(out))["damage"]
    assert "128 B of the counters" in dict(rows(out))["damage"]
    assert err == "carojournal: there is damage; 'carojournal verify' says where\n"
    code, out, _ = run("status", "--json")
    found = json.loads(out)["damage"]
    assert found["places"] == 1
    assert 400 <= found["bytes"] < 1_500
    assert found["counter_bytes"] == 128


def test_what_was_put_into_quarantine_is_shown(run, view, root, capfd):
    """Once it is packed without its damaged part, a journal is whole again, and says what that part cost."""
    fill(root, 100_000)
    events = view()["events"]
    assert ("quarantine", "none") in rows(run("status")[1])
    assert view()["quarantine"] == {"files": 0, "bytes": 0}
    close_lanes(root)
    path = os.path.join(root, "segments", min(os.listdir(os.path.join(root, "segments"))))
    with open(path, "r+b") as file:
        file.seek(50_000)
        file.write(b"\0" * 400)
    assert carobatch(["compact"]) == 65
    capfd.readouterr()
    [name] = os.listdir(os.path.join(root, "quarantine"))
    size = os.path.getsize(os.path.join(root, "quarantine", name))
    assert view()["quarantine"] == {"files": 1, "bytes": size}
    [lost] = view()["losses"]
    assert (lost["reason"], lost["segments"], lost["events"]) == ("damaged", 0, events - view()["events"])
    assert 0 < lost["events"] < 10
    shown = dict(rows(run("status")[1]))
    assert (shown["lost"], shown["damage"]) == (f"{lost['events']} damaged ({lost['bytes']} B)", "none known")
    hint = "'carobatch list' says what is missing and why"
    assert shown["quarantine"] == f"1 file, {bytes_text(size)}; {hint}"
    assert carobatch(["list"]) == 0
    assert "gap\t" in capfd.readouterr().out


def test_batches_receipts_and_deletion_requests(run, view, root, journal):
    from carojournal import deletion

    journal.record("session_end", session_duration_ms=1)
    old, new, bundle = "upload-00.cbor", "upload-01.cbor", "bundle-000001.json"
    for folder, name in (("outbox", "batch"), *(("receipts", name) for name in (old, new, bundle, "part.tmp"))):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
        with open(os.path.join(root, folder, name), "wb"):
            pass
    os.utime(os.path.join(root, "receipts", old), (1_700_000_000, 1_700_000_000))
    os.utime(os.path.join(root, "receipts", new), (1_800_000_000, 1_800_000_000))
    deletion.queue(root, [("2026-09-21", b"s" * 16)], 1_790_000_000_000)
    found = view()
    assert (found["in_flight"], found["receipts"], found["deletion_requests"]) == (1, 3, 1)
    assert found["last_batch"] == "2027-01-15T08:00:00.000Z"
    shown = dict(rows(run("status")[1]))
    assert shown["in flight"] == "1 batch"
    assert shown["to delete"] == "1 request not confirmed yet"


def test_explain_names_every_setting_and_who_set_it(run, view, home, monkeypatch):
    configure(home, "[telemetry]\nlevel = 'detailed'\noffline_spool_max_mb = 20\n")
    monkeypatch.setenv("CARO_TELEMETRY_LEVEL", "minimal")
    code, out, err = run("status", "--explain")
    assert (code, err) == (0, "")
    found = rows(out)
    assert ("mode", "local", "default (beta)") in found
    assert ("level", "minimal", "CARO_TELEMETRY_LEVEL") in found
    assert ("level", "detailed", "config (no effect)") in found
    assert ("offline_spool_max_mb", "20", "config") in found
    explained = view("--explain")["explain"]
    assert [tuple(row.values()) for row in explained] == found
    assert list(explained[0]) == ["key", "value", "source"]


def test_a_terminal_gets_columns_and_colour(home):
    environ = {**os.environ, "TERM": "xterm", "PYTHONPATH": TREE, "HOME": home}
    program = "import sys\nfrom carojournal.cli import main\nsys.exit(main(['status']))"
    shown, code = on_terminal(program, [], environ)
    assert code == 0
    assert b"\033[1mmode   \033[0m  \033[32mlocal\033[0m (set by" in shown
    assert b"\t" not in shown


def test_under_off_no_file_is_made_and_no_socket_is_opened(home, root):
    fill(root, 100_000)
    before = below(home)
    environ = {**os.environ, "DO_NOT_TRACK": "1"}
    for words in (["status"], ["status", "--json"], ["inspect", "event=session_end"]):
        trace = os.path.join(os.path.dirname(home), "trace")
        done = subprocess.run(
            [*STRACE, trace, sys.executable, "-B", "-m", "carojournal.cli", *words],
            capture_output=True,
            cwd=TREE,
            env=environ,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with open(trace) as file:
            calls = file.read()
        assert "O_RDONLY" in calls
        assert "socket(" not in calls
        assert not any(mark in calls for mark in ("O_CREAT", "creat(", "mkdir(", "rename(", "link("))
    assert below(home) == before
