"""The report of a run: what JSON says for programs, and one screen for people."""

from enum import IntEnum

import msgspec
from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from node.sim.scenario import Options

LISTED_MAX = 12
"""Validators that the screen names one by one."""


class Verdict(IntEnum):
    """How a run ended; the value is the exit code."""

    NOTHING_BROKE = 0
    BROKEN = 1
    FORKED_WITH_EVIDENCE = 3


class ByzantineRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A validator that did not follow the protocol."""

    validator: int
    kind: str
    stake: int


class EvidenceRow(Struct, frozen=True, forbid_unknown_fields=True):
    """An offence that is provable from what honest validators hold."""

    offender: int
    kind: str
    byzantine: bool
    views: int
    """In how many views."""


class ViolationRow(Struct, frozen=True, forbid_unknown_fields=True):
    """An invariant that did not hold, where, and how."""

    invariant: str
    view: int
    text: str


class TransactionRow(Struct, frozen=True, forbid_unknown_fields=True):
    """How often transactions of a kind ended how, in final blocks."""

    kind: str
    ok: int
    failed: int
    refused: int


class SlashRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A validator that the chain has punished: it is out for ever."""

    validator: int
    offence: str
    epoch: int
    height: int
    burned: int
    byzantine: bool


class ApplicationRow(Struct, frozen=True, forbid_unknown_fields=True):
    """What happened in the state machine, as the node with the most final blocks has it."""

    transactions: list[TransactionRow]
    late_votes: int
    """Blocks that show late votes."""
    evidence: int
    """Proofs in bodies."""
    slashed: list[SlashRow]
    created: list[int]
    """Validators that entered after genesis."""
    jailed: list[int]
    """Validators that were jailed for absence, each time."""
    unjailed: list[int]
    sets: int
    """Different validator sets."""


class Liveness(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of the chain once a random quorum was healed."""

    healed: list[int]
    expected: bool
    """Whether honest validators alone could go on, so that a stall is a violation."""
    progressed: bool
    bound_ms: int
    needed_ms: int | None
    delta_ms: int
    """The timeout bound Δ, in which both are read."""

    @property
    def bound_deltas(self) -> float:
        """How many Δ it may take."""
        return self.bound_ms / self.delta_ms

    @property
    def needed_deltas(self) -> float | None:
        """How many Δ it took."""
        return None if self.needed_ms is None else self.needed_ms / self.delta_ms


class Report(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a run has to say."""

    seed: int
    options: Options
    verdict: str
    exit_code: int
    validators: list[int]
    """Stakes, by validator."""
    byzantine: list[ByzantineRow]
    views: int
    finalized_height: int
    views_nullified: int
    block_interval_ms_p50: float | None
    block_interval_ms_p99: float | None
    block_interval_delays_p50: float | None
    block_interval_delays_p99: float | None
    finality_ms_p50: float | None
    finality_ms_p99: float | None
    finality_delays_p50: float | None
    finality_delays_p99: float | None
    messages_per_block_and_validator: float | None
    bytes_per_block_and_validator: float | None
    crashes: int
    forks: int
    evidence: list[EvidenceRow]
    evidence_stake_fraction: float
    invariants: list[str]
    violations: list[ViolationRow]
    liveness: Liveness
    application: ApplicationRow | None
    """None without the state machine."""
    virtual_ms: int
    trace_hash: str
    trace_records: int
    trace_marks: list[tuple[int, str]]
    seconds: float


class Sweep(Struct, frozen=True):
    """The reports of many seeds, and what they say together."""

    runs: list[Report]
    summary: "Summary"


class Summary(Struct, frozen=True, kw_only=True):
    """Many runs in a few numbers."""

    runs: int
    exit_code: int
    nothing_broke: int
    broken: int
    forked_with_evidence: int
    broken_seeds: list[int]
    forked_seeds: list[int]
    views: int
    finalized_heights: int
    crashes: int
    stalled: int
    seconds: float


def summarize(runs: list[Report], seconds: float) -> Summary:
    """Return what the runs of a sweep come to: 1 if any broke, else 3 if any forked, else 0."""
    broken = [run.seed for run in runs if run.exit_code == Verdict.BROKEN]
    forked = [run.seed for run in runs if run.exit_code == Verdict.FORKED_WITH_EVIDENCE]
    worst = (
        Verdict.BROKEN
        if broken
        else Verdict.FORKED_WITH_EVIDENCE
        if forked
        else Verdict.NOTHING_BROKE
    )
    return Summary(
        runs=len(runs),
        exit_code=int(worst),
        nothing_broke=len(runs) - len(broken) - len(forked),
        broken=len(broken),
        forked_with_evidence=len(forked),
        broken_seeds=broken,
        forked_seeds=forked,
        views=sum(run.views for run in runs),
        finalized_heights=sum(run.finalized_height for run in runs),
        crashes=sum(run.crashes for run in runs),
        stalled=sum(not run.liveness.progressed for run in runs),
        seconds=round(seconds, 3),
    )


def as_json(report: Report | Sweep) -> bytes:
    """Return a report as JSON for people and programs, with a line end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def screen(report: Report) -> RenderableType:
    """Return a report as one screen."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, text in _lines(report):
        table.add_row(name, text)
    style = {0: "bold green", 1: "bold red", 3: "bold yellow"}[report.exit_code]
    return Group(Text(report.verdict, style=style), table)


def _lines(report: Report) -> list[tuple[str, str]]:
    byzantine = _listed([f"{row.validator} {row.kind}" for row in report.byzantine]) or "none"
    share = sum(row.stake for row in report.byzantine) / sum(report.validators)
    lines = [
        ("seed", str(report.seed)),
        ("validators", f"{len(report.validators)}, Byzantine: {byzantine} ({share:.1%} of stake)"),
        ("views", f"{report.views} completed, {report.views_nullified} nullified"),
        ("finalized height", str(report.finalized_height)),
        ("block interval", _figure(report, "block_interval")),
        ("finality", _figure(report, "finality")),
        ("per block, validator", _traffic(report)),
        ("crashes", str(report.crashes)),
        ("forks", str(report.forks)),
        ("evidence", _evidence(report)),
        *_application(report.application),
        ("invariants", f"{len(report.invariants)} checked, {len(report.violations)} violations"),
        ("liveness", _liveness(report.liveness)),
        ("trace", f"{report.trace_hash[:32]} over {report.trace_records} records"),
        ("time", f"{report.virtual_ms / 1_000:.3f} s simulated in {report.seconds:.2f} s"),
    ]
    for row in report.violations[:8]:
        lines.append((f"  {row.invariant}", row.text))
    return lines


def _figure(report: Report, name: str) -> str:
    values = [
        getattr(report, f"{name}_{unit}_{rank}") for unit in ("ms", "delays") for rank in _RANKS
    ]
    if values[0] is None:
        return "not measured"
    ms = f"{values[0]:.1f} ms median, {values[1]:.1f} ms p99"
    if values[2] is None:
        return ms
    return f"{ms}; {values[2]:.2f} and {values[3]:.2f} network delays"


_RANKS = ("p50", "p99")


def _traffic(report: Report) -> str:
    if report.messages_per_block_and_validator is None:
        return "no block"
    return (
        f"{report.messages_per_block_and_validator:.1f} messages, "
        f"{report.bytes_per_block_and_validator:.0f} bytes"
    )


def _application(row: ApplicationRow | None) -> list[tuple[str, str]]:
    if row is None:
        return []
    ok, tried = sum(one.ok for one in row.transactions), len(row.transactions)
    not_ok = sum(one.failed + one.refused for one in row.transactions)
    slashed = ", ".join(f"{one.validator} {one.offence}" for one in row.slashed[:8]) or "nobody"
    absent = f"{len(row.jailed)} jailed, {len(row.unjailed)} unjailed"
    return [
        ("transactions", f"{ok} ok, {not_ok} failed, of {tried} kinds"),
        ("validators", f"{len(row.created)} created, {absent}, {row.sets} different sets"),
        ("slashed", slashed),
    ]


def _evidence(report: Report) -> str:
    if not report.evidence:
        return "none"
    rows = _listed([f"{row.offender} {row.kind}" for row in report.evidence])
    return f"{rows}; {report.evidence_stake_fraction:.1%} of stake"


def _listed(rows: list[str]) -> str:
    """Join the first dozen, and count the rest."""
    more = f" and {len(rows) - LISTED_MAX} more" if len(rows) > LISTED_MAX else ""
    return f"{', '.join(rows[:LISTED_MAX])}{more}"


def _liveness(liveness: Liveness) -> str:
    who = f"healed {_listed([str(validator) for validator in liveness.healed])}"
    if liveness.needed_deltas is not None:
        took = f"{liveness.needed_deltas:.1f} of at most {liveness.bound_deltas:.0f} Δ"
        return f"{who}, final again after {took}"
    verdict = "a violation" if liveness.expected else "no violation with so much Byzantine stake"
    return f"{who}, no progress within {liveness.bound_deltas:.0f} Δ: {verdict}"
