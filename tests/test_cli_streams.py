"""Standard streams that are closed, full or broken: one line, an exit code of the table, nothing in the wrong place."""

import os
import subprocess
import sys

import pytest

from carojournal import Journal, cli

VERBS = (
    ("--help",),
    ("--version",),
    ("status", "--json"),
    ("inspect",),
    ("inspect", "-o", "cbor-seq"),
    ("export", "-o", "-"),
    ("schema",),
    ("append", "--help"),
    ("append", "--new-run"),
)


def run(root, words, *, closed=(), stdout=subprocess.PIPE):
    def close():
        for descriptor in closed:
            os.close(descriptor)

    return subprocess.run(
        [sys.executable, "-m", "carojournal", *words],
        env={"HOME": os.path.dirname(root), "CAROJOURNAL_DIR": root, "PATH": os.environ["PATH"]},
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


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_result_that_cannot_be_written_is_one_line_and_74(kept, words):
    with open("/dev/full", "wb") as full:
        done = run(kept, words, stdout=full)
    assert (done.returncode, done.stderr) == (74, b"carojournal: write standard output: No space left on device\n")


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


def test_a_file_that_is_not_there_is_named_as_other_programs_do(kept, tmp_path):
    done = run(kept, ("audit", f"{tmp_path}/absent"))
    assert (done.returncode, done.stderr) == (
        74,
        f"carojournal: {tmp_path}/absent: No such file or directory\n".encode(),
    )


def test_ctrl_c_while_the_parser_is_being_imported_is_no_traceback(monkeypatch):
    class Interrupted:
        def find_spec(self, name, *_):
            if name == "carojournal.cli.parser":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "carojournal.cli.parser", raising=False)
    monkeypatch.delattr(cli, "parser", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert cli.main(["status"]) == 130
