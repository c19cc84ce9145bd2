"""The question: when it is asked, what becomes of the answer, and that the terminal stays the host's."""

import hashlib
import itertools
import os
import select
import subprocess
import sys
import tomllib

import pytest
from terminals import Terminal, on_terminal

import carojournal
from carojournal import asking, choices, consent, policy
from carojournal.config_files import load
from carojournal.consent_text import PROMPT, PROMPT_HASHES, PROMPT_VERSION, QUESTION

TREE = os.path.dirname(os.path.dirname(carojournal.__file__))
NO_ADMIN = "/nonexistent/telemetry.toml"
CLOCK_NS = 1_777_863_721_123_456_789  # date -u -d @1777863721: 2026-05-04 03:02:01
AT = "2026-05-04T03:02:01.123Z"
YES = 'consent = { answer = "yes", version = 1, at = "2026-05-04T03:02:01Z" }\n'
NO = YES.replace("yes", "no")


def test_a_changed_text_needs_a_new_version():
    """Hashes of released texts are pinned here, too: whoever edits a text has to add a version in both places."""
    released = ["ad3136b3b70a13d9d3dc7183032dacd8d615347a6df6accf3c40c1e58bc17ea5"]
    assert list(PROMPT_HASHES.values()) == released
    assert max(PROMPT_HASHES) == PROMPT_VERSION
    assert hashlib.sha256((PROMPT + QUESTION).encode()).hexdigest() == PROMPT_HASHES[PROMPT_VERSION]


def test_the_text_says_what_is_and_what_is_never_collected_and_how_to_leave():
    for part in ("What is collected:", "What is NEVER collected:", "carojournal inspect", "carojournal off"):
        assert part in PROMPT
    assert QUESTION.endswith("[y/N] ")
    assert (PROMPT + QUESTION).isascii()


@pytest.fixture
def terminal():
    opened = Terminal()
    yield opened
    opened.close()


@pytest.fixture
def place(home):
    path = os.path.join(home, ".config", "caro", "config.toml")
    os.makedirs(os.path.dirname(path))
    return path


def write(path, text):
    if text is None:
        if os.path.exists(path):
            os.unlink(path)
        return
    with open(path, "w") as stream:
        stream.write(text)


def ensure(terminal, home, **more):
    environ = {"HOME": home, **more.pop("environ", {})}
    given = {"stdin": terminal.stdin, "stderr": terminal.stderr, "admin": NO_ADMIN, "clock": lambda: CLOCK_NS, **more}
    return consent.ensure(environ=environ, **given)


def answered(terminal, home, reply, **more):
    thread = terminal.answer(reply)
    try:
        return ensure(terminal, home, **more)
    finally:
        thread.join()


def stored(path):
    if not os.path.exists(path):
        return None
    with open(path, "rb") as stream:
        return tomllib.load(stream)["telemetry"]


@pytest.mark.parametrize("channel", policy.CHANNELS)
@pytest.mark.parametrize("reply", [b"y\n", b"Yes\n", b"  YES  \n"])
def test_yes_is_stored_with_version_and_time(terminal, home, place, channel, reply):
    outcome = answered(terminal, home, reply, channel=channel)
    assert (outcome.answer, outcome.reason, outcome.asked) == ("yes", "answered", True)
    record = {"answer": "yes", "version": PROMPT_VERSION, "at": AT}
    assert stored(place) == {"enabled": True, "air_gapped": False, "consent": record}
    found = load(place, NO_ADMIN).policy(channel)
    assert (found.mode, found.consent_ms) == ("on", CLOCK_NS // 1_000_000)


@pytest.mark.parametrize("channel", policy.CHANNELS)
@pytest.mark.parametrize("reply", [b"n\n", b"NO\n", b"\n"])
def test_no_means_off_on_every_channel(terminal, home, place, channel, reply):
    outcome = answered(terminal, home, reply, channel=channel)
    assert (outcome.answer, outcome.reason, outcome.asked) == ("no", "answered", True)
    assert stored(place) == {"enabled": False, "consent": {"answer": "no", "version": PROMPT_VERSION, "at": AT}}
    assert load(place, NO_ADMIN).policy(channel).mode == "off"


@pytest.mark.parametrize(
    "reply", [b"maybe\n", b"yes please\n", b"\x04", b"y\x04\x04", b"j\n", b"0\n", "ÿes\n".encode()]
)
def test_anything_else_stores_nothing(terminal, home, place, reply):
    outcome = answered(terminal, home, reply)
    assert (outcome.answer, outcome.reason, outcome.asked) == (None, "no answer", True)
    assert stored(place) is None


def test_no_answer_in_time_stores_nothing_and_leaves_what_was_typed(terminal, home, place):
    settings = terminal.settings()
    outcome = answered(terminal, home, b"ye", timeout_s=0.05)
    assert (outcome.answer, outcome.reason) == (None, "no answer")
    assert stored(place) is None
    assert terminal.settings() == settings


def test_a_terminal_that_hangs_up_is_no_answer(home, place):
    terminal = Terminal()
    thread = terminal.answer(b"")
    stdin, stderr = terminal.stdin, terminal.stderr

    class Hanging:
        def write(self, text):
            stderr.write(text)

        def flush(self):
            stderr.flush()
            thread.join()
            if terminal.master >= 0:
                os.close(terminal.master)
                terminal.master = -1

        def fileno(self):
            return stderr.fileno()

    outcome = ensure(terminal, home, stderr=Hanging())
    assert (outcome.answer, outcome.reason) == (None, "no answer")
    assert stored(place) is None
    stdin.close()


@pytest.mark.usefixtures("place")
def test_asked_again_until_answered_and_never_after(terminal, home):
    assert answered(terminal, home, b"what\n").reason == "no answer"
    terminal.shown = b""
    assert answered(terminal, home, b"no\n").reason == "answered"
    terminal.shown = b""
    again = ensure(terminal, home)
    assert (again.answer, again.reason, again.asked) == ("no", "recorded", False)


@pytest.mark.parametrize("reply", [b"y\n", b"n\n"])
def test_a_changed_text_asks_again(terminal, home, place, monkeypatch, reply):
    answered(terminal, home, reply)
    assert not ensure(terminal, home).asked
    for module in (policy, consent, choices):
        monkeypatch.setattr(module, "PROMPT_VERSION", PROMPT_VERSION + 1)
    monkeypatch.setattr("carojournal.settings.PROMPT_VERSION", PROMPT_VERSION + 1)
    assert load(place, NO_ADMIN).policy("beta").mode != "on"
    terminal.shown = b""
    assert answered(terminal, home, b"y\n").asked
    assert stored(place)["consent"]["version"] == PROMPT_VERSION + 1


def test_a_config_that_cannot_be_written_changes_nothing(terminal, home, place):
    os.symlink(os.path.join(home, "nowhere", "x"), place)
    assert not ensure(terminal, home).asked
    os.unlink(place)
    os.rmdir(os.path.dirname(place))
    with open(os.path.dirname(place), "w") as stream:
        stream.write("a file where a directory should be")
    outcome = answered(terminal, home, b"y\n")
    assert (outcome.answer, outcome.reason, outcome.asked) == (None, "not stored", True)
    assert b"could not be stored" in terminal.written()


CONFIGS = {
    "none": (None, True),
    "other section": ("[ui]\nx = 1\n", True),
    "level only": ("[telemetry]\nlevel = 'minimal'\n", True),
    "enabled": ("[telemetry]\nenabled = true\n", True),
    "off": ("[telemetry]\nenabled = false\n", False),
    "air-gapped": ("[telemetry]\nenabled = true\nair_gapped = true\n", False),
    "yes": ("[telemetry]\nenabled = true\n" + YES, False),
    "no": ("[telemetry]\nenabled = false\n" + NO, False),
    "yes, then off": ("[telemetry]\nenabled = false\n" + YES, False),
    "no, overruled by hand": ("[telemetry]\nenabled = true\n" + NO, False),
    "yes to another text": ("[telemetry]\nenabled = true\n" + YES.replace("version = 1", "version = 99"), True),
    "no to another text": ("[telemetry]\nenabled = false\n" + NO.replace("version = 1", "version = 99"), True),
    "broken": ("[telemetry", False),
}
ADMINS = {
    "none": (None, True),
    "off": ("enabled = false\n", False),
    "local": ("air_gapped = true\n", False),
    "open": ("enabled = true\nair_gapped = false\n", True),
    "broken": ("enabled = 5\n", False),
}
ENVIRONS = [
    ({}, True),
    ({"CI": "true"}, False),
    ({"CI": "1"}, False),
    ({"CI": "false"}, True),
    ({"CI": ""}, True),
    *(({name: "x"}, False) for name in consent.CI_VARIABLES),
    ({"DO_NOT_TRACK": "1"}, False),
    ({"DO_NOT_TRACK": "yes"}, False),
    ({"DO_NOT_TRACK": "0"}, True),
    ({"DO_NOT_TRACK": "false"}, True),
    ({"DO_NOT_TRACK": ""}, True),
    ({"CARO_TELEMETRY_ENABLED": "0"}, False),
    ({"CARO_TELEMETRY_ENABLED": "1"}, False),
    ({"CARO_TELEMETRY": "local"}, False),
    ({"CARO_TELEMETRY_AIR_GAPPED": "1"}, False),
    ({"CARO_TELEMETRY_LEVEL": "minimal"}, True),
]


@pytest.mark.parametrize("channel", policy.CHANNELS)
@pytest.mark.parametrize("config", CONFIGS)
def test_matrix(terminal, home, place, tmp_path, config, channel):
    """Terminals x environment x config x administrator x channel: asked exactly where every one of them allows it."""
    admin = tmp_path / "admin.toml"
    asked = 0
    reader, writer = os.pipe()
    with open(reader) as pipe_in, open(writer, "w") as pipe_out:
        for (limits, limits_allow), (environ, environ_allows) in itertools.product(ADMINS.values(), ENVIRONS):
            write(admin, limits)
            for stdin, stderr in itertools.product((terminal.stdin, pipe_in), (terminal.stderr, pipe_out)):
                text, text_allows = CONFIGS[config]
                write(place, text)
                expected = (
                    (stdin, stderr) == (terminal.stdin, terminal.stderr)
                    and limits_allow
                    and environ_allows
                    and text_allows
                )
                more = {"environ": environ, "admin": str(admin), "channel": channel, "stdin": stdin, "stderr": stderr}
                terminal.written()
                terminal.shown = b""
                outcome = answered(terminal, home, b"y\n", **more) if expected else ensure(terminal, home, **more)
                assert outcome.asked is expected, (config, limits, environ, outcome)
                assert (outcome.reason == "answered") is expected
                if expected:
                    assert stored(place)["consent"]["answer"] == "yes"
                    asked += 1
                else:
                    assert terminal.written() == b""
                    assert (open(place).read() if os.path.exists(place) else None) == text  # noqa: SIM115
        assert not select.select([pipe_in], [], [], 0)[0]
    allowed = sum(one for _, one in ADMINS.values()) * sum(one for _, one in ENVIRONS)
    assert asked == (allowed if CONFIGS[config][1] else 0)


@pytest.mark.parametrize("missing", ["stdin", "stderr"])
def test_a_closed_or_missing_stream_is_no_terminal(terminal, home, monkeypatch, missing):
    closed = open(os.devnull)  # noqa: SIM115
    closed.close()
    assert ensure(terminal, home, **{missing: closed}).reason == "no terminal"
    monkeypatch.setattr(sys, missing, None)
    assert ensure(terminal, home, **{missing: None}).reason == "no terminal"


def test_no_telemetry_is_not_asked(terminal, home):
    assert ensure(terminal, home, no_telemetry=True).reason == "--no-telemetry"


def test_what_was_typed_before_the_question_is_no_answer_and_stays(terminal, home, place):
    terminal.type(b"y\n")
    outcome = ensure(terminal, home)
    assert (outcome.answer, outcome.reason, outcome.asked) == (None, "input waits", False)
    assert terminal.stdin.readline() == "y\n"
    assert stored(place) is None


def test_what_follows_the_answer_stays_the_hosts(terminal, home):
    answered(terminal, home, b"y\nlist my files\nand more\n")
    assert terminal.stdin.readline() == "list my files\n"
    assert terminal.stdin.readline() == "and more\n"


def test_an_endless_line_is_bounded(terminal):
    reader, writer = os.pipe()
    os.write(writer, b"y" * 10_000)
    assert asking.ask("? ", reader, terminal.stderr, 5.0) is None
    assert len(os.read(reader, 10_000)) >= 10_000 - asking.LINE_BYTES_MAX - 1
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(("keys", "answer"), [(b"y\r", "yes"), (b"\x03", None), (b"\x04", None), (b"n\r", "no")])
def test_a_terminal_in_raw_mode(terminal, home, keys, answer):
    import tty

    tty.setraw(terminal.stdin.fileno())
    assert answered(terminal, home, keys).answer == answer


HOST = """
import os, sys, termios
from carojournal import consent
before = termios.tcgetattr(0)
outcome = consent.ensure(admin="/nonexistent", timeout_s=10)
assert termios.tcgetattr(0) == before
print("host:", outcome.reason, flush=True)
print("line:", repr(sys.stdin.readline()), flush=True)
"""


def host_environ(home):
    keep = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return {**keep, "HOME": home, "PYTHONPATH": TREE}


def test_a_host_on_its_terminal(home, place):
    shown, code = on_terminal(HOST, [(b"[y/N] ", b"y\nlist my files\n")], host_environ(home))
    assert b"host: answered" in shown
    assert b"line: 'list my files\\n'" in shown
    assert code == 0
    assert stored(place)["enabled"] is True


def test_ctrl_c_is_no_answer_and_the_host_lives_on(home, place):
    exchanges = [(b"[y/N] ", b"\x03"), (b"host: no answer", b"still here\n")]
    shown, code = on_terminal(HOST, exchanges, host_environ(home))
    assert b"line: 'still here\\n'" in shown
    assert code == 0
    assert stored(place) is None


def test_end_of_input_is_no_answer(home, place):
    exchanges = [(b"[y/N] ", b"\x04"), (b"host: no answer", b"still here\n")]
    shown, code = on_terminal(HOST, exchanges, host_environ(home))
    assert (b"line: 'still here\\n'" in shown, code, stored(place)) == (True, 0, None)


def test_a_host_in_the_background_is_not_stopped(home, place):
    program = """
import os, signal, sys
from carojournal import consent
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    outcome = consent.ensure(admin="/nonexistent")
    os._exit(7 if outcome.reason == "in the background" else 1)
os.setpgid(pid, pid) if os.getpgid(pid) != pid else None
_, status = os.waitpid(pid, os.WUNTRACED)
print("child:", "stopped" if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status), flush=True)
"""
    shown, _ = on_terminal(program, [], host_environ(home))
    assert b"child: 7" in shown
    assert stored(place) is None


def test_standard_output_stays_clean(terminal, home):
    thread = terminal.answer(b"y\n")
    done = subprocess.run(
        [sys.executable, "-c", "from carojournal import consent; consent.ensure(admin='/nonexistent')"],
        stdin=terminal.stdin,
        stderr=terminal.stderr,
        stdout=subprocess.PIPE,
        env=host_environ(home),
        check=True,
    )
    thread.join()
    assert done.stdout == b""
    assert b"Thank you" in terminal.written()


def test_asking_loads_nothing_heavy_where_nobody_may_be_asked(home):
    program = (
        "import sys; from carojournal import consent\n"
        "consent.ensure(admin='/nonexistent')\n"
        "print([name for name in ('tomllib', 'tomlkit', 're', 'dataclasses', 'typing') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=host_environ(home),
        check=True,
    )
    assert done.stdout == "[]\n"
