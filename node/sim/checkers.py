"""The invariants of the protocol, each a named checker over what happened in a run.

Named after consensus 2.12. While less than a third of the stake is Byzantine, whatever a checker
finds is a violation. With more, those marked `needs_bound` may break; then accountability must
hold instead: evidence against more than a third of the stake, and against no honest validator.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from node.sim.accountability import Blame
from node.sim.chronicle import Chronicle, Round, round_of
from node.sim.offences import Offence, offence_of_pair
from state.crypto import Tag
from state.finality import SignedVote, kind_of, set_hash
from state.types import Hash


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold."""

    invariant: str
    view: int
    text: str


@dataclass(frozen=True)
class Evidence:
    """What a checker at the end of a run looks at."""

    chronicle: Chronicle
    honest: frozenset[int]
    offences: tuple[Offence, ...]
    blames: tuple[tuple[int, Blame | None], ...]
    roots: dict[int, dict[Hash, set[int]]]
    """State roots by height, and which honest validators came to them."""
    punished: frozenset[int] = frozenset()
    """Validators that the application of any honest one has punished."""


Check = Callable[[Evidence], Iterator[Violation]]


def agreement(run: Evidence) -> Iterator[Violation]:
    """One final block a height."""
    for height in run.chronicle.contradictions():
        blocks = run.chronicle.final.get(height, {})
        told = ", ".join(
            f"{block.hex()[:8]} at {sorted(who) or 'nobody yet'}" for block, who in blocks.items()
        )
        yield Violation(
            "agreement", _view_of(run, next(iter(blocks), b"")), f"height {height}: {told}"
        )


def one_notarization(run: Evidence) -> Iterator[Violation]:
    """At most one proposal of a view has a quorum of Notarize votes."""
    chronicle = run.chronicle
    for at in chronicle.rounds():
        proposals = {
            one.subject
            for statements in chronicle.statements[at].values()
            for one in statements
            if kind_of(one) is Tag.NOTARIZE
        }
        if len(proposals) > 1:
            strong = [
                each
                for each in proposals
                if chronicle.rotas.is_quorum(at[0], chronicle.supporters(Tag.NOTARIZE, each))
            ]
            if len(strong) > 1:
                yield _at("one-notarization", at, "two proposals have a quorum of Notarize votes")


def finalized_not_nullified(run: Evidence) -> Iterator[Violation]:
    """No view is both finalized and nullified."""
    for at in sorted(run.chronicle.finalizations):
        if at in run.chronicle.nullifications:
            yield _at("finalized-not-nullified", at, "both certificates exist")


def finalized_is_only_digest(run: Evidence) -> Iterator[Violation]:
    """No other proposal is notarized, or finalized, in a finalized view."""
    for at, finalized in sorted(run.chronicle.finalizations.items()):
        others = set(run.chronicle.notarizations.get(at, {})) | set(finalized)
        if len(others) > 1:
            yield _at("finalized-is-only-digest", at, f"{len(others)} proposals have certificates")


def finalization_has_notarization(run: Evidence) -> Iterator[Violation]:
    """Whatever is finalized was notarized: a quorum of Notarize votes exists for it."""
    chronicle = run.chronicle
    for at, finalized in sorted(chronicle.finalizations.items()):
        for proposal in finalized:
            votes = chronicle.supporters(Tag.NOTARIZE, proposal)
            if not chronicle.rotas.is_quorum(at[0], votes):
                text = f"{proposal.block_id.hex()[:8]} has the Notarize votes of {sorted(votes)}"
                yield _at("finalization-has-notarization", at, text)


def finalization_ancestry(run: Evidence) -> Iterator[Violation]:
    """Between a final block's view and its parent's no view is final, and each is nullified."""
    chronicle = run.chronicle
    for at, finalized in sorted(chronicle.finalizations.items()):
        for proposal in finalized:
            for view in range(proposal.parent_view + 1, proposal.view):
                skipped = (proposal.epoch, view)
                if skipped in chronicle.finalizations:
                    yield _at("finalization-ancestry", at, f"it skips the final view {view}")
                if skipped not in chronicle.nullifications:
                    yield _at("finalization-ancestry", at, f"view {view} was not nullified")


def finality_over_certified(run: Evidence) -> Iterator[Violation]:
    """The parent of a final block is certified in the view that the block names (R2)."""
    chronicle = run.chronicle
    for _, blocks in sorted(chronicle.final.items()):
        for header in [chronicle.headers[each] for each in blocks if each in chronicle.headers]:
            at = (header.epoch, header.parent_view)
            if header.parent_view == 0:
                parent = chronicle.headers.get(header.parent_id)
                certified = parent is None or parent.epoch < header.epoch
            else:
                known = (chronicle.notarizations.get(at, {}), chronicle.finalizations.get(at, {}))
                named = {proposal.block_id for held in known for proposal in held}
                certified = header.parent_id in named
            if not certified:
                text = f"height {header.height} stands on what nobody certified"
                yield _at("finality-over-certified", (header.epoch, header.view), text)


def same_state_roots(run: Evidence) -> Iterator[Violation]:
    """Honest validators come to one state root a height."""
    for height, roots in sorted(run.roots.items()):
        if len(roots) > 1:
            told = ", ".join(f"{root.hex()[:8]} at {sorted(who)}" for root, who in roots.items())
            yield Violation("same-state-roots", 0, f"height {height}: {told}")


def sets_as_scheduled(run: Evidence) -> Iterator[Violation]:
    """Every final header names the sets of its epoch and of the next one (settled point 8)."""
    chronicle = run.chronicle
    for height, blocks in sorted(chronicle.final.items()):
        headers = [chronicle.headers.get(block_id) for block_id in blocks]
        for header in [each for each in headers if each is not None]:
            wanted = [set_hash(chronicle.rotas.members(header.epoch + more)) for more in (0, 1)]
            if [header.validators_hash, header.next_validators_hash] != wanted:
                text = f"height {height} names another set than epoch {header.epoch} has"
                yield _at("sets-as-scheduled", (header.epoch, header.view), text)


def honest_commit_no_offence(run: Evidence) -> Iterator[Violation]:
    """No offence is provable against an honest validator."""
    for offence in run.offences:
        if offence.offender in run.honest:
            text = f"{offence.kind} is provable against honest validator {offence.offender}"
            yield _at("honest-commit-no-offence", (offence.epoch, offence.view), text)


def accountability(run: Evidence) -> Iterator[Violation]:
    """A fork names validators with more than a third of the stake, and no honest one."""
    for height, blame in run.blames:
        if blame is None:
            yield Violation("accountability", 0, f"height {height}: nothing held tells who did it")
            continue
        at = (blame.epoch, blame.view)
        rotas = run.chronicle.rotas
        stake = rotas.stake_of(blame.epoch, set(blame.offenders))
        if 3 * stake <= rotas.total(blame.epoch):
            text = f"height {height}: only {list(blame.offenders)} are named, a third or less"
            yield _at("accountability", at, text)
        proven = {one.offender for one in run.offences if (one.epoch, one.view) == at}
        if unproven := sorted(set(blame.offenders) - proven):
            yield _at("accountability", at, f"height {height}: {unproven} are named without proof")
        if innocent := sorted(run.honest & set(blame.offenders)):
            yield _at("accountability", at, f"height {height}: honest {innocent} are named")


def honest_not_punished(run: Evidence) -> Iterator[Violation]:
    """No honest validator is slashed, or out."""
    for validator in sorted(run.honest & run.punished):
        yield Violation("honest-not-punished", 0, f"honest validator {validator} was punished")


SAFETY: tuple[Check, ...] = (
    agreement,
    one_notarization,
    finalized_not_nullified,
    finalized_is_only_digest,
    finalization_has_notarization,
    finalization_ancestry,
    finality_over_certified,
    same_state_roots,
    sets_as_scheduled,
)
"""Hold while less than a third of the stake is Byzantine."""

ALWAYS: tuple[Check, ...] = (honest_commit_no_offence, honest_not_punished, accountability)
"""Hold whoever is Byzantine."""

AS_IT_RUNS = (
    "one-vote-of-a-kind",
    "no-notarize-after-nullify",
    "notarizes-what-holds",
    "durable-before-send",
    "certificates-have-quorum",
    "finality-is-kept",
    "silent-after-loss",
    "honest-never-blamed",
    "engine-never-fails",
    "application-invariants",
    "bounded-memory",
    "progress",
)
"""Invariants that are checked while a run goes on, by those who see them broken."""

NAMES = tuple(
    sorted([check.__name__.replace("_", "-") for check in SAFETY + ALWAYS] + [*AS_IT_RUNS])
)


class HonestVotes:
    """Watches what honest validators sign, in the order in which they sign it (R3, R4, R6)."""

    def __init__(self, report: Callable[[Violation], None]) -> None:
        self._report = report
        self._signed: dict[tuple[int, Round], list[SignedVote]] = {}
        self._lost: dict[int, Round] = {}

    def signed(self, validator: int, statement: SignedVote) -> None:
        """An honest validator lets go of a vote for the first time."""
        at = round_of(statement)
        if at <= self._lost.get(validator, (0, 0)):
            text = f"honest validator {validator} signed {kind_of(statement).name} before its time"
            self._report(_at("silent-after-loss", at, text))
        held = self._signed.setdefault((validator, at), [])
        for earlier in held:
            if kind_of(earlier) is kind_of(statement) and earlier.subject == statement.subject:
                return
        for earlier in held:
            self._compare(validator, earlier, statement)
        held.append(statement)

    def lost(self, validator: int) -> None:
        """A disk is gone: nothing is signed up to any round that was voted in (settled 10)."""
        rounds = [at for who, at in self._signed if who == validator]
        self._lost[validator] = max(rounds, default=(0, 0))

    def _compare(self, validator: int, earlier: SignedVote, statement: SignedVote) -> None:
        who = f"honest validator {validator}"
        if offence_of_pair(earlier, statement) is not None:
            text = (
                f"{who} signed {kind_of(earlier).name} and a conflicting {kind_of(statement).name}"
            )
            self._report(_at("one-vote-of-a-kind", round_of(statement), text))
        if kind_of(earlier) is Tag.NULLIFY and kind_of(statement) is Tag.NOTARIZE:
            text = f"{who} signed NOTARIZE after NULLIFY"
            self._report(_at("no-notarize-after-nullify", round_of(statement), text))


class FinalityIsKept:
    """Watches that what an honest validator holds as final is never replaced, crash or not."""

    def __init__(self, report: Callable[[Violation], None]) -> None:
        self._report = report
        self._held: dict[tuple[int, int], Hash] = {}

    def final(self, endpoint: int, height: int, block_id: Hash, view: int) -> None:
        """An honest endpoint makes a block final."""
        before = self._held.setdefault((endpoint, height), block_id)
        if before != block_id:
            text = f"endpoint {endpoint} replaced {before.hex()[:8]} at height {height}"
            self._report(Violation("finality-is-kept", view, text))


def _at(invariant: str, at: Round, text: str) -> Violation:
    epoch, view = at
    return Violation(invariant, view, f"epoch {epoch}, view {view}: {text}")


def _view_of(run: Evidence, block_id: Hash) -> int:
    header = run.chronicle.headers.get(block_id)
    return 0 if header is None else header.view
