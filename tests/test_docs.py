"""The user documentation says what the programs do: its commands, settings, variables, paths and recipes are tried."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

from carojournal import Journal, cli, policy, redact
from carojournal.cli import VERBS, exits
from carojournal.cli.append_words import typed_value
from carojournal.cli.docs import TOPICS, available, read_topic
from carojournal.config_keys import KEYS, SECTION, accept, accept_text

PACKAGE = os.path.dirname(policy.__file__)
REPOSITORY = os.path.dirname(PACKAGE)
OURS = [topic for topic, path in TOPICS.items() if path.startswith("docs/")]
PROGRAM = (sys.executable, "-m", "carojournal.cli")


def texts():
    with open(os.path.join(REPOSITORY, "README.md"), encoding="utf-8") as file:
        return {"README": file.read()} | {topic: read_topic(topic) for topic in available()}


def code(text):
    """The code of a Markdown text: blocks, and what stands between backticks."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", rest)


def commands():
    """Every command of ours in the documentation, as (where, words)."""
    found = []
    for topic, text in texts().items():
        for line in code(text):
            if line.startswith(("from ", "import ")):
                continue
            for match in re.finditer(r"(?:^|[\s;&|(])(carojournal|carobatch)(?= [a-z-])([^#|;&)]*)", line):
                words = shlex.split(match[1] + match[2])
                if len(words) > 1:
                    found.append(pytest.param(words, id=f"{topic}: {' '.join(words)}"))
    return found


def verbs_of(program):
    if program == "carojournal":
        return VERBS, cli.main
    import carobatch.cli

    return carobatch.cli.VERBS, carobatch.cli.main


def help_of(program, *words):
    _, main = verbs_of(program)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main([*words, "--help"]) == 0
    return output.getvalue()


@pytest.mark.parametrize("words", commands())
def test_every_command_exists_with_its_options(words):
    program, verb, *rest = words
    if verb.startswith("-"):
        assert re.search(rf"(?<![\w-]){verb}(?![\w-])", help_of(program))
        return
    verbs, _ = verbs_of(program)
    assert verb in verbs
    help_text = help_of(program, verb)
    for word in rest:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", help_text), option


def test_commands_are_found_where_they_stand():
    """The test above would pass on nothing: these are in the documents, in each of the ways to write one."""
    found = {" ".join(param.values[0]) for param in commands()}
    assert {"carojournal off", "carojournal inspect -n 100 -o json", "carojournal clear --force"} <= found
    assert "carojournal append --event session_start caro_version=1.1.0 os=linux" in found
    assert "carojournal config set air_gapped true" in found


def test_every_setting_that_is_set_takes_that_value():
    settings = [param.values[0][3:] for param in commands() if param.values[0][1:3] == ["config", "set"]]
    assert len(settings) >= 3
    for key, value in settings:
        assert accept_text(key.removeprefix(f"{SECTION}."), value) is not None, (key, value)


def test_every_event_that_is_appended_is_accepted():
    appended = [
        param.values[0][2:] for param in commands() if param.values[0][1] == "append" and "--event" in param.values[0]
    ]
    assert appended
    for words in appended:
        at = words.index("--event")
        pairs = dict(word.split("=", 1) for word in words[at + 2 :] if not word.startswith("-"))
        fields = {key: typed_value(words[at + 1], key, text) for key, text in pairs.items()}
        assert isinstance(redact.check(words[at + 1], fields), redact.Accepted)


def test_every_toml_example_is_a_valid_configuration():
    blocks = [
        block
        for text in texts().values()
        for block in re.findall("^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]
    assert len(blocks) >= 3
    for block in blocks:
        table = tomllib.loads(block)
        for key, value in table.get(SECTION, table).items():
            assert accept(key, value) is not None, key


@pytest.mark.parametrize(
    ("variable", "value", "mode", "level"),
    [
        *(("CARO_TELEMETRY_ENABLED", value, "off", None) for value in ("0", "false", "no", "off", "nonsense")),
        *(("CARO_TELEMETRY", value, "off", None) for value in ("0", "false", "no", "off", "nonsense")),
        ("CARO_TELEMETRY", "local", "local", None),
        ("CARO_TELEMETRY_AIR_GAPPED", "1", "local", None),
        ("CARO_TELEMETRY_AIR_GAPPED", "nonsense", "local", None),
        *(("CARO_TELEMETRY_AIR_GAPPED", value, "on", None) for value in ("0", "false", "no", "off")),
        ("CARO_TELEMETRY_LEVEL", "minimal", "on", 0),
        ("CARO_TELEMETRY_LEVEL", "nonsense", "on", 0),
        ("DO_NOT_TRACK", "1", "off", None),
        ("DO_NOT_TRACK", "no", "off", None),
        *(("DO_NOT_TRACK", value, "on", None) for value in ("0", "false", "")),
    ],
)
def test_every_variable_does_what_the_table_says(variable, value, mode, level):
    assert f"| `{variable}` |" in read_topic("off")
    assert policy.environment_limits({variable: value})[:2] == (mode, 2 if level is None else level)


@pytest.mark.parametrize(
    ("choice", "back", "after"),
    [
        ("config set enabled false", "config set enabled true", ("off", "on")),
        ("config set air_gapped true", "config set air_gapped false", ("local", "on")),
        ("off", "config set enabled true", ("off", "local")),
        ("local", "config set air_gapped false", ("local", "local")),
    ],
)
def test_what_takes_a_yes_back_is_what_the_table_says(home, monkeypatch, choice, back, after):
    monkeypatch.setattr(policy, "admin_file", lambda *_: f"{home}/admin.toml")
    table = [line for line in read_topic("off").splitlines() if line.startswith(f"| `carojournal {choice}` |")]
    assert ("leaves a yes as it is" in table[0]) is (after[1] == "on")

    def mode(*words):
        assert cli.main(list(words)) == 0
        return policy.resolve(f"{home}/journal", channel="ga", environ=os.environ).mode

    assert mode("on", "--yes") == "on"
    assert (mode(*choice.split()), mode(*back.split())) == after
    assert mode("off") == "off"
    assert mode("config", "unset", "enabled") == "off"
    # Nobody has chosen, and a general release asks nobody: "does not turn anything on".
    assert mode("config", "set", "air_gapped", "true") == "off"


def test_what_a_bundle_can_have_more_is_an_extra_that_there_is():
    with open(os.path.join(REPOSITORY, "pyproject.toml"), "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for topic in ("README", "air-gapped"):
        [named] = [line for line in code(texts()[topic]) if line.startswith("pip install '.[s")]
        assert set(re.findall("[a-z]+", named.partition("[")[2])) == {"sign", "encrypt"} <= set(extras)


def test_a_directory_that_was_there_keeps_its_mode_as_the_text_says(root, clock):
    os.makedirs(root)
    os.chmod(root, 0o755)
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        assert journal.record("session_end", session_duration_ms=1)
    assert os.stat(root).st_mode & 0o777 == 0o755
    assert "one that was there before keeps its mode" in " ".join(read_topic("files").split())


def test_a_directory_that_caro_makes_is_ones_own_alone_as_the_text_says(folders, root, clock):
    """Of several at once the last one alone was: under an open umask anybody could put files above the journal."""
    with Journal.open(clock=clock, admin="/nonexistent") as journal:
        assert journal.record("session_end", session_duration_ms=1)
    assert cli.main(["local"]) == 0
    made = folders()
    assert {".local", ".local/share", ".local/share/caro", ".local/share/caro/telemetry", ".config"} <= set(made)
    assert set(made.values()) == {0o700}
    assert "A directory that Caro makes is readable and writable by you alone" in " ".join(read_topic("files").split())


def test_every_text_says_that_the_identity_is_not_counted(capsys):
    """`test_cli_inspect` has that it is not."""
    assert cli.main(["inspect", "--help"]) == 0
    for text in (capsys.readouterr().out, read_topic("files"), texts()["README"]):
        assert "all files but the identity" in " ".join(text.split()).lower()


def test_no_variable_is_missing_or_made_up():
    pattern = r"\b(?:CARO_[A-Z_]+[A-Z]|CAROJOURNAL_[A-Z]+|DO_NOT_TRACK)\b"
    with open(os.path.join(PACKAGE, "policy.py"), encoding="utf-8") as file:
        read = set(re.findall(f'"({pattern})"', file.read()))
    assert (
        set(re.findall(pattern, "".join(read_topic(topic) for topic in OURS).replace("CARO_TELEMETRY_*", ""))) == read
    )


@pytest.mark.parametrize(("platform", "column"), [("linux", 2), ("darwin", 3)])
def test_files_are_where_the_table_says(platform, column):
    rows = [
        [cell.strip() for cell in line.split("|")] for line in read_topic("files").splitlines() if line.startswith("| ")
    ]
    cells = {row[1]: row[column] for row in rows}
    environ = {"HOME": "/home/me"}

    def shown(path):
        return f"`{path.replace('/home/me/', '~/')}`"

    assert cells["the journal"] == shown(policy.journal_root(environ, platform))
    assert cells["the administrator's"] == shown(policy.admin_file(environ, platform))
    assert shown(policy.config_files(environ, platform)[-1]) in cells["your configuration"]


def test_the_journals_directory_is_described_completely(journal, root):
    journal.record("session_start", caro_version="1.1.0", os="linux")
    for name in os.listdir(root):
        assert f"| `{name}`" in read_topic("files") or f"`{name}/`" in read_topic("files"), name


@pytest.mark.parametrize("topic", OURS)
def test_topics_are_titled_linked_and_complete(topic):
    text = read_topic(topic)
    assert re.match("# [A-Z][^\n]+\n\n", text)
    assert max(map(len, (line for line in text.splitlines() if not line.startswith("|")))) <= 120
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert os.path.exists(os.path.join(PACKAGE, "docs", target)), target
    for other in re.findall(r"carojournal docs ([a-z-]+)", text):
        assert other in TOPICS


def test_the_dictionary_says_which_generations_are_kept():
    """It said that any id of the caller's will do; `test_journal` has what is left out."""
    [line] = [line for line in read_topic("events").splitlines() if "`generation_id`" in line]
    assert "an ordinal from 1 to 9999 or a UUID" in line
    assert "any id" not in line


@pytest.mark.parametrize("topic", TOPICS)
def test_every_terminal_has_the_letters_of_a_topic(topic):
    assert read_topic(topic).isascii()


def test_the_list_of_topics_is_the_folder():
    assert sorted(os.listdir(os.path.join(PACKAGE, "docs"))) == sorted(
        os.path.basename(TOPICS[topic]) for topic in OURS
    )


@pytest.mark.parametrize("topic", OURS)
def test_docs_prints_a_topic_as_it_stands(topic, capsys):
    assert cli.main(["docs", topic]) == 0
    assert capsys.readouterr().out == read_topic(topic)


def test_docs_lists_the_topics(capsys):
    assert cli.main(["docs"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == available()
    assert {*OURS, "events"} <= set(available())
    assert all(len(row) == 2 and row[1] for row in rows)


def test_an_unknown_topic_is_a_usage_error_that_names_the_known_ones(capsys):
    assert cli.main(["docs", "hunter2"]) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "air-gapped" in captured.err
    assert "hunter2" not in captured.err


def test_the_recipe_for_reading_a_segment_works(journal, root, tmp_path):
    """With cbor2 alone: neither the snippet nor the process that runs it imports anything of ours."""
    journal.record("session_start", caro_version="1.1.0", os="linux")
    (snippet,) = re.findall("^```python\n(.*?)^```", read_topic("checking"), re.DOTALL | re.MULTILINE)
    script = tmp_path / "read.py"
    script.write_text(snippet)
    segment = os.path.join(root, "lanes", "0.seg")
    lines = subprocess.run(
        [sys.executable, str(script), segment], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1"]
    assert "'header'" in lines[0]
    assert "'session_start'" in lines[1]


def test_the_tool_of_cbor2_reads_a_segment(journal, root):
    journal.record("session_start", caro_version="1.1.0", os="linux")
    assert "cbor2 --sequence" in read_topic("checking")
    tool = (sys.executable, "-m", "cbor2.tool", "--sequence", os.path.join(root, "lanes", "0.seg"))
    output = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    assert "session_start" in output


@pytest.mark.usefixtures("home")
def test_the_strace_recipe_prints_nothing(tmp_path):
    """Off, as a user would check it: the documented lines, with this checkout in place of the installed program."""
    block = next(
        block
        for block in re.findall("^```\n(.*?)^```", read_topic("checking"), re.DOTALL | re.MULTILINE)
        if "strace" in block
    )
    ours = shlex.join(PROGRAM)
    lines = [re.sub("(?<![/-])carojournal(?= )", ours, line) for line in block.splitlines()]
    assert len(lines) == 3
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": REPOSITORY}
    for line in lines[:2]:
        subprocess.run(line, shell=True, check=True, cwd=tmp_path, env=environ)
    trace = (tmp_path / "trace.txt").read_text()
    assert "config.toml" in trace, "strace saw the program"
    found = subprocess.run(lines[2], shell=True, check=False, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")


def test_every_setting_is_one_that_exists():
    """Keys named in prose as `key = value`."""
    named = set(re.findall(r"`([a-z_]+) = ", "".join(read_topic(topic) for topic in OURS)))
    assert named
    assert named <= set(KEYS)


@pytest.mark.usefixtures("home")
def test_the_recipe_for_an_air_gapped_site_works(generated, tmp_path, monkeypatch, capsys):
    """What `export` writes is clean to `audit`, which trusts neither schema nor exporter."""
    monkeypatch.chdir(tmp_path)
    carry = read_topic("air-gapped").split("## Carry")[1]
    lines = re.search("^```\n(.*?)^```", carry, re.DOTALL | re.MULTILINE)[1].splitlines()
    assert len(lines) == 2
    assert cli.main(["append", "--channel", "beta", "--event", "session_start", "caro_version=1.1.0", "os=linux"]) == 0
    with Journal.open() as journal:
        assert journal.record("command_generated", **generated)
    for line in lines:
        assert cli.main(shlex.split(line)[1:]) == 0, capsys.readouterr().out
    assert cli.main(["export", "-o", "events.json", "--clear"]) == 0
    assert cli.main(["audit", "events.json"]) == 0


def test_the_readme_and_the_program_say_the_same_of_every_exit_code():
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", texts()["README"], re.MULTILINE))
    said = dict(re.findall(r"^    (\d+) +(.*?)(?: +EX_\w+)?$", exits.__doc__, re.MULTILINE))
    assert rows == said
    assert {int(code) for code in rows} == {0, exits.BUG, *dict(exits.EXIT_CODES).values()}
