"""The README's table of what was measured, between two comments, from the JSON that `run.py --json` writes.

<!-- measured -->
...
<!-- /measured -->
"""

from collections.abc import Mapping
from typing import Any

# ruff: noqa: RUF001 - a multiplication sign is one

__all__ = ["BEGIN", "END", "render_table", "replace_block"]

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
_LEFT_OUT = ("cold process: ", "warm: same work", "kill -9")  # In the plot, or in the JSON.
_FLOOR = "floor: "  # Without a target: what stands above it in the table cannot be less.
_COUNTS = (" process: ", " processes: ")


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.0f}" if value == int(value) else f"{value:,.{digits}f}"


def _measured(row: Mapping[str, Any]) -> str:
    quantity = row["target"]["quantity"] if row["target"] else "difference" if _FLOOR in row["name"] else "ratio"
    value = f"{_number(row['value']['median'])} {row['unit']}".strip()
    if quantity == "difference":
        return f"{row['difference']:+.1f} {row['unit']}"
    if quantity == "ratio" and row["ratio"] is not None:
        return f"{value}, {_number(row['ratio'])} ×"
    return value


def render_table(result: Mapping[str, Any]) -> str:
    """Return the table in Markdown: every figure with a target, and the warm appends of others."""
    machine = result["machine"]
    load = _number(machine["load"][0])
    lines = [
        (
            f"On {result['date'][:10]}, {machine['cpus']} processors, load {load},"
            f" Python {str(machine['python']).split()[0]}; medians of runs that took turns with their reference."
        ),
        "",
        "| figure | measured | against | aim |",
        "|---|---|---|---|",
    ]
    for row in result["figures"]:
        name = str(row["name"])
        if name.startswith(_LEFT_OUT) or any(words in name for words in _COUNTS if row["target"] is None):
            continue
        if row["target"] is None and not name.startswith("warm: ") and _FLOOR not in name:
            continue
        aim = f"{row['target']['text']}{'' if row['met'] else ': not met here'}" if row["target"] else ""
        aim = aim.replace("<=", "≤").replace(">=", "≥").replace(" x", " ×")
        lines.append(f"| {name} | {_measured(row)} | {row['reference_name']} | {aim} |")
    return "\n".join(lines) + "\n"


def replace_block(text: str, table: str) -> str:
    """Return *text* with *table* between the two comments.  Raises ValueError if they are not there, once each."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the file has no single block from {BEGIN} to {END}")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}{end}{after}"
