"""Paired measurement: subject and reference take turns in the same run, and are judged by the pairs.

No machine is quiet.  What slows one measurement down slows its neighbour too, so a figure is the median of differences
or ratios between neighbours, in alternating order (AB, BA, AB ...) so that neither always comes first.  `best` stands
beside the median: the run that was disturbed least.  Nothing here decides a test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Figure", "Summary", "Target", "compare", "paired", "quantile", "single", "summarize"]


@dataclass(frozen=True, slots=True)
class Summary:
    """Of several measurements: the median, the best (least time, or highest rate), and the worst one in a hundred."""

    median: float
    best: float
    p99: float
    count: int


@dataclass(frozen=True, slots=True)
class Target:
    """What an issue asks for: `quantity` ("value", "difference" or "ratio") at most, or at least, `bound`."""

    quantity: str
    bound: float
    at_least: bool = False

    def text(self, unit: str) -> str:
        """Return the target as the table shows it; *unit* is the figure's."""
        sign = ">=" if self.at_least else "<="
        if self.quantity == "ratio":
            return f"{sign} {self.bound:g} x"
        return f"{sign} {'+' if self.quantity == 'difference' else ''}{self.bound:,.12g} {unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.  `difference` and `ratio` are of value to reference, medians over the pairs."""

    name: str
    unit: str
    value: Summary
    reference_name: str = ""
    reference: Summary | None = None
    difference: float | None = None
    ratio: float | None = None
    target: Target | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target was met in this run; None where there is none."""
        if self.target is None:
            return None
        found = {"value": self.value.median, "difference": self.difference, "ratio": self.ratio}[self.target.quantity]
        if found is None:
            return None
        return found >= self.target.bound if self.target.at_least else found <= self.target.bound


def quantile(samples: Sequence[float], part: float) -> float:
    """Return what *part* (0 to 1) of the samples do not exceed (nearest rank).  Raises IndexError if there are none."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def summarize(samples: Sequence[float], *, higher_is_better: bool = False) -> Summary:
    """Return the summary of *samples*, at least one."""
    best, worst = (max(samples), 0.01) if higher_is_better else (min(samples), 0.99)
    return Summary(median(samples), best, quantile(samples, worst), len(samples))


def paired(subjects: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure every subject once a round, in the opposite order every other round.

    Sample n of one subject and sample n of another are neighbours in time.  One round more runs first and is thrown
    away: it fills caches.
    """
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    names = list(subjects)
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            taken = subjects[name]()
            if number:
                samples[name].append(taken)
    return samples


def compare(
    name: str,
    unit: str,
    samples: Sequence[float],
    reference_name: str,
    references: Sequence[float],
    target: Target | None = None,
    note: str = "",
    *,
    higher_is_better: bool = False,
) -> Figure:
    """Return the figure for *samples* against the *references* that were measured beside them, pair by pair."""
    pairs = list(zip(samples, references, strict=True))
    return Figure(
        name,
        unit,
        summarize(samples, higher_is_better=higher_is_better),
        reference_name,
        summarize(references, higher_is_better=higher_is_better),
        median(one - other for one, other in pairs),
        median(one / other for one, other in pairs) if all(references) else None,
        target,
        note,
    )


def single(name: str, unit: str, value: float, target: Target | None = None, note: str = "") -> Figure:
    """Return the figure of a count, which has neither spread nor reference."""
    return Figure(name, unit, Summary(value, value, value, 1), target=target, note=note)
