"""The figures of appends as an SVG, written by hand: nothing to install, and the same figures give the same bytes.

Left, microseconds of one warm append as bars; right, events a second of 1 to 16 processes as lines; both on logarithmic
scales.  It is made of the JSON that `run.py --json` writes.  Stores that lose acknowledged events on `kill -9`, as the
same run found, are hatched.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["render_svg"]

Row = Mapping[str, Any]
_OURS = ("record()", "record(), durability each")
_WIDTH, _TOP, _STEP = 980, 64, 22
_BARS_AT, _BARS_WIDTH = 190, 280
_LINES_AT, _LINES_WIDTH = 590, 230
_BLUE = "#0b6e99"
_COLOURS = ("#9b51e0", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#64473a", "#9b9a97", "#dfab01", "#e03e3e")
_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#ddd"/><line y2="6" stroke="#999" stroke-width="3"/></pattern></defs>'
)


def _text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, colour: str = "#e3e3e3") -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"/>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


class _Scale:
    """A logarithmic axis from a power of ten to another, over *length* pixels."""

    def __init__(self, values: Sequence[float], length: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self._length = length

    def at(self, value: float) -> float:
        return (math.log10(value) - self.low) / (self.high - self.low) * self._length

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def _warm(rows: Sequence[Row]) -> dict[str, float]:
    """Return name -> microseconds of a warm append, ours first, then the others from fast to slow."""
    peers = {row["name"][6:]: row for row in rows if row["name"].startswith("warm: ")}
    ours = {row["reference_name"]: row["reference"]["median"] for row in peers.values()}
    listed = sorted(peers, key=lambda name: float(peers[name]["value"]["median"]))
    return {**ours, **{name: peers[name]["value"]["median"] for name in listed}}


def _bars(rows: Sequence[Row]) -> tuple[list[str], float]:
    times = _warm(rows)
    lossy = {
        row["name"].partition(": ")[2]
        for row in rows
        if row["name"].startswith("kill -9") and row["value"]["median"] > 0
    }
    scale = _Scale(list(times.values()), _BARS_WIDTH)
    bottom = _TOP + _STEP * len(times)
    parts = [_text(_BARS_AT, _TOP - 30, "one warm append, µs (less is better)", more=' font-weight="bold"')]
    for tick in scale.ticks():
        x = _BARS_AT + scale.at(tick)
        parts += [_line(x, _TOP - 8, x, bottom), _text(x, _TOP - 12, _number(tick), "middle", ' fill="#777"')]
    for at, (name, value) in enumerate(times.items()):
        y = _TOP + _STEP * at
        fill = "url(#hatch)" if name in lossy else _BLUE if name in _OURS else "#b9c4c9"
        weight = ' font-weight="bold"' if name in _OURS else ""
        width = max(1.0, scale.at(value))
        parts += [
            _text(_BARS_AT - 8, y + 14, name, "end", weight),
            f'<rect x="{_BARS_AT}" y="{y + 3:.1f}" width="{width:.1f}" height="{_STEP - 7}" fill="{fill}"/>',
            _text(_BARS_AT + width + 5, y + 14, _number(value), more=weight),
        ]
    return parts, bottom


def _rates(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        count, _, name = row["name"].partition(": ")
        words = count.split(" ")
        if len(words) == 2 and words[1] in ("process", "processes") and words[0].isdigit():
            found.setdefault(name, {})[int(words[0])] = row["value"]["median"]
    return {name: rates for name, rates in found.items() if len(rates) > 1}


def _lines(rows: Sequence[Row], bottom: float) -> list[str]:
    rates = _rates(rows)
    if not rates:
        return []
    counts = sorted({count for found in rates.values() for count in found})
    scale = _Scale([rate for found in rates.values() for rate in found.values()], bottom - _TOP)
    step = _LINES_WIDTH / max(1, len(counts) - 1)
    parts = [_text(_LINES_AT, _TOP - 30, "processes: events a second, all together", more=' font-weight="bold"')]
    for tick in scale.ticks():
        y = bottom - scale.at(tick)
        parts += [
            _line(_LINES_AT, y, _LINES_AT + _LINES_WIDTH, y),
            _text(_LINES_AT - 6, y + 4, _number(tick), "end", ' fill="#777"'),
        ]
    for at, count in enumerate(counts):
        parts.append(_text(_LINES_AT + at * step, bottom + 16, str(count), "middle", ' fill="#777"'))
    taken: list[float] = []
    for at, (name, found) in enumerate(sorted(rates.items(), key=lambda row: -row[1][max(row[1])])):
        colour = _BLUE if name in _OURS else _COLOURS[at % len(_COLOURS)]
        points = [(_LINES_AT + counts.index(count) * step, bottom - scale.at(rate)) for count, rate in found.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        width = 3 if name in _OURS else 1.5
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        y = max([points[-1][1], *(used + 13 for used in taken[-1:])])
        taken.append(y)
        parts.append(_text(_LINES_AT + _LINES_WIDTH + 8, y + 4, name, more=f' fill="{colour}"'))
    return parts


def render_svg(result: Mapping[str, Any]) -> str:
    """Return the plot of what `run.py` reports.  Raises ValueError if it has no figures of the peers."""
    rows = result["figures"]
    if not any(row["name"].startswith("warm: ") for row in rows):
        raise ValueError("the benchmark `peers` was not run")
    bars, bottom = _bars(rows)
    parts = [*bars, *_lines(rows, bottom)]
    height = bottom + 60
    machine = result["machine"]
    note = (
        f"{result['date'][:10]}, {machine['cpus']} processors, load {machine['load'][0]:.0f}, Python"
        f" {str(machine['python']).split()[0]}; medians of runs that took turns; hatched: loses acknowledged events on"
        " kill -9"
    )
    return "\n".join(
        (
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" font-size="12"'
                ' font-family="system-ui, sans-serif" fill="#222">'
            ),
            f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fff"/>',
            _HATCH,
            *parts,
            _text(12, height - 14, note, more=' fill="#777"'),
            "</svg>\n",
        )
    )
