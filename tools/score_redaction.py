"""Score what keeps sensitive strings out: the tripwire (L2 and L3) alone, or the full recorder.

    python tools/score_redaction.py --sensitive FILE... --benign FILE... [--json]
    python tools/score_redaction.py --sensitive FILE... --benign FILE... --recorder [--json]

Corpus files are JSON lines.  Sensitive: `{"b64": base64 of UTF-8 text, "class": word, ...}`; texts that must never
enter the journal.  Benign: `{"text": text, "field": word, "tier": "must" | "should"}`; "must" values are ones that
caro's schema produces in a field of that kind.  No sensitive value, nor a part of one, is ever printed.

Without --recorder: recall by class and by obfuscation (`obfuscations.py` applies twenty), false positives by tier and
field.  With it: every sensitive string goes into every field, as key, nested value, byte string and number of every
event through `redact.check` and a real journal in a temporary directory; counted is how many were accepted, and how
many stand anywhere below the journal's root or on standard error.  Exits 1 if one got in or a "must" value was refused.
"""

import argparse
import base64
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from carojournal.patterns import scan_value
from obfuscations import OBFUSCATIONS

__all__ = ["Benign", "Sensitive", "main", "score_tripwire"]


@dataclass(frozen=True, slots=True)
class Sensitive:
    """A text that must not enter, and its class."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Benign:
    """A value that telemetry has, where, and whether caro's own schema produces it (tier "must")."""

    text: str
    field: str
    tier: str


def read_sensitive(paths: Iterable[str]) -> list[Sensitive]:
    """Return the sensitive strings of corpus files.  Raises OSError, ValueError, KeyError for other files."""
    return [Sensitive(base64.b64decode(row["b64"]).decode("utf-8", "replace"), row["class"]) for row in _rows(paths)]


def read_benign(paths: Iterable[str]) -> list[Benign]:
    """Return the benign strings of corpus files.  Raises OSError, ValueError, KeyError for other files."""
    return [Benign(str(row["text"]), row["field"], row["tier"]) for row in _rows(paths)]


def _rows(paths: Iterable[str]) -> list[dict[str, str]]:
    rows = []
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines if line.strip()]
    return rows


def _is_hit(value: object) -> bool:
    return any(True for _ in scan_value(value, frozenset(("value", "values"))))


def score_tripwire(sensitive: Sequence[Sensitive], benign: Sequence[Benign]) -> dict[str, object]:
    """Return found and total by class, by obfuscation and by class under any obfuscation, and false positives.

    An obfuscation that cannot be applied to a text (digits only, say) or leaves it as it was does not count for it.
    """
    by_class: Counter[str] = Counter()
    total_class = Counter(item.kind for item in sensitive)
    by_obfuscation: Counter[str] = Counter()
    total_obfuscation: Counter[str] = Counter()
    hidden_class: Counter[str] = Counter()
    total_hidden: Counter[str] = Counter()
    for item in sensitive:
        by_class[item.kind] += _is_hit({"value": item.text})
        for name, disguise in OBFUSCATIONS.items():
            disguised = disguise(item.text)
            if disguised is None:
                continue
            found = _is_hit(disguised)
            total_obfuscation[name] += 1
            total_hidden[item.kind] += 1
            by_obfuscation[name] += found
            hidden_class[item.kind] += found
    wrong = Counter(f"{item.tier} {item.field}" for item in benign if _is_hit({"value": item.text}))
    return {
        "class": {kind: [by_class[kind], total_class[kind]] for kind in sorted(total_class)},
        "obfuscation": {name: [by_obfuscation[name], total_obfuscation[name]] for name in OBFUSCATIONS},
        "class_obfuscated": {kind: [hidden_class[kind], total_hidden[kind]] for kind in sorted(total_hidden)},
        "false_positives": {
            field: [wrong[field], total]
            for field, total in sorted(Counter(f"{item.tier} {item.field}" for item in benign).items())
        },
    }


def _print_table(title: str, table: dict[str, list[int]], word: str) -> None:
    print(f"{title} ({word})")
    for name, (part, total) in [*table.items(), ("all", [sum(x) for x in zip(*table.values(), strict=True)] or [0, 0])]:
        print(f"  {name:<24} {part:6} of {total:6}  {100 * part / max(1, total):6.2f} %")


def main(argv: Sequence[str] | None = None) -> int:
    """Score corpus files; return 0, or 1 if the full recorder let a sensitive string in or refused a benign one."""
    parser = argparse.ArgumentParser(description="Score the redaction on corpus files; never prints their values.")
    parser.add_argument("--sensitive", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--benign", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--recorder", action="store_true", help="score the full recorder instead of L2 and L3 alone")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    sensitive, benign = read_sensitive(given.sensitive), read_benign(given.benign)
    if given.recorder:
        from score_recorder import score_recorder

        result = score_recorder(
            [item.text for item in sensitive], [(item.field, item.text) for item in benign if item.tier == "must"]
        )
        print(json.dumps(result, indent=2))
        return int(bool(result["accepted"] or result["stored"] or result["echoed"] or result["benign_refused"]))
    scores = score_tripwire(sensitive, benign)
    if given.json:
        print(json.dumps(scores, indent=2))
        return 0
    for title, word in (("class", "recall"), ("obfuscation", "recall"), ("class_obfuscated", "recall")):
        _print_table(title, scores[title], word)  # type: ignore[arg-type]
    _print_table("false positives", scores["false_positives"], "rate")  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main())
