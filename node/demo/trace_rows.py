"""One line of a demand trace -> one row, in either of the two formats.

Times are exact integers in the format's own unit (100 ns ticks for CSV, milliseconds for JSON
lines); nothing is rounded and no float is read. A parser knows nothing of files: what is wrong
with a line is a `RowProblem` whose text the reader of the file completes with name and number.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated

import msgspec

from state.types import INT_MAX, U32

TOKENS_MAX = 2**32 - 1
CSV_HEADER = b"TIMESTAMP,ContextTokens,GeneratedTokens"
CSV_FRACTION_DIGITS = 7
CSV_UNITS_PER_SECOND = 10**CSV_FRACTION_DIGITS
JSON_UNITS_PER_SECOND = 1000
SHOWN_CHARACTERS_MAX = 60

SECONDS_PER_DAY = 86_400
TIME_PATTERN = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,7}))?(?:Z|\+00:00)?"
)
TOKENS_PATTERN = re.compile(rb"\d{1,10}")


class RowProblem(Exception):
    """Why a line cannot become a call, as half a sentence."""


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One call as the file states it: the cached share is not known before rows are sorted."""

    time: int
    tokens_in: int
    tokens_out: int
    block_ids: tuple[int, ...] = ()


class JsonRow(msgspec.Struct, frozen=True):
    """The keys of a JSON line that mean something here; others are ignored."""

    timestamp: Annotated[int, msgspec.Meta(ge=0, le=INT_MAX)]
    input_length: U32
    output_length: U32
    hash_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How the lines of one file are read."""

    parse: Callable[[bytes], TraceRow]
    units_per_second: int
    has_header: bool


def parse_csv(line: bytes) -> TraceRow:
    """Read `time,input tokens,output tokens`; raises `RowProblem`."""
    fields = line.split(b",")
    if len(fields) != 3:
        raise RowProblem(f"{shown(line)} has {len(fields)} fields where 3 are expected")
    time = parse_time(fields[0])
    return whole_row(TraceRow(time, parse_tokens(fields[1]), parse_tokens(fields[2])))


def parse_time(field: bytes) -> int:
    """100 ns ticks since the first day of year 1 of `YYYY-MM-DD hh:mm:ss[.fffffff]` in UTC."""
    match = TIME_PATTERN.fullmatch(field)
    if match is None:
        raise RowProblem(f"time {shown(field)} is not of the form YYYY-MM-DD hh:mm:ss.fffffff")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if hour > 23 or minute > 59 or second > 59:
        raise RowProblem(f"time {shown(field)} is not a time of day")
    try:
        days = date(year, month, day).toordinal()
    except ValueError:
        raise RowProblem(f"time {shown(field)} is not a day of the calendar") from None
    seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second
    fraction = int((match[7] or b"0").ljust(CSV_FRACTION_DIGITS, b"0"))
    ticks: int = seconds * CSV_UNITS_PER_SECOND + fraction
    return ticks


def parse_tokens(field: bytes) -> int:
    """A token count of 0..2^32-1."""
    if TOKENS_PATTERN.fullmatch(field) is None or int(field) > TOKENS_MAX:
        raise RowProblem(f"token count {shown(field)} is not an integer in 0..{TOKENS_MAX}")
    return int(field)


def parse_json(line: bytes) -> TraceRow:
    """Read one JSON object; raises `RowProblem`."""
    try:
        row = JSON_ROW.decode(line)
    except RecursionError:
        raise RowProblem(f"{shown(line)} is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = str(error).rstrip(".")
        raise RowProblem(f"{shown(line)} is not a call of the trace ({reason})") from None
    return whole_row(TraceRow(row.timestamp, row.input_length, row.output_length, row.hash_ids))


def whole_row(row: TraceRow) -> TraceRow:
    """The row itself, when it carries at least one token."""
    if row.tokens_in + row.tokens_out == 0:
        raise RowProblem("the call has no tokens at all and at least one is expected")
    return row


def shown(text: bytes) -> str:
    """A printable quotation, cut to what fits a sentence."""
    quoted = text[: SHOWN_CHARACTERS_MAX + 1].decode("ascii", "backslashreplace")
    if len(quoted) > SHOWN_CHARACTERS_MAX:
        quoted = quoted[: SHOWN_CHARACTERS_MAX - 3] + "..."
    return repr(quoted)


def format_of(first_line: bytes) -> RowFormat | None:
    """The format that a file's first line belongs to, None when it belongs to neither."""
    if first_line == CSV_HEADER:
        return CSV
    if first_line.lstrip().startswith(b"{"):
        return JSON_LINES
    return None


JSON_ROW = msgspec.json.Decoder(JsonRow)
CSV = RowFormat(parse_csv, CSV_UNITS_PER_SECOND, has_header=True)
JSON_LINES = RowFormat(parse_json, JSON_UNITS_PER_SECOND, has_header=False)
