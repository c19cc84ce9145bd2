"""The scenes `links` and `copied`: two journals that share files, or an identity."""

import glob
import os
import shutil

from carobatch.ack import acknowledge
from carobatch.bundle import SUFFIX
from carobatch.compact import compact
from carobatch.export import plan_export
from carobatch.importer import Imported, import_bundle
from carobatch.ledger import Ledger
from carobatch.media import write_media
from carobatch.store import PackedStore
from carojournal.errors import JournalUnavailable
from carojournal.identity import open_identity
from carojournal.recovery import verify
from faults import conservation
from faults.crew import CAP_BYTES, Crew

__all__ = ["copied", "linked"]

_FUTURE_MS = 4_000_000_000_000


def linked(place: str, scale: int) -> tuple[str, list[str]]:
    """Record in a journal and in one whose files are hard links of its files, in turns."""
    roots = [os.path.join(place, name) for name in ("one", "other")]
    made = {roots[0]: Crew.alone(roots[0], 10 * scale), roots[1]: []}
    shutil.copytree(roots[0], roots[1], copy_function=os.link)
    for _ in range(4):
        for root in roots:
            made[root] += Crew.alone(root, 10 * scale)
    problems = []
    for root in roots:
        survey = conservation.survey(root)
        gone = conservation.without(conservation.ranges(made[root]), survey.present)
        problems += [f"{os.path.basename(root)}: {conservation.count(gone)} events are gone"] if gone else []
        problems += [f"{os.path.basename(root)}: read twice"] if survey.repeated else []
        report = verify(root)
        problems += [f"verify: {report.damage} {report.gaps}"] if report.exit_code else []
    both = [*made[roots[0]], *made[roots[1]]]
    if len(set(both)) != len(both):
        problems.append("an identity was given twice")
    return f"{len(both):,} recorded through two names", problems


def copied(place: str, scale: int) -> tuple[str, list[str]]:
    """Let two copies of one journal grow apart, import both: one identity then has two contents, which is an alarm."""
    one, other, into = (os.path.join(place, name) for name in ("one", "other", "into"))
    shared = Crew.alone(one, 10 * scale)
    shutil.copytree(one, other)
    made = [*Crew.alone(one, 10 * scale)]
    twins = [*Crew.alone(other, 5 * scale)]
    first, second = (_carried(root, into) for root in (one, other))
    problems = [f"the first raises an alarm: {first.conflicts}"] if first.conflicts else []
    alarms = {(bytes.fromhex(str(row["segment"])), row["seq"]) for row in second.conflicts}
    if alarms != set(made) & set(twins) or not alarms:
        problems.append(f"{len(alarms)} alarms, not {len(set(made) & set(twins))}")
    held = conservation.survey(first.root).present
    if held != conservation.ranges([*shared, *made]):
        problems.append("the alarm changed what was held")
    report = verify(first.root)
    problems += [f"verify: {report.damage} {report.gaps}"] if report.exit_code else []
    problems += _confused(one, second)
    return f"{len(shared)} shared, {len(alarms)} alarms", problems


def _carried(root: str, into: str) -> Imported:
    store, ledger = PackedStore(root, CAP_BYTES), Ledger(root)
    compact(root, store, _FUTURE_MS, 0)
    plan = plan_export(store, ledger, open_identity(root, _FUTURE_MS, os.urandom).journal)
    assert plan is not None
    path = os.path.join(os.path.dirname(root), f"{os.path.basename(root)}-{plan.name}{SUFFIX}")
    write_media(plan.chunks(), path, before_commit=lambda: ledger.write_bundle(plan.entry))
    return import_bundle(path, into)


def _confused(root: str, foreign: Imported) -> list[str]:
    """Check that a receipt for the other copy's bundle, of the same number and journal, confirms nothing here."""
    journal = open_identity(root, _FUTURE_MS, os.urandom).journal
    assert glob.glob(foreign.receipt)
    try:
        acknowledge(Ledger(root), journal, foreign.receipt)
    except JournalUnavailable:
        return []
    return ["a receipt for the copy's bundle is taken"]
