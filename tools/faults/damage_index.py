"""Damage the index of a journal: what is asked through it is answered as without it, whatever its bytes are.

The index is a cache, so nothing is lost with it; what must not happen is that a damaged one leaves events out, shows
other numbers, or ends in an exception that is not ours.
"""

import os
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from carojournal.filters import parse_filters
from carojournal.index import INDEX, open_index
from carojournal.query import Query
from carojournal.reader import JournalReader
from carojournal.selection import newest, ordered
from faults import fuzz_samples as samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carojournal.index import Index

__all__ = ["IndexBench"]

_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_ROUNDS = 9  # As many as make a segment that gets a row in the index (`index_rows`).
_NEWEST = 5


class IndexBench:
    """A journal of three days with an index; `counts` says whether a damaged one was used or made anew."""

    def __init__(self, folder: str) -> None:
        self.root = os.path.join(folder, "indexed")
        self.path = os.path.join(self.root, INDEX)
        self.counts: Counter[str] = Counter()
        draw = Random(11)
        for day in range(3):
            for hour in range(4):
                samples.fill(self.root, samples.NOON_MS + day * _DAY_MS + hour * _HOUR_MS, draw, _ROUNDS)
        self._infos = JournalReader(self.root).segments()
        if open_index(self.root, self._infos, always=True) is None:
            raise ValueError("no index was made")
        with open(self.path, "rb") as file:
            self.data = file.read()
        run = bytes(next(iter(JournalReader(self.root).records(events_only=True))).value["run_id"])
        middle = samples.NOON_MS + _DAY_MS
        words = (["event=session_start"], ["retry_count=0"], [f"run_id={run.hex()}"])
        self._queries = [*map(parse_filters, words), Query(since_ms=middle, until_ms=middle + _HOUR_MS)]
        self._expected = self._answers(None)

    def _answers(self, index: "Index | None") -> "list[list[tuple[bytes, int]]]":
        asked = [
            records
            for query in self._queries
            for records in (
                ordered(JournalReader(self.root), query, index),
                newest(JournalReader(self.root), query, _NEWEST, index),
            )
        ]
        return [[(record.segment, record.seq) for record in records] for records in asked]

    def run(self, variants: "Iterable[tuple[str, bytes]]") -> "Iterator[str]":
        """Put each of *variants*, (what was done, bytes), in the index's place and yield what went wrong."""
        totals = None
        for what, damaged in variants:
            with open(self.path, "wb") as file:
                file.write(damaged)
            try:
                index = open_index(self.root, self._infos, always=True)
                answers = self._answers(index)
            except Exception as error:
                yield f"{INDEX}: {what}: {type(error).__name__} {error}"
                continue
            self.counts["without" if index is None else "made anew" if index.bytes_read else "used"] += 1
            if answers != self._expected:
                yield f"{INDEX}: {what}: other events are found"
            if index is not None:
                seen = index.totals()
                totals = totals or seen
                if seen != totals:
                    yield f"{INDEX}: {what}: other numbers"
