"""The files that are made from the schema are the ones that are shipped, and the command that makes them is careful."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from carojournal import events, own_events, schema_export, schema_registry
from carojournal.errors import ConfigError
from carojournal.schema_export import amended, files, main, out_of_step

PACKAGE = os.path.dirname(schema_export.__file__)
OLD, NEW = bytes(32), bytes((1,)) * 32


def test_shipped_files_and_constants_follow_from_the_schema():
    assert out_of_step() == [], "run: python -m carojournal.schema_export --write"


def test_it_makes_these_files():
    version = events.SCHEMA_VERSION
    names = {
        "EVENTS.md",
        f"schema/events-v{version}.schema.json",
        f"schema/events-v{version}.cddl",
        "schema/registry.json",
    }
    assert {os.path.relpath(path, PACKAGE) for path in files()} == names


def test_events_md_tells_of_every_event_field_word_alias_and_level():
    text = schema_export.events_markdown()
    for event, (level, fields) in own_events.ALL_EVENTS.items():
        section = text.split(f"## `{event}`\n")[1].split("\n## ")[0]
        assert f"from level `{events.LEVELS[level]}`" in section
        rows = {line.split("`")[1]: line for line in section.splitlines() if line.startswith("| `")}
        assert set(rows) == set(fields)
        for field, (kind, lowest, required, group) in fields.items():
            cells = [cell.strip() for cell in rows[field].split("|")]
            assert cells[3:6] == [f"*{kind}*", events.LEVELS[lowest], "required" if required else "optional"]
            assert not group or f"`{group}.{field}`" in rows[field]
        for alias, field in events.FIELD_ALIASES.get(event, {}).items():
            assert f"`{alias}`" in rows[field]
    for alias, event in events.EVENT_ALIASES.items():
        assert f"`{alias}`" in text.split(f"## `{event}`\n")[1].split("\n## ")[0]
    words = {word for spec in own_events.ALL_TYPES.values() if spec[0] == "enum" for word in spec[1]}
    assert all(f"`{word}`" in text for word in words)
    for key in (*events.ENVELOPE, *events.RECORDER_OWNED):
        assert f"`{key}`" in text


@pytest.mark.parametrize("version", [1, 2])
def test_a_new_version_is_appended_and_the_same_one_kept(version):
    released = [(1, OLD)]
    assert amended(released, version, OLD, amend=False) == [(1, OLD), (2, OLD)][:version]


def test_a_changed_schema_needs_a_new_version_or_an_explicit_amendment():
    with pytest.raises(ConfigError, match="raise SCHEMA_VERSION"):
        amended([(1, OLD)], 1, NEW, amend=False)
    assert amended([(1, OLD)], 1, NEW, amend=True) == [(1, NEW)]
    assert amended([(1, OLD)], 2, NEW, amend=False) == [(1, OLD), (2, NEW)]


@pytest.mark.parametrize("version", [1, 4])
def test_versions_are_never_skipped_or_taken_back(version):
    with pytest.raises(ConfigError, match="does not follow"):
        amended([(1, OLD), (2, NEW)], version, OLD, amend=True)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the generated files that a test may spoil."""
    monkeypatch.setattr(schema_export, "_PACKAGE", str(tmp_path))
    registry = str(tmp_path / "schema" / "registry.json")
    monkeypatch.setattr(schema_export, "REGISTRY_PATH", registry)
    monkeypatch.setattr(schema_export, "read_registry", lambda: schema_registry.read_registry(registry))
    os.makedirs(os.path.dirname(registry))
    shutil.copy(schema_registry.REGISTRY_PATH, registry)
    assert main(["--write"]) == 0
    return tmp_path


def test_write_makes_everything_anew_and_prints_the_constant(package, capsys):
    (package / "EVENTS.md").write_text("stale")
    (package / "schema" / f"events-v{events.SCHEMA_VERSION}.cddl").unlink()
    assert main([]) == 65
    assert set(out_of_step()) == {"EVENTS.md", f"schema/events-v{events.SCHEMA_VERSION}.cddl"}
    capsys.readouterr()
    assert main(["--write"]) == 0
    assert capsys.readouterr().out == f'SCHEMA_HASH = bytes.fromhex("{events.SCHEMA_HASH.hex()}")\n'
    assert out_of_step() == []


def test_a_changed_schema_is_out_of_step_and_not_written_over_a_released_one(package, monkeypatch, capsys):
    monkeypatch.setitem(own_events.ALL_TYPES, "count", ("int", 99, 99, 1))
    before = (package / "schema" / "registry.json").read_text()
    assert main(["--write"]) == 65
    assert "raise SCHEMA_VERSION" in capsys.readouterr().err
    assert (package / "schema" / "registry.json").read_text() == before
    assert main(["--write", "--amend"]) == 65, "SCHEMA_HASH in events.py is still the old one"
    assert "out of step: events.SCHEMA_HASH" in capsys.readouterr().err
    assert json.loads((package / "schema" / "registry.json").read_text())["schemas"][-1]["schema_sha256"] not in before


def test_unknown_words_are_a_usage_error(capsys):
    assert main(["--frobnicate"]) == 64
    assert "--write" in capsys.readouterr().err


def test_the_command_runs_as_documented():
    answer = subprocess.run(
        [sys.executable, "-m", "carojournal.schema_export"], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
