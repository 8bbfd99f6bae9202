"""From what a run left behind to its report and its verdict."""

from collections import Counter
from dataclasses import asdict, dataclass

from node.sim.accountability import Blame
from node.sim.checkers import NAMES, Evidence, Violation
from node.sim.measure import Figures
from node.sim.report import (
    ApplicationRow,
    ByzantineRow,
    EvidenceRow,
    Liveness,
    Report,
    Verdict,
    ViolationRow,
)
from node.sim.rotas import Rotas
from node.sim.scenario import Scenario
from node.sim.world import Trace

SENTENCES = {
    Verdict.NOTHING_BROKE: "Nothing broke.",
    Verdict.BROKEN: "An invariant broke.",
    Verdict.FORKED_WITH_EVIDENCE: "The chain forked, and the evidence names who did it.",
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Everything that a report is made of."""

    scenario: Scenario
    evidence: Evidence
    violations: tuple[Violation, ...]
    views: int
    traffic: tuple[int, int]
    """Messages and bytes sent before the liveness phase."""
    liveness: Liveness
    application: ApplicationRow | None
    figures: Figures
    heights: tuple[int, ...]
    """Of honest validators that are up."""
    crashes: int
    virtual_ms: int
    trace: Trace
    seconds: float


def make_report(ending: Ending) -> Report:
    """Return the report of a run."""
    scenario, evidence = ending.scenario, ending.evidence
    forks = evidence.blames
    verdict = verdict_of(bool(ending.violations), bool(forks))
    blocks = len(evidence.chronicle.final)
    shares = [count / blocks / len(scenario.stakes) if blocks else None for count in ending.traffic]
    kinds = Counter((offence.offender, offence.kind) for offence in evidence.offences)
    return Report(
        seed=scenario.options.seed,
        options=scenario.options,
        verdict=SENTENCES[verdict],
        exit_code=int(verdict),
        validators=list(scenario.stakes),
        byzantine=[
            ByzantineRow(validator, kind, scenario.stakes[validator])
            for validator, kind in sorted(scenario.byzantine.items())
        ],
        views=ending.views,
        finalized_height=min(ending.heights, default=0),
        views_nullified=len(evidence.chronicle.nullifications),
        **asdict(ending.figures),
        messages_per_block_and_validator=shares[0],
        bytes_per_block_and_validator=shares[1],
        crashes=ending.crashes,
        forks=len(forks),
        evidence=[
            EvidenceRow(offender, kind, offender in scenario.byzantine, views)
            for (offender, kind), views in sorted(kinds.items())
        ],
        evidence_stake_fraction=stake_fraction(evidence),
        invariants=list(NAMES),
        violations=[ViolationRow(v.invariant, v.view, v.text) for v in ending.violations],
        liveness=ending.liveness,
        application=ending.application,
        virtual_ms=ending.virtual_ms,
        trace_hash=ending.trace.hash,
        trace_records=ending.trace.records,
        trace_marks=ending.trace.marks,
        seconds=round(ending.seconds, 3),
    )


def verdict_of(is_broken: bool, is_forked: bool) -> Verdict:
    """Return how a run ended: a fork without a violation has complete evidence."""
    if is_broken:
        return Verdict.BROKEN
    return Verdict.FORKED_WITH_EVIDENCE if is_forked else Verdict.NOTHING_BROKE


def stake_fraction(evidence: Evidence) -> float:
    """Return the stake of all offenders over the total, or with forks the least over forks.

    Stakes are those of genesis, or of the epoch in which the chain forked.
    """
    rotas = evidence.chronicle.rotas
    if evidence.blames:
        return min(_blamed(rotas, blame) for _, blame in evidence.blames)
    return rotas.stake_of(0, {each.offender for each in evidence.offences}) / rotas.total(0)


def _blamed(rotas: Rotas, blame: Blame | None) -> float:
    if blame is None:
        return 0.0
    return rotas.stake_of(blame.epoch, set(blame.offenders)) / rotas.total(blame.epoch)
