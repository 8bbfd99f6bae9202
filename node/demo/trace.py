"""Demand traces: files of recorded model calls -> calls in order of time.

The format is recognised by content, never by the file's ending. Rows are sorted by time, stable,
and a file's time zero is its first row. The model's name is the file's stem. Files are streamed
with a bound on each line; whatever is wrong is a `TraceError`, nothing else is raised.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from node.demo.errors import (
    BadHeader,
    BadRow,
    BadTraceName,
    DuplicateTrace,
    TraceEmpty,
    TraceNotFound,
    TraceTooLong,
    TraceUnreadable,
)
from node.demo.trace_rows import RowFormat, RowProblem, TraceRow, format_of, shown
from state.maths import mul_div_floor

LINE_BYTES_MAX = 1 << 20
ROWS_MAX = 5_000_000
NAME_CHARACTERS_MAX = 64
TOKENS_PER_BLOCK = 512
"""Input tokens that one entry of `hash_ids` stands for."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class TraceCall:
    """One paid call; its time counts in the trace's units from the first row."""

    time: int
    tokens_in: int
    tokens_cached: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Trace:
    """The calls of one model in order of time, the first at time 0."""

    name: str
    calls: tuple[TraceCall, ...]
    units_per_second: int
    rows_skipped: int = 0

    @property
    def time_last(self) -> int:
        """Time of the last call."""
        return self.calls[-1].time

    def bucket_of(self, time: int, buckets: int) -> int:
        """The index bucket, 0..buckets-1, that a call at this time belongs to.

        The trace's time is cut into equal parts: floor((t - first) * K / (last - first + 1 unit)).
        """
        first = self.calls[0].time
        return mul_div_floor(time - first, buckets, self.time_last - first + 1)


def read_traces(paths: Sequence[Path], *, skip_bad: bool = False) -> list[Trace]:
    """Read several files, each a model of its own; raises `TraceError`."""
    seen: dict[str, Path] = {}
    for path in paths:
        name = model_name(path)
        if name in seen:
            raise DuplicateTrace(str(path), str(seen[name]))
        seen[name] = path
    return [read_trace(path, skip_bad=skip_bad) for path in paths]


def read_trace(path: Path, *, skip_bad: bool = False) -> Trace:
    """Read one file; with `skip_bad` broken rows are counted instead of refused."""
    name = model_name(path)
    if "\0" in str(path):
        raise TraceNotFound(repr(str(path)))
    try:
        with path.open("rb") as file:
            return trace_of(file, str(path), name, skip_bad=skip_bad)
    except (FileNotFoundError, NotADirectoryError):
        raise TraceNotFound(str(path)) from None
    except OSError as error:
        raise TraceUnreadable(str(path), error.strerror or str(error)) from None


def model_name(path: Path) -> str:
    """The file's stem, when it can name a model."""
    name = path.stem
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        raise BadTraceName(str(path))
    return name


def trace_of(stream: BinaryIO, file: str, name: str, *, skip_bad: bool) -> Trace:
    """Read a trace from an open binary stream; `file` is what errors call it."""
    lines = numbered_lines(stream)
    number, first = next(lines, (0, b""))
    if not number:
        raise TraceEmpty(file)
    row_format = format_of(first)
    if row_format is None:
        raise BadHeader(file, number, shown(first))
    if not row_format.has_header:
        lines = chain_first((number, first), lines)
    rows, rows_skipped = parse_rows(lines, row_format, file, skip_bad=skip_bad)
    if not rows:
        raise TraceEmpty(file, rows_skipped)
    rows.sort(key=lambda row: row.time)
    return Trace(name, calls_of(rows), row_format.units_per_second, rows_skipped)


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, without their ends, numbered from 1.

    A line over the bound comes cut to a little more than the bound; its rest is passed over.
    """
    number = 0
    while piece := stream.readline(LINE_BYTES_MAX + 2):
        number += 1
        line = piece.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line.strip():
            yield number, line
        while len(piece) == LINE_BYTES_MAX + 2 and not piece.endswith(b"\n"):
            piece = stream.readline(LINE_BYTES_MAX + 2)


def chain_first(
    first: tuple[int, bytes], rest: Iterator[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    """The first item again, then the rest."""
    yield first
    yield from rest


def parse_rows(
    lines: Iterator[tuple[int, bytes]], row_format: RowFormat, file: str, *, skip_bad: bool
) -> tuple[list[TraceRow], int]:
    """All rows in the order of the file, and how many were passed over."""
    rows: list[TraceRow] = []
    rows_skipped = 0
    for number, line in lines:
        try:
            if len(line) > LINE_BYTES_MAX:
                raise RowProblem(f"the line is longer than {LINE_BYTES_MAX} bytes")
            row = row_format.parse(line)
        except RowProblem as problem:
            if not skip_bad:
                raise BadRow(file, number, str(problem)) from None
            rows_skipped += 1
            continue
        if len(rows) == ROWS_MAX:
            raise TraceTooLong(file, ROWS_MAX)
        rows.append(row)
    return rows, rows_skipped


def calls_of(rows: Sequence[TraceRow]) -> tuple[TraceCall, ...]:
    """Rows in order of time -> calls, with times from zero and the cached share split off.

    Each distinct block id that an earlier call carried counts 512 cached tokens, together at
    most the call's input; `tokens_in` is the rest.
    """
    time_zero = rows[0].time
    carried: set[int] = set()
    calls = []
    for row in rows:
        ids = set(row.block_ids)
        cached = min(row.tokens_in, TOKENS_PER_BLOCK * len(ids & carried))
        carried |= ids
        calls.append(
            TraceCall(row.time - time_zero, row.tokens_in - cached, cached, row.tokens_out)
        )
    return tuple(calls)
