"""`carojournal append`, run as hosts run it: a fresh process, its exit code, its two streams."""

import json
import os
import pty
import re
import resource
import subprocess
import sys

import cbor2
import pytest
from stored_events import stored

from carojournal import drops
from carojournal.cli.append import HINT, REPORTS_MAX
from carojournal.cli.append_words import HELP, typed_value
from carojournal.frame import NO_SEGMENT, decode_record

SECRET = "hunter2-/home/ada/.ssh/id_rsa"
BANNED = ["argh", "argparse", "cbor2", "sqlite3", "filelock", "requests", "typing", "re", "dataclasses", "logging"]
START = ("--event", "session_start", "caro_version=1.1.0", "os=linux")
BETA = ("--channel", "beta")
END = b'{"event": "session_end", "session_duration_ms": 5}\n'


def run(*words, stdin=b"", **given):
    return subprocess.run(
        [sys.executable, "-m", "carojournal.cli", "append", *BETA, *words],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.getcwd()} | given,
    )


@pytest.fixture(autouse=True)
def _home(home):
    return home


def test_an_event_of_words_is_stored_with_the_types_of_the_schema(root):
    done = run(
        *("--event", "session_start", "caro_version=1.1.0", "platform=linux", "shell=zsh"),
        *("fallback_enabled=true", "backend_available=ollama,embedded-mlx", "is_first_run=false"),
        *("--event=command.generated", "backend=ollama", "duration_ms=843", "generation=7"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    start, generated = stored(root)
    assert start["os"] == "linux"
    assert start["fallback_enabled"] is True
    assert start["is_first_run"] is False
    assert start["backend_available"] == ["embedded-mlx", "ollama"]
    assert generated["event"] == "command_generated"
    assert generated["inference_time_ms"] == 843
    assert generated["generation"] == 7


def test_a_host_that_names_no_channel_is_not_taken_for_a_beta(home, root):
    """Where the user has chosen nothing, nothing is collected of a host that may well be a general release."""
    words = [sys.executable, "-m", "carojournal.cli", "append", *START]
    environ = os.environ | {"PYTHONPATH": os.getcwd()}
    assert subprocess.run(words, check=False, env=environ).returncode == 0
    assert not os.path.exists(root)
    os.makedirs(f"{home}/.config/caro")
    with open(f"{home}/.config/caro/config.toml", "w") as file:
        file.write("[telemetry]\nenabled = true\n")
    assert subprocess.run(words, check=False, env=environ).returncode == 0
    assert len(stored(root)) == 1


@pytest.mark.parametrize(
    ("event", "key", "text", "value"),
    [
        ("command_generated", "confidence_score", "0.91", 0.91),
        ("command_generated", "confidence_score", "1", 1),
        ("command_generated", "confidence_score", "nan", "nan"),
        ("command_generated", "confidence_score", "1e3", "1e3"),
        ("command_generated", "retry_count", "-1", -1),
        ("command_generated", "retry_count", "1_0", "1_0"),
        ("command_generated", "retry_count", "\u0663", "\u0663"),
        ("command_generated", "retry_count", "9" * 30, "9" * 30),
        ("command_generated", "success", "True", "True"),
        ("session_start", "backend_available", "", []),
        ("session_start", "no_such_field", "1", "1"),
        ("no_such_event", "retry_count", "1", "1"),
        ("session_end", "duration_ms", "12", 12),
    ],
)
def test_words_become_values_only_where_the_field_wants_them(event, key, text, value):
    found = typed_value(event, key, text)
    assert found == value
    assert type(found) is type(value)


def test_lines_are_stored_and_refusals_told_by_line_and_reason(root):
    lines = [
        b'{"event": "session_start", "caro_version": "1.1.0", "platform": {"os": "linux", "arch": "arm64"}}',
        b"",
        b"no json: " + SECRET.encode(),
        json.dumps({"event": "session_start", "caro_version": SECRET, "os": "linux"}).encode(),
        json.dumps({"event": SECRET}).encode(),
        json.dumps({"event": "session_end", "session_duration_ms": 1, SECRET: 1}).encode(),
        json.dumps({"type": "session_end", "duration_ms": 7, "exit_reason": SECRET}).encode(),
        json.dumps({"event": 7}).encode(),
        END.strip(),
    ]
    done = run(stdin=b"\n".join(lines))
    assert done.returncode == 69
    assert done.stderr.decode().splitlines() == [
        "carojournal: line 3: not JSON",
        "carojournal: line 4: session_start.caro_version: value",
        "carojournal: line 5: <unknown>.<unknown>: unknown_event",
        "carojournal: line 6: session_end.<unknown>: unknown_field",
        "carojournal: line 7: kept, but session_end.exit_reason: value",
        "carojournal: line 8: <unknown>.<unknown>: unknown_event",
        f"carojournal: {HINT}",
    ]
    assert SECRET.encode() not in done.stderr + done.stdout
    assert [(event["event"], event.get("arch")) for event in stored(root)] == [
        ("session_start", "aarch64"),
        ("session_end", None),
        ("session_end", None),
    ]
    counts, damaged = drops.read_counts(root)
    assert damaged == 0
    assert counts["refuse <unknown> <unknown> unknown_event"] == 3
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert SECRET.encode() not in file.read()


def test_a_refused_event_of_words_exits_69_and_is_counted(root):
    done = run("--event", "session_start", f"caro_version={SECRET}", "os=linux")
    assert done.returncode == 69
    assert done.stderr.decode().splitlines() == [
        "carojournal: event 1: session_start.caro_version: value",
        f"carojournal: {HINT}",
    ]
    assert drops.read_counts(root)[0]["refuse session_start caro_version value"] == 1


def test_the_hint_names_what_there_is():
    assert "'carojournal schema'" in HINT
    assert "'carojournal append --help'" in HINT
    for words in (["schema"], ["append", "--help"]):
        done = subprocess.run([sys.executable, "-m", "carojournal.cli", *words], capture_output=True, check=False)
        assert (done.returncode, b"session_start" in done.stdout) == (0, True)


def test_a_byte_order_mark_before_the_first_line_is_passed_over(root):
    done = run(stdin=b"\xef\xbb\xbf" + END)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [event["event"] for event in stored(root)] == ["session_end"]


def test_quiet_says_nothing_of_refusals():
    done = run("--quiet", stdin=b"nonsense\n")
    assert (done.returncode, done.stderr) == (69, b"")


def test_reports_fit_into_a_pipe_that_nobody_reads():
    done = run(stdin=b"nonsense\n" * (REPORTS_MAX + 5) + END)
    lines = done.stderr.splitlines()
    assert len(lines) == REPORTS_MAX + 2
    assert lines[-2:] == [b"carojournal: 5 more events were refused", f"carojournal: {HINT}".encode()]
    assert len(done.stderr) < 65_536


def test_a_line_longer_than_the_limit_costs_itself_only_and_no_memory(root):
    done = subprocess.run(
        [sys.executable, "-m", "carojournal.cli", "append", *BETA],
        input=END + b'{"event": "' + b"x" * 100_000_000 + b'"}\n' + END,
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (80_000_000, 80_000_000)),
    )
    assert done.returncode == 69
    assert done.stderr.decode() == f"carojournal: line 2: longer than 65536 bytes\ncarojournal: {HINT}\n"
    assert len(stored(root)) == 2


def test_events_of_a_slow_producer_are_stored_before_it_ends(root):
    process = subprocess.Popen(
        [sys.executable, "-m", "carojournal.cli", "append", *BETA], stdin=subprocess.PIPE, env=os.environ
    )
    process.stdin.write(END)
    process.stdin.flush()
    segment = os.path.join(root, "lanes", "0.seg")
    while not (os.path.exists(segment) and b"session_end" in open(segment, "rb").read()):  # noqa: SIM115
        assert process.poll() is None
    process.stdin.close()
    assert process.wait() == 0


def test_many_lines_are_all_kept_in_order(root):
    lines = [json.dumps({"event": "session_end", "session_duration_ms": count}).encode() for count in range(20_000)]
    done = run(stdin=b"\r\n".join(lines))
    assert (done.returncode, done.stderr) == (0, b"")
    assert [event["session_duration_ms"] for event in stored(root)] == list(range(20_000))


def test_a_run_spans_processes(root):
    issued = run("--new-run")
    assert issued.returncode == 0
    run_id = issued.stdout.decode().strip()
    assert re.fullmatch("[0-9a-f]{32}", run_id)
    assert run("--run", run_id, *START).returncode == 0
    assert run(f"--run={run_id}", stdin=END).returncode == 0
    assert {event["run_id"].hex() for event in stored(root)} == {run_id}


@pytest.mark.parametrize("run_id", ["00112233445566778899aabbccddeeff", "nonsense", "00" * 40])
@pytest.mark.parametrize("stdin", [b"", END * 3])
def test_a_run_that_was_not_issued_is_refused_once_and_not_echoed(root, run_id, stdin):
    words = () if stdin else START
    done = run("--run", run_id, *words, stdin=stdin)
    assert done.returncode == 69
    assert done.stderr == b"carojournal: --run: not a run id that this journal issued\n"
    assert not os.path.exists(os.path.join(root, "lanes", "0.seg"))


@pytest.mark.parametrize(
    ("given", "reason"),
    [("0", "range"), ("-1", "range"), ("10000", "range"), ("xyz", "foreign_id"), ("7", ""), ("ab" * 16, "")],
)
def test_a_generation_that_is_left_out_is_said_and_counted(root, given, reason):
    done = run("--event", "command_executed", "execution_mode=auto_confirm", f"generation={given}")
    said = f"carojournal: event 1: kept, but command_executed.generation: {reason}\ncarojournal: {HINT}\n"
    assert (done.returncode, done.stderr.decode()) == (0, said if reason else "")
    assert [event.get("generation") for event in stored(root)] == [None if reason else 7 if given == "7" else 1]
    counts = {key: count for key, count in drops.read_counts(root)[0].items() if count}
    assert counts == ({f"refuse command_executed generation {reason}": 1} if reason else {})


def test_a_uuid_is_no_generation_of_a_run_of_several_processes(root):
    shared = run("--new-run").stdout.decode().strip()
    line = b'{"event": "command_executed", "execution_mode": "auto_confirm", "generation_id": "%s"}\n' % (b"ab" * 16)
    done = run("--run", shared, stdin=line)
    assert b"line 1: kept, but command_executed.generation: foreign_id\n" in done.stderr
    assert len(stored(root)) == 1


def test_an_empty_run_means_none(root):
    assert run("--run", "", *START).returncode == 0
    assert len(stored(root)) == 1


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (("--no-telemetry",), {}),
        (("--channel", "ga"), {}),
        ((), {"DO_NOT_TRACK": "1"}),
        ((), {"CARO_TELEMETRY_ENABLED": "false"}),
    ],
)
@pytest.mark.parametrize("more", [START, ("--new-run",), ()])
def test_off_is_no_failure_reads_all_and_creates_nothing(home, words, variables, more):
    # More than a pipe holds: a producer would die of SIGPIPE if nobody read.
    done = run(*words, *more, stdin=END * 20_000, **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert os.listdir(home) == []


def test_a_level_leaves_out_without_a_word(root):
    done = run("--level", "minimal", stdin=b'{"event": "command_executed", "execution_mode": "auto_confirm"}\n' + END)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [event["event"] for event in stored(root)] == ["session_end"]


@pytest.mark.parametrize(
    "words",
    [
        ("--event",),
        ("--event", "--quiet"),
        ("--event", "session_end", SECRET),
        ("--event", "session_end", f"={SECRET}"),
        ("--event", "session_end", f"a={SECRET}", "a=1"),
        (SECRET,),
        (f"--{SECRET}",),
        ("--level", SECRET),
        ("--channel", SECRET),
        ("--durability", SECRET),
        ("--new-run", *START),
        ("--run",),
        ("--quiet=yes",),
    ],
)
def test_wrong_words_exit_64_in_one_line_that_repeats_none(home, words):
    done = run(*words)
    assert done.returncode == 64
    assert done.stderr.count(b"\n") == 1
    assert SECRET.encode() not in done.stderr
    assert os.listdir(home) == []


def test_a_terminal_is_told_what_is_expected():
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "carojournal.cli", "append", *BETA],
            stdin=theirs,
            capture_output=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 64
    assert done.stderr.startswith(b"carojournal: expected --event NAME")


def test_help_names_every_option_and_exit_code():
    done = run("--help")
    assert (done.returncode, done.stdout.decode()) == (0, HELP)
    for word in ("--event", "--run", "--new-run", "--channel", "--level", "--durability", "--no-telemetry", "--dir"):
        assert word in HELP


def test_a_directory_that_cannot_be_made_is_io_trouble(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--dir", str(tmp_path / "file" / "journal"), *START)
    assert done.returncode == 74
    assert done.stderr.count(b"\n") == 1


def test_an_unsafe_directory_is_refused_and_input_still_read(tmp_path):
    unsafe = tmp_path / "open"
    unsafe.mkdir()
    unsafe.chmod(0o777)
    done = run("--dir", str(unsafe), stdin=END * 20_000)
    assert done.returncode == 69
    assert done.stderr.count(b"\n") == 1
    assert os.listdir(unsafe) == []


@pytest.mark.parametrize("closed", [(0,), (2,), (0, 1, 2)])
def test_closed_streams_never_reach_the_journals_files(root, closed):
    """A descriptor that the host closed becomes the next file that is opened."""
    words = ["--event", "session_end", "session_duration_ms=5", "exit_reason=nonsense"]

    def close():
        for descriptor in closed:
            os.close(descriptor)

    done = subprocess.run(
        [sys.executable, "-m", "carojournal.cli", "append", *BETA, *words], check=False, timeout=60, preexec_fn=close
    )
    assert done.returncode == 0
    with open(os.path.join(root, "lanes", "0.seg"), "rb") as file:
        data = file.read()
    header = decode_record(NO_SEGMENT, data, 12)
    event = decode_record(cbor2.loads(data[header[1] : header[2]])["segment"], data, header[2] + 5)
    assert event[2] + 5 == len(data)


@pytest.mark.parametrize("words", [list(START), [], ["--new-run"], ["--help"], ["--nonsense"]])
def test_a_fresh_process_loads_nothing_that_an_append_does_not_need(words):
    program = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); from carojournal.cli import main;"
        "code = main(['append', '--channel', 'beta', *sys.argv[2:]]);"
        "print('\\n'.join(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, os.getcwd(), *words], input=END, capture_output=True, check=True
    )
    loaded = set(done.stderr.decode().split())
    assert "carojournal.cli.append" in loaded
    if words:
        assert loaded.isdisjoint({*BANNED, "json", "carojournal.ndjson", "carojournal.cli.parser"})
    else:
        # json needs re, which needs enum and functools; nothing else comes with it.
        assert "json" in loaded
        assert loaded.isdisjoint({*BANNED, "carojournal.cli.parser"} - {"re"})
