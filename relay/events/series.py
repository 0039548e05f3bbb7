"""Counts of events over time: what is asked, and the answer, put together a row at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from relay.events.tally import HEAD, HOURS, MINUTES, Row, Span, count_of, number_of, row_of

#: Most points of a series, most series that are named, and most that are looked at for those.
POINTS = 2000
SERIES = 50
_LOOKED = 20_000

#: By what a series is told from others: some of the fields of a row.
_Name = tuple[str, ...]


class Question(NamedTuple):
    """`points` counts from `first` on, each of `step`; both in ms, `first` a multiple of `step`, and `step` one of a
    minute or, from an hour on, of an hour. A series for each that differs in the fields `by`; of rows only those with
    one of the `wanted` values in each field that is named there."""

    first: int
    step: int
    points: int
    by: Sequence[str]
    wanted: Mapping[str, frozenset[str]]

    @property
    def span(self) -> Span:
        """From which counts it is answered."""
        return HOURS if self.step % HOURS.length == 0 else MINUTES

    def keys(self) -> tuple[bytes, bytes]:
        """The first key of these counts, and that behind the last."""
        span = self.span
        last = self.first + self.points * self.step
        return span.begin(self.first // span.length), span.begin(last // span.length)


class Answer(NamedTuple):
    """The counts of each series, that with most first; `other`, if there are more series, of all of these together."""

    series: Sequence[tuple[_Name, Sequence[int]]]
    other: Sequence[int]


class _Rows:
    """Finds the series of a row, mostly by having seen it before."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self._by = [Row._fields.index(field) for field in question.by]
        self._wanted = [(Row._fields.index(field), values) for field, values in question.wanted.items()]
        self._known: dict[bytes, _Name | None] = {}

    def name(self, key: bytes) -> _Name | None:
        """Of the series; None: the row isn't wanted."""
        ending = key[HEAD:]
        try:
            return self._known[ending]
        except KeyError:
            pass
        try:
            row = row_of(key)
        except ValueError:
            return None
        wanted = all(row[index] in values for index, values in self._wanted)
        name = tuple(row[index] for index in self._by) if wanted else None
        if len(self._known) < _LOOKED:
            self._known[ending] = name
        return name


class Totals:
    """First, which series have most."""

    def __init__(self, question: Question) -> None:
        self._rows = _Rows(question)
        self._totals: Counter[_Name] = Counter()

    def add(self, key: bytes, value: bytes) -> None:
        """A row as it is kept."""
        name = self._rows.name(key)
        if name is not None and (name in self._totals or len(self._totals) < _LOOKED):
            self._totals[name] += _count(value)

    def greatest(self) -> list[_Name]:
        """Of all series those that are named."""
        ordered = sorted(self._totals.items(), key=lambda one: (-one[1], one[0]))
        return [name for name, _ in ordered[:SERIES]]


class Series:
    """Then, their counts."""

    def __init__(self, question: Question, names: Sequence[_Name]) -> None:
        self._question = question
        self._rows = _Rows(question)
        self._named = {name: [0] * question.points for name in names}
        self._other: list[int] = []

    def add(self, key: bytes, value: bytes) -> None:
        """A row as it is kept."""
        question = self._question
        name = self._rows.name(key)
        if name is None:
            return
        counts = self._named.get(name)
        if counts is None:
            # Beyond those that are named, or come since.
            counts = self._other = self._other or [0] * question.points
        counts[(number_of(key) * question.span.length - question.first) // question.step] += _count(value)

    def answer(self) -> Answer:
        """All of it."""
        return Answer(list(self._named.items()), self._other)


def _count(value: bytes) -> int:
    try:
        return count_of(value)
    except ValueError:
        return 0
