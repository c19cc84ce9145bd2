"""`carojournal inspect` and `reindex`: what they print, and what they leave alone."""

import io
import json
import os
import subprocess
import sys

import cbor2
import pytest
from counted import instructions
from full_journals import FULL_BYTES, by_hand, fill
from terminals import on_terminal

import carojournal
from carojournal.cli import event_formats, main
from carojournal.cursor import parse_cursor
from carojournal.frame import encode_record
from carojournal.index import INDEX
from carojournal.reader import JournalReader
from carojournal.view import record_view

TREE = os.path.dirname(os.path.dirname(carojournal.__file__))
PROGRAM = "import sys\nfrom carojournal.cli import main\nsys.exit(main({}))"


@pytest.fixture
def run(root, capfdbinary):
    """Run one verb on the default journal; return (exit code, standard output, standard error)."""

    def call(*words):
        code = main(list(words))
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return code, out, err.decode()

    assert os.path.isabs(root)
    return call


@pytest.fixture
def filled(root):
    """The default journal with some thousand events."""
    fill(root, 300_000)
    return root


def process(words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "carojournal.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=TREE,
        env={**os.environ, **options.pop("environ", {})},
        **options,
    )


def views(root):
    """What `-o json` should print, put together from the tests' own reader and hashlib."""
    from carojournal.record import derive_event_id
    from carojournal.view import event_view

    return [event_view(value, derive_event_id(segment, seq)) for _, segment, seq, value in by_hand(root)]


def lines(out):
    return [json.loads(line) for line in out.decode().splitlines()]


def test_a_missing_and_an_empty_journal_say_so_and_exit_0(run, root):
    assert run("inspect") == (0, b"", "carojournal: there is no journal yet\n")
    assert not os.path.exists(root)
    os.makedirs(os.path.join(root, "lanes"))
    assert run("inspect", "-o", "json") == (0, b"", "carojournal: the journal is empty\n")


def test_the_newest_twenty_newest_last(run, filled):
    code, out, err = run("inspect", "-o", "json")
    assert (code, err) == (0, "")
    expected = views(filled)
    assert lines(out) == expected[-20:]
    assert [list(view) for view in lines(out)] == [list(view) for view in expected[-20:]], "keys in a stable order"
    assert lines(run("inspect", "-o", "json", "-n", "3", "-r")[1]) == expected[:-4:-1]
    assert lines(run("inspect", "-o", "json", "-n", "all")[1]) == expected
    assert run("inspect", "-n", "0")[:2] == (0, b"")


def test_filters_times_types_and_sessions(run, filled):
    expected = views(filled)

    def shown(*words):
        code, out, _ = run("inspect", "-n", "all", "-o", "json", *words)
        assert code == 0
        return lines(out)

    def having(**values):
        return [view for view in expected if all(view.get(key) == value for key, value in values.items())]

    assert shown("event=error_occurred") == shown("-t", "error_occurred") == having(event="error_occurred")
    both = [view for view in expected if view["event"] in ("session_start", "error_occurred")]
    assert shown("-t", "session_start", "-t", "error.occurred") == both
    assert shown("risk_level=high", "backend_used=mlx") == having(risk_level="high", backend_used="mlx")
    middle = expected[len(expected) // 2]["timestamp"]
    assert shown("-S", middle) == [view for view in expected if view["timestamp"] >= middle]
    assert shown("-U", middle, "--no-index") == [view for view in expected if view["timestamp"] <= middle]
    assert shown("--session", expected[0]["session_id"][:8]) == having(session_id=expected[0]["session_id"])
    assert shown("--session", "ffffffff") == []
    assert shown(f"event_id={expected[7]['event_id']}") == [expected[7]]
    assert shown("--session", "today") == [], "the journal's clock stands in another year"
    assert run("inspect", "exit_reason=timeout")[2] == "carojournal: no event matches\n"


def test_json_seq_is_rfc_7464(run, filled):
    out = run("inspect", "-n", "5", "-o", "json-seq")[1]
    texts = out.split(b"\x1e")
    assert texts[0] == b""
    assert [json.loads(text) for text in texts[1:]] == views(filled)[-5:]
    assert all(text.endswith(b"\n") for text in texts[1:])


def test_cbor_seq_is_what_is_stored_and_any_decoder_reads_it(run, filled):
    stream = io.BytesIO(run("inspect", "-n", "5", "-o", "cbor-seq")[1])
    found = []
    while stream.tell() < len(stream.getvalue()):
        found.append(cbor2.load(stream))
    assert found == [[segment, seq, value] for _, segment, seq, value in by_hand(filled)[-5:]]


def test_json_pretty_and_verbose_hold_the_same(run, filled):
    expected = views(filled)[-1]
    out = run("inspect", "-n", "1", "-o", "json-pretty")[1].decode()
    assert json.loads(out) == expected
    assert out.count("\n") == len(expected) + 2
    verbose = run("inspect", "-n", "1", "-o", "verbose")[1].decode()
    assert verbose.startswith(f"{expected['timestamp']} {expected['event']}\n    event_id={expected['event_id']}\n")
    assert verbose.endswith("\n\n")


def test_short_in_a_pipe_is_three_columns_without_colour(run, filled):
    out = run("inspect", "-n", "all")[1].decode()
    assert "\033" not in out
    first = out.splitlines()[0].split("\t")
    assert first[1:] == ["session_start", "caro_version=1.1.0 os=linux arch=x86_64 shell=bash"]
    assert first[0] == views(filled)[0]["timestamp"]


@pytest.mark.usefixtures("filled")
def test_a_terminal_gets_colour_and_local_time_and_no_color_is_heeded():
    environ = {**os.environ, "TZ": "XYZ-05:30", "TERM": "xterm", "PYTHONPATH": TREE}
    words = ["inspect", "-n", "2"]
    shown, code = on_terminal(PROGRAM.format(words), [], environ)
    assert code == 0
    assert b"\033[2m2026-09-" in shown
    assert b"\033[36msession_end" in shown
    plain, _ = on_terminal(PROGRAM.format(words), [], {**environ, "NO_COLOR": "1"})
    assert b"\033" not in plain
    assert b"session_end" in plain


@pytest.mark.usefixtures("filled")
def test_cbor_is_not_written_to_a_terminal():
    environ = {**os.environ, "PYTHONPATH": TREE}
    shown, code = on_terminal(PROGRAM.format(["inspect", "-o", "cbor-seq"]), [], environ)
    assert code == 64
    assert b"binary" in shown


@pytest.mark.parametrize("form", event_formats.FORMATS[:-1])
def test_nothing_that_a_record_holds_acts_on_a_terminal(run, root, journal, form):
    journal.record("session_end", session_duration_ms=1)
    path = os.path.join(root, "lanes", "0.seg")
    last = JournalReader(root).tail(1)[0]
    evil = {**last.value, "event": "evil\x1b]0;x\x07\u202e", "ke\x1by": "\x9b31m\x7f\n\u200b", "list": ["\x1b[2J"]}
    with open(path, "ab") as file:
        file.write(encode_record(last.segment, last.seq + 1, cbor2.dumps(evil, canonical=True)))
    code, out, _ = run("inspect", "-n", "1", "-o", form)
    text = out.decode()
    assert code == 0
    assert "evil" in text
    allowed = {"verbose": "\n", "json-pretty": "\n", "json-seq": "\x1e\n"}.get(form, "\t\n")
    assert all(letter.isprintable() or letter in allowed for letter in text)


@pytest.mark.parametrize(
    "words",
    [
        ("hunter2",),
        ("password=hunter2",),
        ("risk_level=hunter2",),
        ("-n", "hunter2"),
        ("-n", "-1"),
        ("-S", "hunter2"),
        ("--session", "hunter2"),
        ("-t", "hunter2"),
        ("-o", "hunter2"),
        ("--after-cursor", "hunter2"),
        ("--hunter2",),
        ("-f", "-r"),
        ("-f", "--show-cursor"),
    ],
)
def test_usage_errors_are_one_line_and_64_and_repeat_nothing(run, words):
    code, out, err = run("inspect", *words)
    assert (code, out) == (64, b"")
    assert err.count("\n") == 1
    assert "hunter2" not in err


def test_damage_met_on_the_way_is_one_line_and_the_rest_is_shown(run, filled):
    path = os.path.join(filled, "segments", min(os.listdir(os.path.join(filled, "segments"))))
    before = len(views(filled))
    with open(path, "r+b") as file:
        file.seek(50_000)
        file.write(b"\0" * 400)
    code, out, err = run("inspect", "-n", "all", "-o", "json")
    assert code == 0
    assert before - 6 < len(lines(out)) < before
    assert err.count("\n") == 1
    assert "could not be read, in 1 place " in err
    assert "carojournal verify" in err


def test_cursors_go_on_without_gap_or_repetition(run, filled, tmp_path):
    path = str(tmp_path / "cursor")
    first = lines(run("inspect", "-o", "json", "--cursor-file", path)[1])
    assert first == views(filled)
    assert run("inspect", "-o", "json", "--cursor-file", path) == (0, b"", "")
    clock = fill(filled, 500_000)
    assert clock
    second = lines(run("inspect", "-o", "json", "--cursor-file", path)[1])
    assert sorted(view["event_id"] for view in first + second) == sorted(view["event_id"] for view in views(filled))
    _, out, err = run("inspect", "-n", "1", "--show-cursor")
    assert err == ""
    cursor = out.decode().splitlines()[-1].removeprefix("-- cursor: ")
    assert parse_cursor(cursor)
    assert run("inspect", "--after-cursor", cursor) == (0, b"", "")
    _, out, err = run("inspect", "-n", "1", "-o", "json", "--show-cursor")
    assert len(lines(out)) == 1
    assert err.startswith("-- cursor: ")


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_cursor_file_is_no_cursor_yet(run, filled, tmp_path, content):
    path = tmp_path / "cursor"
    path.write_text(content)
    everything = views(filled)
    code, out, err = run("inspect", "-o", "json", "--cursor-file", str(path))
    assert (code, lines(out), err) == (0, everything, "")
    assert parse_cursor(path.read_text())
    path.write_text(content)
    cursor = run("inspect", "-n", "1", "-o", "json", "--show-cursor")[2].split()[-1]
    assert run("inspect", "--after-cursor", cursor, "--cursor-file", str(path)) == (0, b"", "")
    code, out, err = run("inspect", "--after-cursor", cursor, "--cursor-file", str(path))
    assert (code, out) == (64, b"")
    assert "give one of them" in err


@pytest.mark.usefixtures("filled")
def test_a_file_without_a_cursor_of_ours_is_named_and_left_as_it_is(run, tmp_path):
    path = tmp_path / "cursor"
    path.write_text("1;hunter2\n")
    code, out, err = run("inspect", "--cursor-file", str(path))
    assert (code, out) == (64, b"")
    remedy = "empty or remove it to read from the start, or name another file"
    assert err == f"carojournal: {path}: holds no whole cursor of ours; {remedy}\n"
    assert path.read_text() == "1;hunter2\n"


@pytest.mark.usefixtures("filled")
def test_a_cursor_file_that_cannot_be_written_or_read_is_an_error(run, tmp_path):
    assert run("inspect", "--cursor-file", str(tmp_path / "no" / "file"))[0] == 73
    assert run("inspect", "--cursor-file", str(tmp_path))[0] in (73, 74)
    (tmp_path / "cursor").write_text("hunter2")
    code, _, err = run("inspect", "--cursor-file", str(tmp_path / "cursor"))
    assert code == 64
    assert "hunter2" not in err


@pytest.mark.usefixtures("filled")
def test_a_reader_that_has_had_enough_is_no_error():
    running = process(["inspect", "-n", "all", "-o", "json"])
    assert running.stdout.readline().startswith(b'{"event":')
    running.stdout.close()
    assert running.wait(timeout=30) == 0
    assert running.stderr.read() == b""
    running.stderr.close()


@pytest.mark.usefixtures("filled")
def test_follow_shows_what_is_recorded_from_now_on(journal):
    running = process(["inspect", "-f", "-n", "1", "-o", "json", "event=session_end"])
    try:
        assert json.loads(running.stdout.readline())["event"] == "session_end"
        journal.record("error_occurred", error_category="unknown")
        journal.record("session_end", session_duration_ms=4_242)
        assert json.loads(running.stdout.readline())["session_duration_ms"] == 4_242
    finally:
        running.terminate()
        running.communicate(timeout=30)


@pytest.mark.usefixtures("filled")
def test_follow_ends_with_ctrl_c_without_a_word():
    running = process(["inspect", "-f", "-n", "1"])
    assert running.stdout.readline()
    running.send_signal(2)
    assert running.communicate(timeout=30) == (b"", b"")
    assert running.returncode == 130


def test_an_index_is_made_when_it_helps_and_never_under_off(run, root, monkeypatch):
    fill(root, 700_000)
    place = os.path.join(root, INDEX)
    run("inspect")
    assert not os.path.exists(place), "the newest few need none"
    run("inspect", "event=session_end", "--no-index")
    assert not os.path.exists(place)
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    before = run("inspect", "event=session_end")
    code, _, err = run("reindex")
    assert code == 77
    assert "off" in err
    assert not os.path.exists(place)
    monkeypatch.delenv("DO_NOT_TRACK")
    assert run("inspect", "event=session_end") == before
    assert os.path.exists(place)


def test_reindex_says_what_it_takes(run, root):
    assert run("reindex") == (0, b"", "carojournal: there is no journal yet\n")
    fill(root, 700_000)
    code, out, err = run("reindex")
    assert (code, err) == (0, "")
    assert b" blocks; " in out
    view = json.loads(run("reindex", "--json")[1])
    assert view["bytes"] == os.path.getsize(os.path.join(root, INDEX)) < 0.02 * view["data_bytes"]
    assert view["data_bytes"] == view["bytes_read"] == sum(info.size for info in JournalReader(root).segments())


def test_disk_usage_counts_every_file_but_the_identity(run, filled):
    _, out, err = run("inspect", "--disk-usage")
    rows = dict(line.split("\t", 1) for line in out.decode().splitlines())
    sizes = {
        os.path.join(folder, name): os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(filled)
        for name in names
    }
    del sizes[os.path.join(filled, "journal")]
    assert rows["total"] == f"{len(sizes)}\t{sum(sizes.values())}"
    assert err == ""
    assert run("inspect", "--disk-usage")[1] == out


def test_the_newest_twenty_of_a_full_journal_take_little_more_than_the_programs_start(tmp_path, home):
    """In instructions, as a multiple of bare Python's: 10.5 when written.  The benchmark `startup` has the seconds."""
    import compileall
    import shutil

    root = os.path.join(home, "full")
    fill(root, FULL_BYTES)
    tree = tmp_path / "tree"
    shutil.copytree(os.path.dirname(carojournal.__file__), tree / "carojournal")
    compileall.compile_dir(str(tree), quiet=2)
    environ = {"HOME": home, "CAROJOURNAL_DIR": root, "PYTHONPATH": str(tree)}
    tail = ["-m", "carojournal.cli", "inspect", "-n", "20"]
    reindex = [sys.executable, *tail[:2], "reindex"]
    assert subprocess.run(reindex, check=True, capture_output=True, cwd=tree, env=environ).stdout
    floor = instructions(tmp_path, ["-c", "pass"], environ, tree)
    assert instructions(tmp_path, tail, environ, tree) < 14 * floor
    assert instructions(tmp_path, [*tail, "--no-index"], environ, tree) < 14 * floor


@pytest.mark.usefixtures("filled")
def test_a_plain_tail_imports_neither_sqlite_nor_dateutil():
    code = "import sys\nfrom carojournal.cli import main\nmain(['inspect', '-n', '1'])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TREE)
    loaded = done.stdout.splitlines()[-1].split()
    assert "carojournal.reader" in loaded
    heavy = {"sqlite3", "dateutil", "zstandard", "filelock", "tomllib", "tomlkit", "requests", "hashlib"}
    assert heavy.isdisjoint(loaded)


def test_the_view_is_the_reader_s(filled):
    record = JournalReader(filled).tail(1)[0]
    assert record_view(record) == views(filled)[-1]
