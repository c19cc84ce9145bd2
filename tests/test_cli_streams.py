"""Standard streams that are closed, full or broken: one line, an exit code of the table, nothing in the wrong place."""

import os
import subprocess
import sys

import pytest

from carobatch import cli as batch
from carojournal import Journal

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

VERBS = (
    ("--help",),
    ("--version",),
    ("status", "--json"),
    ("inspect",),
    ("inspect", "-o", "cbor-seq"),
    ("export", "-o", "-"),
    ("schema",),
    ("append", "--help"),
    ("append", "--channel", "beta", "--new-run"),
)


def run(root, words, *, closed=(), stdout=subprocess.PIPE, **environ):
    def close():
        for descriptor in closed:
            os.close(descriptor)

    return subprocess.run(
        [sys.executable, "-m", "carojournal", *words],
        env={"HOME": os.path.dirname(root), "CAROJOURNAL_DIR": root, "PATH": os.environ["PATH"], **environ},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        preexec_fn=close,
        timeout=30,
        check=False,
    )


@pytest.fixture
def kept(root):
    with Journal.open(root, environ={"HOME": "/nonexistent"}, admin="/nonexistent") as journal:
        journal.append("session_start", caro_version="1.1.0", os="linux")
    return root


@pytest.mark.parametrize("environ", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", [*VERBS, ("demo",)], ids=" ".join)
def test_a_result_that_cannot_be_written_is_one_line_and_74(kept, words, environ):
    with open("/dev/full", "wb") as full:
        done = run(kept, words, stdout=full, **environ)
    assert (done.returncode, done.stderr) == (74, b"carojournal: write standard output: No space left on device\n")


@pytest.mark.parametrize(("columns", "width"), [("70", 68), ("999", 118), ("\u00b2\u00b2", 98), ("9" * 5_000, 98)])
def test_help_fits_the_terminal_and_takes_no_odd_width(monkeypatch, capsys, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert batch.main(["export", "--help"]) == 0
    [usage] = [part for part in capsys.readouterr().out.split("\n\n") if part.startswith("usage: ")]
    assert max(map(len, usage.splitlines())) <= width


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_closed_standard_output_is_an_error_and_no_bug(kept, words):
    done = run(kept, words, closed=(1,))
    assert done.returncode == 74
    assert done.stderr.endswith(b": Bad file descriptor\n")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(kept, words):
    reading, writing = os.pipe()
    os.close(reading)
    done = run(kept, words, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_meant_for_a_closed_standard_error_does_not_land_among_the_results(kept):
    done = run(kept, ("inspect", "nonsense"), closed=(2,))
    assert (done.returncode, done.stdout) == (64, b"")


def test_all_streams_closed(kept):
    assert run(kept, ("status",), closed=(0, 1, 2)).returncode == 74
    assert run(kept, ("append", "--event", "session_end", "session_duration_ms=1"), closed=(0, 1, 2)).returncode == 0
    assert run(kept, ("verify",)).returncode == 0  # None of that went into a file of the journal.


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("encoding", ["latin-1", "ascii:surrogateescape", "utf-8"])
@pytest.mark.parametrize("program", ["carojournal", "carobatch"])
def test_what_the_encoding_lacks_is_escaped(kept, program, encoding, unbuffered):
    """It was a bug, 70: the encoding is the user's, the letters may be those of a path."""
    far = f"{kept}-\u2026"
    os.rename(kept, far)
    done = subprocess.run(
        [sys.executable, "-m", f"{program}.cli", *(["status"] if program == "carojournal" else ["verify", far])],
        env={
            "CAROJOURNAL_DIR": far,
            "HOME": os.path.dirname(kept),
            "PYTHONIOENCODING": encoding,
            "PYTHONPATH": f"{HERE}:{HERE}/tools",
            "PYTHONUNBUFFERED": unbuffered,
        },
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0 if program == "carojournal" else 65, b"")
    assert (far.encode() if encoding == "utf-8" else f"{kept}-\\u2026".encode()) in done.stdout


def test_bytes_of_a_path_stay_what_they_are_where_the_encoding_has_them(kept, tmp_path):
    """Without a locale, as under cron, a script reads the path of a bundle."""
    home, tree = os.path.dirname(kept), f"{HERE}:{HERE}/tools"
    done = subprocess.run(
        [sys.executable, "-m", "carobatch.cli", "export", "-o", os.fsencode(tmp_path) + b"/\xff.tar.zst"],
        env={
            "CAROJOURNAL_DIR": kept,
            "HOME": home,
            "LC_ALL": "C",
            "PYTHONPATH": tree,
        },
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, os.fsencode(tmp_path) + b"/\xff.tar.zst\n")


def test_a_file_that_is_not_there_is_named_as_other_programs_do(kept, tmp_path):
    done = run(kept, ("audit", f"{tmp_path}/absent"))
    assert (done.returncode, done.stderr) == (
        74,
        f"carojournal: {tmp_path}/absent: No such file or directory\n".encode(),
    )


INTERRUPTED = """
import sys
program, module, *words = sys.argv[1:]

class Interrupted:
    def find_spec(self, name, *_):
        if name == module:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
main = __import__(f"{program}.cli", fromlist=["main"]).main
sys.exit(main(words))
"""


@pytest.mark.parametrize(
    ("program", "module", "verb"),
    [
        ("carojournal", "carojournal.cli.guard", "status"),
        ("carojournal", "carojournal.cli.parser", "status"),
        ("carojournal", "argh", "status"),
        ("carojournal", "carojournal.cli.status", "status"),
        ("carojournal", "carojournal.cli.append", "append"),
        ("carojournal", "carojournal.journal", "append"),
        ("carobatch", "carojournal.cli.guard", "status"),
        ("carobatch", "carojournal.cli.parser", "status"),
        ("carobatch", "argh", "status"),
        ("carobatch", "carobatch.cli.status", "status"),
        ("carobatch", "carobatch.cli.run", "run"),
        ("carobatch", "carojournal.config", "run"),
    ],
)
def test_ctrl_c_while_something_is_being_imported_is_no_traceback(kept, program, module, verb):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, program, module, verb],
        env={"HOME": os.path.dirname(kept), "CAROJOURNAL_DIR": kept, "PYTHONPATH": f"{HERE}:{HERE}/tools"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr in ("", f"{program}: interrupted\n")


def test_a_bug_under_cron_is_one_line_too(kept, monkeypatch, capsys):
    def broken(*_, **__):
        raise LookupError("a value")

    monkeypatch.setattr("carobatch.cli.run.journal_root", broken)
    assert batch.main(["run"]) == 70
    assert capsys.readouterr().err.startswith("carobatch: this is a bug in carobatch: LookupError at test_cli_streams")
