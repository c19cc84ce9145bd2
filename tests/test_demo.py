"""The demo does what it shows, shows no more than it does, and leaves nothing behind."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import cbor2
import pytest
from stored_events import stored

from carojournal import Journal, JournalReader, demo_host
from carojournal.cli.demo import _Show
from carojournal.demo_attempts import make_attempts, search, try_attempt
from carojournal.demo_host import DANGEROUS, HARMLESS, REQUESTS, SENTENCES, Host

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def temporary(tmp_path):
    """Where the demo makes its folder."""
    place = tmp_path / "temporary"
    place.mkdir()
    return str(place)


def environment(temporary, **given):
    return os.environ | {"PYTHONPATH": HERE, "TMPDIR": temporary, "SHELL": "/usr/bin/zsh"} | given


def run(temporary, *words, **given):
    return subprocess.run(
        [sys.executable, "-m", "carojournal.cli", "demo", *words],
        capture_output=True,
        check=False,
        timeout=60,
        text=True,
        env=environment(temporary, **given),
    )


@pytest.fixture
def steps(journal, tmp_path, monkeypatch):
    """Every step of a session with all fields, and what was run for it."""
    started = []
    real = subprocess.run

    def watched(words, **keywords):
        started.append(words)
        return real(words, **keywords)

    monkeypatch.setattr(demo_host.subprocess, "run", watched)
    host = Host(journal, str(tmp_path))
    host.start()
    found = [host.serve(said) for said in REQUESTS]
    host.end()
    return found, started


def test_everything_happens_that_a_session_can_hold(steps, root):
    found, _ = steps
    assert {step.outcome for step in found} == {"success", "error", "timeout", "blocked", "no command"}
    events = stored(root)
    assert {event["event"] for event in events} == {
        *("session_start", "session_end", "command_generated"),
        *("command_executed", "safety_triggered", "error_occurred"),
    }
    executed = {event["generation"]: event for event in events if event["event"] == "command_executed"}
    for ordinal, step in enumerate(found, 1):
        if step.executed_ms is None:
            assert ordinal not in executed
        else:
            assert executed[ordinal]["exit_code_category"] == step.outcome
            assert executed[ordinal]["execution_time_ms"] == step.executed_ms
    timeout = next(step for step in found if step.outcome == "timeout")
    assert timeout.executed_ms >= demo_host.RUN_TIMEOUT_S * 1000
    end = events[-1]
    assert end["commands_executed"] == len(executed)
    assert end["safety_blocks"] == sum(event["event"] == "safety_triggered" for event in events)
    assert end["errors_encountered"] == sum(event["event"] == "error_occurred" for event in events)


def test_no_dangerous_program_is_ever_started(steps):
    found, started = steps
    blocked = [step for step in found if step.outcome == "blocked"]
    assert blocked
    assert {words[0] for words in started} <= HARMLESS
    assert HARMLESS.isdisjoint(DANGEROUS)
    assert len(started) == sum(step.executed_ms is not None for step in found)


def test_a_program_that_looks_harmless_but_is_not_in_the_list_does_not_run(journal, tmp_path):
    with pytest.raises(AssertionError):
        Host(journal, str(tmp_path))._execute(("touch", "here"), 1)
    assert not (tmp_path / "here").exists()


def test_neither_sentences_nor_commands_are_stored(steps, root):
    found, _ = steps
    said = [step.said for step in found] + [" ".join(step.command) for step in found if len(step.command) > 1]
    assert search(root, [*said, *SENTENCES]).found == 0


@pytest.mark.parametrize("shell", ["/usr/bin/zsh", "/opt/ada's own/secret-shell", ""])
def test_a_machine_is_described_in_words_of_the_schema(shell, monkeypatch, journal):
    monkeypatch.setenv("SHELL", shell)
    found = demo_host.machine()
    assert found["shell"] == ("zsh" if shell.endswith("zsh") else "unknown")
    assert journal.record("session_start", **found)
    assert journal.stats["reasons"] == {}


def test_attempts_are_refused_or_kept_without_the_string(journal, root):
    attempts = make_attempts()
    verdicts = [try_attempt(journal, attempt) for attempt in attempts]
    assert {what for what, _ in verdicts} == {"refused", "kept without it"}
    strings = [text for attempt in attempts for text in attempt.strings]
    assert search(root, strings).found == 0
    assert not any(text in verdict for text in strings for pair in verdicts for verdict in pair)
    assert journal.stats["recorded"] == sum(what == "kept without it" for what, _ in verdicts)


def test_attempts_are_new_each_time():
    first = {text for attempt in make_attempts() for text in attempt.strings}
    assert first.isdisjoint(text for attempt in make_attempts() for text in attempt.strings)


UUID = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


@pytest.mark.parametrize(
    "form",
    [
        UUID.encode(),
        UUID.encode("utf-16-le"),
        b"7d4448409dc011d1b2455ffdce74fad2",
        bytes.fromhex("7d4448409dc011d1b2455ffdce74fad2"),
        # printf %s UUID | base64, | xxd -p, | sha256sum
        b"N2Q0NDQ4NDAtOWRjMC0xMWQxLWIyNDUtNWZmZGNlNzRmYWQy",
        b"37643434343834302d396463302d313164312d623234352d356666646365373466616432",
        b"0e1ecd9ab40b179734097c041f8f15506825064ce6dc45a7ebcc166b4ae60f2d",
        bytes.fromhex("0e1ecd9ab40b179734097c041f8f15506825064ce6dc45a7ebcc166b4ae60f2d"),
    ],
)
def test_the_search_finds_what_is_there(tmp_path, form):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"before" + form + b"after")
    assert search(str(tmp_path), [UUID]).found == 1
    assert search(str(tmp_path), ["8" + UUID[1:]]).found == 0


def test_the_search_looks_at_names_too(tmp_path):
    (tmp_path / "secret-name").write_bytes(b"")
    assert search(str(tmp_path), ["secret-name"]).found == 1


def test_in_a_pipe_it_is_plain_quick_and_leaves_nothing(home, temporary):
    began_s = time.monotonic()
    done = run(temporary)
    assert time.monotonic() - began_s < 10
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert all(letter.isprintable() or letter in "\n\t" for letter in done.stdout)
    assert "shell zsh" in done.stdout
    for words in (
        "$ carojournal inspect",
        "$ carojournal verify",
        " export -o ",
        "Next",
    ):
        assert words in done.stdout
    assert ": 0 found" in done.stdout
    assert os.listdir(home) == []
    assert os.listdir(temporary) == []


def bag(folder, data):
    """Make folder/bag.tar.zst by stock tools; its manifest says that the data is b"data"."""
    inner = folder / "bag"
    (inner / "data").mkdir(parents=True)
    (inner / "data" / "file").write_bytes(data)
    digest = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"  # printf data | sha256sum
    (inner / "manifest-sha256.txt").write_text(f"{digest}  data/file\n")
    (inner / "tagmanifest-sha256.txt").write_text("")
    subprocess.run(
        "sha256sum manifest-sha256.txt >tagmanifest-sha256.txt && cd .. && tar --zstd -cf bag.tar.zst bag && rm -r bag",
        shell=True,
        cwd=inner,
        check=True,
    )


@pytest.mark.parametrize(("data", "code"), [(b"data", 0), (b"dato", 1)])
def test_a_bundle_is_checked_by_stock_tools(tmp_path, capsys, data, code):
    bag(tmp_path, data)
    show = _Show(str(tmp_path))
    show._check(str(tmp_path), "bag.tar.zst")
    shown = capsys.readouterr().out
    assert show.code == code
    assert ("every checksum holds" in shown) is (code == 0)
    assert "$ zstd -q -t bag.tar.zst\n$ tar --zstd -xf bag.tar.zst\n$ cd bag\n$ sha256sum" in shown


def test_the_bundle_is_real_and_what_was_tried_is_not_in_it(home, temporary):
    done = run(temporary, PYTHONPATH=os.pathsep.join((HERE, os.path.join(HERE, "tools"))))
    assert (done.returncode, done.stderr) == (0, "")
    bundle = done.stdout.partition("$ carobatch export")[2]
    assert "every checksum holds" in bundle
    assert re.search(r"searched [0-9]+ files, .*: 0 found", bundle)
    assert os.listdir(home) == os.listdir(temporary) == []


def test_every_next_command_exists(home, temporary):
    from carojournal.cli import VERBS

    text = run(temporary).stdout.partition("\nNext\n")[2]
    verbs = re.findall(r"carojournal ([a-z-]+)", text)
    assert verbs
    assert set(verbs) <= VERBS.keys()
    assert os.listdir(home) == []


def test_on_a_terminal_there_are_colours(home, temporary):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "carojournal.cli", "demo"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(temporary, TERM="xterm"),
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65_536):
            shown += data
    except OSError:  # How Linux says that the other side is closed.
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    assert b"\x1b[1m" in shown
    assert b"you say" in shown
    assert os.listdir(home) == os.listdir(temporary) == []


def started(temporary, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "carojournal.cli", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(temporary),
        **options,
    )


def wait_for_journal(process, temporary):
    while not any(os.path.isdir(f"{temporary}/{name}/journal/lanes") for name in os.listdir(temporary)):
        assert process.poll() is None
        time.sleep(0.005)


@pytest.mark.parametrize("shown", ["", "$ carojournal inspect", "$ carobatch export"], ids=["session", "verb", "tool"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP), (signal.SIGINT, 130)]
)
def test_a_signal_leaves_nothing_behind(home, temporary, number, code, shown):
    # Whoever runs the tests may ignore it, as `nohup` does.
    process = started(temporary, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    wait_for_journal(process, temporary)
    while shown and shown not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert error == ("carojournal: interrupted\n" if code > 0 else "")
    assert os.listdir(home) == os.listdir(temporary) == []


def test_a_signal_that_comes_during_a_finalizer_ends_it_as_well():
    """Python passes over what is raised there."""
    code = """
import os, signal
from carojournal.cli.demo import _ended_by_signals

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(100):
            pass

with _ended_by_signals():
    Finalized()
    print("cleaned up", flush=True)
print("not here")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "cleaned up\n", "")


def test_a_hangup_that_is_ignored_stays_ignored(temporary):
    process = started(temporary, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for_journal(process, temporary)
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=60)
    assert process.returncode >= 0
    assert "carojournal demo --keep" in out
    assert os.listdir(temporary) == []


def test_a_folder_of_the_users_is_kept(home, temporary, tmp_path):
    place = tmp_path / "new" / "place"
    done = run(temporary, "--dir", str(place))
    assert done.returncode == 0
    # Where carobatch is installed, the demo's export has packed what it found: read it as `inspect` does.
    kept = {record.value["event"] for record in JournalReader(str(place / "journal")).records(events_only=True)}
    assert kept >= {"session_start", "session_end"}
    assert f"CAROJOURNAL_DIR={place}/journal" in done.stdout
    assert os.listdir(home) == os.listdir(temporary) == []


def test_a_folder_with_something_in_it_is_refused(temporary, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    done = run(temporary, "--dir", str(tmp_path / "full"))
    assert (done.returncode, done.stdout) == (64, "")
    assert os.listdir(tmp_path / "full") == ["file"]


@pytest.mark.parametrize("below", ["", "/folder"])
def test_a_file_in_place_of_the_folder_is_refused_and_left_as_it_is(temporary, tmp_path, below):
    (tmp_path / "file").write_text("mine")
    done = run(temporary, "--dir", f"{tmp_path}/file{below}")
    said = "carojournal: --dir must be a folder, new or empty, and a file is in its place\n"
    assert (done.returncode, done.stdout, done.stderr) == (64, "", said)
    assert (tmp_path / "file").read_text() == "mine"


def test_keep_leaves_the_temporary_folder(home, temporary):
    done = run(temporary, "--keep")
    assert done.returncode == 0
    assert len(os.listdir(temporary)) == 1
    assert os.listdir(home) == []


@pytest.mark.parametrize(
    "variables", [{"DO_NOT_TRACK": "1"}, {"CARO_TELEMETRY_ENABLED": "0"}, {"CARO_TELEMETRY": "off"}]
)
@pytest.mark.parametrize("words", [(), ("--keep",), ("--dir", "new")])
def test_off_is_said_and_nothing_is_created(home, temporary, variables, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    done = run(temporary, *words, **variables)
    assert (done.returncode, done.stdout) == (77, "")
    assert next(iter(variables)) in done.stderr
    assert sorted(os.listdir(tmp_path)) == before
    assert os.listdir(home) == os.listdir(temporary) == []


def consents(root):
    """Return the consent times in the headers of all segments."""
    found = []
    for folder in ("segments", "lanes"):
        for name in os.listdir(os.path.join(root, folder)):
            if name.endswith(".seg"):
                with open(os.path.join(root, folder, name), "rb") as file:
                    cbor2.load(file)
                    found.append(cbor2.loads(cbor2.load(file)[2])["consent"])
    return found


def test_nothing_of_it_may_be_sent_even_where_the_user_said_yes(root, temporary, tmp_path):
    words = [sys.executable, "-m", "carojournal.cli"]
    subprocess.run([*words, "on", "--yes"], check=True, env=environment(temporary), capture_output=True)
    with Journal.open() as journal:
        assert journal.record("session_end", session_duration_ms=1)
    assert all(consents(root))
    place = tmp_path / "place"
    assert run(temporary, "--dir", str(place)).returncode == 0
    found = [segment.consent_ms for segment in JournalReader(str(place / "journal")).segments()]
    assert found
    assert not any(found)
