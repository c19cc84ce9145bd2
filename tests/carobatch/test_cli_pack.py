"""The verbs that pack and carry: what they refuse of their options, do on the way, and tell afterwards."""

import json
import os

import pytest
from carobatch_journals import events_of

from carobatch.cli import main
from carojournal.cli import main as carojournal


def names(root, folder):
    return sorted(os.listdir(os.path.join(root, folder)))


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--level", value, "--level is a whole number from 1 to 19") for value in ("0", "20", "99")]
    + [
        ("--idle", value, "--idle is a number of seconds from 0 to 1000000000")
        for value in ("nan", "inf", "-inf", "1e400", "1e308", "-1")
    ],
)
def test_a_number_that_no_journal_can_do_with_is_a_usage_error(root, capsys, option, value, said):
    before = names(root, "lanes"), names(root, "segments")
    assert main(["compact", f"{option}={value}"]) == 64
    assert capsys.readouterr() == ("", f"carobatch: {said}\n")
    assert (names(root, "lanes"), names(root, "segments")) == before
    assert main(["compact", option, "none"]) == 64
    assert "none" not in capsys.readouterr().err


@pytest.mark.usefixtures("filled")
def test_status_checks_lengths_and_inventories_and_verify_reads_all(root, capsys):
    assert main(["compact", "--idle", "0"]) == 0
    path = os.path.join(root, "packed", names(root, "packed")[0])
    with open(path, "rb") as file:
        whole = file.read()
    flipped = whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:]
    for data, code, said in ((flipped, 0, ""), (whole[:-1], 65, "shorter or longer"), (b"x" + whole, 65, "inventory")):
        with open(path, "wb") as file:
            file.write(data)
        capsys.readouterr()
        assert main(["status"]) == code
        assert said in capsys.readouterr().err
        assert carojournal(["verify"]) == 2


@pytest.mark.usefixtures("filled")
def test_export_packs_what_there_is_and_notes_the_bundle(root, tmp_path):
    before = events_of(root)
    assert main(["export", "-o", str(tmp_path)]) == 0
    assert names(root, "lanes") == ["0.lock"]
    assert names(root, "segments") == []
    assert len(names(root, "packed")) == 3
    assert names(root, "receipts") == ["bundle-000001.json"]
    assert events_of(root) == before


@pytest.mark.usefixtures("filled")
def test_export_of_plain_json_only_reads(root, tmp_path):
    before = {folder: names(root, folder) for folder in os.listdir(root) if os.path.isdir(os.path.join(root, folder))}
    assert main(["export", "-o", str(tmp_path), "--format", "json"]) == 0
    assert {folder: names(root, folder) for folder in before} == before


@pytest.mark.usefixtures("filled")
def test_what_is_carried_and_confirmed_was_not_sent(root, tmp_path, capsys, monkeypatch):
    """Bundles and what importers confirm lie in receipts/ as well, and are no batches of an upload."""
    monkeypatch.setattr("carojournal.policy.admin_file", lambda *_: "/nonexistent")
    assert main(["export", "-o", str(tmp_path)]) == 0
    bundle = capsys.readouterr().out.split("\n")[0]
    assert main(["import", bundle, "--into", str(tmp_path / "into"), "--receipts", str(tmp_path / "back")]) == 0
    [receipt] = (tmp_path / "back").iterdir()
    assert main(["ack", str(receipt)]) == 0
    assert names(root, "receipts") == ["acks.json", "bundle-000001.json"]
    capsys.readouterr()
    assert carojournal(["status"]) == 0
    assert "last batch\tnone\n" in capsys.readouterr().out
    assert carojournal(["sent"]) == 0
    assert capsys.readouterr().out == "Nothing was sent.\n"
    assert carojournal(["delete-remote", "--yes"]) == 0
    assert capsys.readouterr().out == "Nothing was sent, so there is nothing to ask for.\n"
    assert carojournal(["clear", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["was_sent"] is False
