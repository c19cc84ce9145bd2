"""`carojournal schema` prints what is enforced, without a journal."""

import json
import os

import jsonschema
import pytest

from carojournal import cli, events, own_events
from carojournal.schema_cddl import cddl


def test_json_is_the_json_schema(capsys):
    assert cli.main(["schema", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(printed)
    assert {name for name in printed["$defs"] if name in events.EVENTS} == set(events.EVENTS)


def test_cddl_is_the_cddl(capsys):
    assert cli.main(["schema", "--cddl"]) == 0
    assert capsys.readouterr().out == cddl()


def test_both_at_once_are_a_usage_error(capsys):
    assert cli.main(["schema", "--json", "--cddl"]) == 64
    assert capsys.readouterr().out == ""


def test_in_a_pipe_there_is_one_row_for_each_field(capsys):
    assert cli.main(["schema"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    released, rows = rows[: events.SCHEMA_VERSION], rows[events.SCHEMA_VERSION :]
    assert released[-1] == [str(events.SCHEMA_VERSION), events.SCHEMA_HASH.hex(), "this release"]
    assert [row[0] for row in released] == [str(number) for number in range(1, events.SCHEMA_VERSION + 1)]
    fields = [(row[0], row[1].rstrip("*"), row[2]) for row in rows]
    declared = own_events.ALL_EVENTS.items()
    assert fields == [
        (event, name, events.LEVELS[field[1]]) for event, (_, table) in declared for name, field in table.items()
    ]
    assert all("*" not in row[3] and "`" not in row[3] for row in rows)


@pytest.mark.parametrize("words", [[], ["--json"], ["--cddl"]])
def test_it_makes_no_file(words, home, capsys):
    before = sorted(os.walk(home))
    assert cli.main(["schema", *words]) == 0
    assert capsys.readouterr().out
    assert sorted(os.walk(home)) == before
