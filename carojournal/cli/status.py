"""`carojournal status`: mode and why, what is kept, what was refused, dropped or lost, and what would be sent."""

import os
from typing import TYPE_CHECKING

from carojournal import policy
from carojournal.cli.event_formats import json_text
from carojournal.cli.output import bytes_text, count_text, escape, is_terminal, paint, say, table, uses_color
from carojournal.times import local_text, utc_text

if TYPE_CHECKING:
    from carojournal.status import Kept, Status

__all__ = ["OPTIONS", "status"]

OPTIONS = {
    "json": {"flags": ("--json",), "help": "print one JSON object"},
    "explain": {"flags": ("--explain",), "help": "show every effective setting and who set it"},
}

_MEANINGS = {
    "off": "nothing is recorded",
    "local": "events are kept on this machine and never sent",
    "on": "events are kept, and sent after your yes",
}
_MODE_STYLES = {"off": "yellow", "local": "green", "on": "cyan"}


def status(*, json: bool = False, explain: bool = False) -> int:
    """Show mode, counts, sizes, refusals and losses."""
    root = policy.find_root(os.environ)
    rows: list[tuple[str, str, str]] = []
    if explain:
        from carojournal import config

        rows = config.explain(root, config.CHANNEL, os.environ)
        if not json:
            lines = table(("setting", "value", "set by"), rows, terminal=is_terminal(), color=uses_color())
            print("\n".join(lines))
            return 0
    from carojournal.status import gather

    found = gather(root, os.environ)
    if json:
        view = _view(found)
        if explain:
            view["explain"] = [{"key": key, "value": value, "source": source} for key, value, source in rows]
        print(json_text(view))
    else:
        _print(found)
    return 0


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else utc_text(time_ms)


def _view(found: "Status") -> dict[str, object]:
    """Return the JSON object; its keys and their order are an interface."""
    kept = found.kept
    answer = found.consent
    return {
        "mode": found.mode,
        "source": found.source,
        "problems": list(found.problems),
        "notes": list(found.notes),
        "level": found.level,
        "channel": found.channel,
        "consent": answer and {"answer": answer[0], "current": answer[1], "at": utc_text(answer[2])},
        "journal": found.root,
        "exists": kept is not None,
        "cap_bytes": found.cap_bytes,
        "used_bytes": found.used_bytes,
        "events": kept.events if kept else 0,
        "counts": kept.counts if kept else {},
        "other_events": kept.others if kept else 0,
        "oldest": _time(kept.oldest_ms) if kept else None,
        "newest": _time(kept.newest_ms) if kept else None,
        "segments": {state: kept.segments.get(state, 0) if kept else 0 for state in ("open", "closed", "packed")},
        "pending": kept.pending if kept else 0,
        "sendable": (kept.sendable if kept.sent is not None else None) if kept else 0,
        "in_flight": found.batches.in_flight,
        "receipts": found.batches.receipts,
        "last_batch": _time(found.batches.last_ms),
        "deletion_requests": found.batches.deletion_requests,
        "drops": found.drops,
        "refusals": [
            {"event": event, "field": name, "reason": reason, "count": count}
            for event, name, reason, count in found.refusals
        ],
        "losses": [
            {"reason": reason, "segments": sums[0], "events": sums[1], "bytes": sums[2]}
            for reason, sums in sorted(found.losses.items())
        ],
        "damage": {
            "bytes": kept.damaged_bytes if kept else 0,
            "places": kept.damaged_places if kept else 0,
            "torn_bytes": kept.torn_bytes if kept else 0,
            "counter_bytes": found.counters_damaged_bytes,
        },
        "quarantine": {"files": found.quarantine[0], "bytes": found.quarantine[1]},
    }


def _print(found: "Status") -> None:
    terminal, color = is_terminal(), uses_color()
    rows = [("mode", f"{found.mode} (set by {found.source}): {_MEANINGS[found.mode]}")]
    rows += [("problem", text) for text in found.problems]
    rows += [("note", text) for text in found.notes]
    if found.mode != "off":
        rows += [("level", found.level), ("channel", found.channel)]
    if found.mode != "off" or found.consent:
        rows.append(("consent", _consent(found)))
    if found.kept is None:
        if found.mode != "off":
            rows.append(("kept", "nothing yet"))
    else:
        rows += _kept_rows(found, found.kept)
    width = max(len(key) for key, _ in rows)
    last = ""
    for key, text in rows:
        if not terminal:
            last = key or last
            print(f"{last}\t{escape(text)}")
            continue
        shown = escape(text)
        if key == "mode":
            shown = shown.replace(found.mode, paint(found.mode, _MODE_STYLES[found.mode], color=color), 1)
        print(f"{paint(key.ljust(width), 'bold', color=color and bool(key))}  {shown}")
    if found.kept is not None and found.kept.damaged_bytes:
        say("there is damage; 'carojournal verify' says where")


def _consent(found: "Status") -> str:
    if found.consent is None:
        return "none recorded"
    answer, current, at_ms = found.consent
    return f"{answer}, {local_text(at_ms, zone=True)}{'' if current else ' (to an older text, so it no longer counts)'}"


def _kept_rows(found: "Status", kept: "Kept") -> list[tuple[str, str]]:
    percent = 100 * found.used_bytes / max(1, found.cap_bytes)
    rows = [
        ("journal", found.root),
        ("kept", f"{count_text(kept.events, 'event')}, {_share(found)} ({percent:.0f} %)"),
    ]
    rows += [("", f"{count_text(count)} {name}") for name, count in kept.counts.items() if count]
    if kept.others:
        rows.append(("", f"{count_text(kept.others)} of no event of this schema"))
    if kept.oldest_ms is not None and kept.newest_ms is not None:
        rows += [("oldest", local_text(kept.oldest_ms, zone=True)), ("newest", local_text(kept.newest_ms, zone=True))]
    lanes = ", ".join(f"{kept.segments.get(state, 0)} {state}" for state in ("open", "closed", "packed"))
    rows.append(("segments", lanes))
    waiting = kept.pending
    rows.append(
        ("pending", "cannot be told: a receipt cannot be read")
        if waiting is None
        else ("pending", f"{count_text(waiting, 'event')} not sent, of which {count_text(kept.sendable)} may be")
    )
    batches = found.batches
    if batches.in_flight:
        rows.append(("in flight", count_text(batches.in_flight, "batch", "batches")))
    rows.append(("last batch", "none" if batches.last_ms is None else local_text(batches.last_ms, zone=True)))
    if batches.deletion_requests:
        rows.append(("to delete", f"{count_text(batches.deletion_requests, 'request')} not confirmed yet"))
        if batches.by_hand:
            rows.append(("", "no call can deliver it; 'carobatch deletion list' says what to do"))
    return rows + _trouble_rows(found, kept)


def _share(found: "Status") -> str:
    return f"{bytes_text(found.used_bytes)} of {bytes_text(found.cap_bytes)}"


def _trouble_rows(found: "Status", kept: "Kept") -> list[tuple[str, str]]:
    """Return what went wrong; rows that say "none" are as worth knowing."""
    from carojournal.drops import DROP_REASONS
    from carojournal.held import DELIVERED
    from carojournal.refusal import REASONS

    rows = [("refused", "none" if not found.refusals else count_text(sum(row[3] for row in found.refusals)))]
    rows += [
        ("", f"{count_text(count)} {event} {name} {reason}: {REASONS.get(reason, 'unknown reason')}")
        for event, name, reason, count in found.refusals
    ]
    rows.append(("dropped", "none" if not found.drops else count_text(sum(found.drops.values()), "event")))
    rows += [
        ("", f"{count_text(count)} {reason}: {DROP_REASONS.get(reason, 'unknown reason')}")
        for reason, count in found.drops.items()
    ]
    lost = {reason: sums for reason, sums in found.losses.items() if reason != DELIVERED}
    rows.append(("lost", "none" if not lost else count_text(sum(sums[1] for sums in lost.values()), "event")))
    for reason, (segments, events, size) in sorted(lost.items()):
        where = f"{count_text(segments, 'segment')}, " if segments else ""
        rows.append(("", f"{count_text(events)} {reason} ({where}{bytes_text(size)})"))
    if DELIVERED in found.losses:
        rows.append(("", f"and {count_text(found.losses[DELIVERED][1])} that had been delivered made room"))
    damage = []
    if kept.damaged_bytes:
        damage.append(f"{bytes_text(kept.damaged_bytes)} in {count_text(kept.damaged_places, 'place')}")
    if kept.torn_bytes:
        damage.append(f"{bytes_text(kept.torn_bytes)} of unfinished appends")
    if found.counters_damaged_bytes:
        damage.append(f"{bytes_text(found.counters_damaged_bytes)} of the counters")
    rows.append(("damage", ", ".join(damage) or "none known"))
    files, size = found.quarantine
    apart = f"{count_text(files, 'file')}, {bytes_text(size)}; 'carobatch list' says what is missing and why"
    rows.append(("quarantine", apart if files else "none"))
    return rows
