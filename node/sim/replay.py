"""Replaying a report: the same options and seed once more, and where it departs from the report.

All that a report says is compared but the seconds that it took, so one that was altered is found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from node.sim.errors import WrongReport, quoted
from node.sim.files import read_bounded
from node.sim.report import Report
from node.sim.simulation import simulate
from node.sim.world import US_PER_MS

LINES_OF_DIVERGENCE_MAX = 200
REPORT_BYTES_MAX = 64 * 2**20

NOT_COMPARED = ("seconds",)
"""What no two runs share: how long they took on the clock of the wall."""

Print = Callable[[str], None]


@dataclass(frozen=True)
class Divergence:
    """The records of the trace between which a replay departs from its report."""

    after: int
    before: int


def read_report(path: Path) -> Report:
    """Return a report from its file; raises WrongReport."""
    try:
        return msgspec.json.decode(read_bounded(path, REPORT_BYTES_MAX), type=Report)
    except OSError as error:
        raise WrongReport(f"{path} cannot be read: {error.strerror}.") from error
    except msgspec.MsgspecError as error:
        raise WrongReport(
            f"{path} is not the report of one simulation: {error}. Give a file that `sahara "
            "simulate --json` wrote; of a sweep, run the seed again by itself."
        ) from error


def replay(report: Report, say: Print) -> bool:
    """Run the report's seed again and tell what happened; return whether the reports agree."""
    again = simulate(report.options)
    if again.trace_hash == report.trace_hash:
        simulate(report.options, account=lambda n, us, text: say(_line(n, us, text)))
        say(f"The trace is that of the report: {again.trace_hash}, {again.trace_records} records.")
        differing = difference(msgspec.to_builtins(report), msgspec.to_builtins(again))
        if differing is not None:
            say(f"But the report says something else than this run: {differing}.")
        return differing is None
    gap = divergence(report, again)
    say(
        f"The trace differs: the report has {report.trace_hash}, this run {again.trace_hash}; they "
        f"part after record {gap.after} and before record {gap.before} or at it. This run says:"
    )

    def account(number: int, us: int, text: str) -> None:
        last = min(gap.before, gap.after + LINES_OF_DIVERGENCE_MAX)
        if gap.after < number <= last:
            say(_line(number, us, text))

    simulate(report.options, account=account)
    return False


def difference(given: Any, found: Any, where: str = "") -> str | None:
    """Return the first place where a report differs from a run, and how; None where none does."""
    if isinstance(given, dict) and isinstance(found, dict):
        keys = [key for key in found if where or key not in NOT_COMPARED]
        parts = [difference(given[key], found[key], f"{where}.{key}".strip(".")) for key in keys]
    elif isinstance(given, list) and isinstance(found, list) and len(given) == len(found):
        pairs = enumerate(zip(given, found, strict=True))
        parts = [difference(one, other, f"{where}[{at}]") for at, (one, other) in pairs]
    else:
        equal = given == found
        return None if equal else f"{where} is {_short(given)} there and {_short(found)} here"
    return next((part for part in parts if part is not None), None)


def _short(value: Any) -> str:
    return quoted(msgspec.json.encode(value).decode())


def divergence(first: Report, second: Report) -> Divergence:
    """Return between which records two traces part, as narrowly as their marks tell."""
    theirs = dict(second.trace_marks)
    after = 0
    for record, digest in first.trace_marks:
        if record in theirs and theirs[record] != digest:
            return Divergence(after, record)
        if record in theirs:
            after = record
    return Divergence(after, max(first.trace_records, second.trace_records))


def _line(number: int, us: int, text: str) -> str:
    return f"{number:>8} {us / US_PER_MS:>12.3f} ms  {text}"
