"""What is carried away is checked at every station: older packed files, merged ones, bundles, imports, headers.

`test_call_sites` has the ways out of a single segment; here its check is broken first, as an older or faulty program
would have left it, and the next station has to notice.
"""

import contextlib
import json
import os

import forge
import pytest
from forgeries import FORGERIES, GOOD, SECRET, Leaving, is_anywhere

import carobatch.cli
from carojournal import JournalReader
from carojournal.cli.exits import DAMAGED

OTHER = b"other segment 16"


@pytest.fixture
def leaving(root, monkeypatch, tmp_path):
    """Return a function that forges a journal with one payload and hands out the ways to leave it."""
    monkeypatch.setattr("carojournal.policy.admin_file", lambda *_: "/nonexistent")
    monkeypatch.setenv("CAROJOURNAL_DIR", root)
    return lambda payload, **header: Leaving(root, tmp_path, payload, **header)


@contextlib.contextmanager
def unchecked(rules=None):
    """Break the check of whole records for the length of a block; with *rules*, under those of another release."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("carobatch.sections.refusals", lambda _: ())
        if rules is not None:
            patch.setattr("carojournal.packed_write.rules_hash", lambda: rules)
        yield


OLD_RULES = bytes(32)
BAD = FORGERIES["text field"]


def said(capfd):
    return "".join(capfd.readouterr())


@pytest.fixture
def packed_before(leaving, root):
    """Two packed files of a release that let SECRET through."""
    place = leaving(BAD)
    with unchecked(OLD_RULES):
        place.compact()
        place.add(OTHER, [forge.event(1), BAD], created_us=forge.NOON_US + 1_000_000)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("carobatch.compact.merge_small", lambda *_: 0)
            place.compact()
    assert len(os.listdir(os.path.join(root, "packed"))) == 2
    assert is_anywhere(root)
    return place


def test_what_an_older_release_packed_is_checked_before_it_is_exported(packed_before, capfd, monkeypatch):
    monkeypatch.setattr("carobatch.compact.merge_small", lambda *_: 0)
    packed_before.bundle()
    assert len(os.listdir(packed_before.out)) == 1
    assert not is_anywhere(packed_before.out, said=said(capfd))


def test_without_that_check_it_would_leave(packed_before, monkeypatch):
    monkeypatch.setattr("carobatch.compact.merge_small", lambda *_: 0)
    with unchecked():
        packed_before.bundle()
    assert is_anywhere(packed_before.out)


def test_what_an_older_release_packed_is_checked_when_it_is_merged(packed_before, root, capfd):
    packed_before.compact()
    assert len(os.listdir(os.path.join(root, "packed"))) == 1
    assert not is_anywhere(root, said=said(capfd))


def test_without_that_check_it_would_be_merged(packed_before, root):
    with unchecked():
        packed_before.compact()
    assert len(os.listdir(os.path.join(root, "packed"))) == 1
    assert is_anywhere(root)


@pytest.fixture(params=[name for name, payload in FORGERIES.items() if b"frecord" not in payload])
def bad_bundle(request, leaving, capfd):
    """A bundle of a program that checks nothing: its files claim the rules of today."""
    place = leaving(FORGERIES[request.param])
    with unchecked():
        place.bundle()
    capfd.readouterr()
    [name] = os.listdir(place.out)
    return os.path.join(place.out, name)


def test_nothing_refused_is_imported_or_repeated(bad_bundle, tmp_path, capfd):
    assert is_anywhere(os.path.dirname(bad_bundle))
    into, receipts = tmp_path / "into", tmp_path / "receipts"
    assert carobatch.cli.main(["verify", bad_bundle]) == DAMAGED
    assert carobatch.cli.main(["verify", "--json", bad_bundle]) == DAMAGED
    words = ["import", bad_bundle, "--into", str(into), "--receipts", str(receipts)]
    assert carobatch.cli.main(words) == DAMAGED
    assert carobatch.cli.main([*words, "--json"]) == DAMAGED
    assert not is_anywhere(into, receipts, said=said(capfd))
    if receipts.exists():
        [receipt] = receipts.glob("*.json")
        assert len(json.loads(receipt.read_text())["rejected"]) >= 1
        [journal] = into.iterdir()
        assert len(list(JournalReader(journal).records(events_only=True))) == GOOD
    else:
        assert not into.exists(), "a bundle that is malformed changes nothing"


def test_without_its_check_import_would_take_it(leaving, tmp_path):
    place = leaving(BAD)
    with unchecked():
        place.bundle()
        [name] = os.listdir(place.out)
        assert carobatch.cli.main(["import", str(place.out / name), "--into", str(tmp_path / "into")]) == 0
    assert is_anywhere(tmp_path / "into")


HEADERS = {
    "writer": {"writer": SECRET},
    "schema": {"schema": SECRET.encode()},
    "previous": {"previous": [SECRET, 1, 2]},
    "lane": {"lane": SECRET},
    "consent": {"consent": SECRET},
    "one key more": {"note": SECRET},
    "negative lane": {"lane": -1},
    "negative consent": {"consent": -1},
    "a consent of no time": {"consent": 1 << 63},
    "negative predecessor": {"previous": [b"p" * 16, -1, 2]},
}
LOSS = {"record": "loss", "reason": "evicted", "segment": b"s" * 16, "first_seq": 1, "last_seq": 9, "events": 9}
LOSS |= {"bytes": 900, "carried": []}
LOSSES = {
    "reason": {"reason": SECRET},
    "carried": {"carried": [{"reason": SECRET, "segments": 1, "events": 1, "bytes": 1}]},
    "carried key": {"carried": [{SECRET: 1}]},
    "number": {"events": SECRET},
}


@pytest.mark.parametrize("way", ["compact", "bundle"])
@pytest.mark.parametrize("name", HEADERS)
def test_no_text_of_a_header_leaves_and_none_stops_the_rest(way, name, leaving, root, capfd):
    place = leaving(forge.event(9), **HEADERS[name])
    place.add(OTHER, [forge.event(1)])
    events_kept, _ = getattr(place, way)()
    assert events_kept == GOOD + 2
    assert not is_anywhere(place.out, os.path.join(root, "packed"), said="".join(capfd.readouterr()))
    assert not [name for name in os.listdir(os.path.join(root, "segments")) if OTHER.hex() in name]


@pytest.mark.parametrize("way", ["compact", "bundle"])
@pytest.mark.parametrize("name", LOSSES)
def test_no_text_of_a_loss_leaves_and_none_stops_the_rest(way, name, leaving, root, capfd):
    place = leaving(forge.canonical({**LOSS, **LOSSES[name]}))
    events_kept, told = getattr(place, way)()
    assert (events_kept, told) == (GOOD, True)
    assert not is_anywhere(place.out, root, said="".join(capfd.readouterr()))
    assert not os.listdir(os.path.join(root, "segments"))
