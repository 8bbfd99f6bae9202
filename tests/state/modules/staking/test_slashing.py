"""Slashing: each offence is punished once, its near misses never, and everybody pays alike."""

from typing import Any

import pytest

from state.codec import replace
from state.crypto import Tag
from state.errors import InvalidBlock
from state.execute import BlockInput, apply_block
from state.finality import (
    Conflict,
    Finalize,
    Header,
    Misfit,
    Notarize,
    Nullified,
    Proposal,
    Vote,
    evidence_claims,
)
from state.modules import staking
from state.modules.staking import Delegate, Redelegate, SubmitEvidence, Undelegate, queries
from state.modules.staking.records import SLASHES, Standing
from state.modules.staking.slashing import OFFENCES_MAX


def punishable(network: Any, evidence: Any, height: int | None = None) -> bool:
    at = network.height + 1 if height is None else height
    return staking.is_punishable(network.state, evidence, network.genesis.hash, at)


def submit(network: Any, number: int, evidence: Any) -> SubmitEvidence:
    subject = (evidence.vote if isinstance(evidence, Misfit) else evidence.first).subject
    return SubmitEvidence(subject.epoch, network.public_key(number), evidence)


def header(network: Any, **changes: Any) -> Header:
    plain = Header(1, 0, 3, 2, *[bytes(32), 1, bytes(20)], *[bytes(32)] * 8)
    return replace(plain, **changes)


def misfit(network: Any, number: int, kind: Tag = Tag.NOTARIZE, **changes: Any) -> Misfit:
    """A vote for a proposal that fits its header but for what is changed in the proposal."""
    head = header(network)
    subject = Proposal(head.epoch, head.view, head.parent_view, head.id, head.justify_hash)
    return Misfit(network.vote(kind, number, replace(subject, **changes)), head)


def offences(network: Any) -> dict[str, Any]:
    """One proof of each offence, by validator 1."""
    one, two = network.subject(7, 1), network.subject(7, 2)

    def vote(kind: Tag, subject: Any) -> Any:
        return network.vote(kind, 1, subject)

    return {
        "E1": Conflict(vote(Tag.NOTARIZE, one), vote(Tag.NOTARIZE, two)),
        "E2": Conflict(vote(Tag.FINALIZE, two), vote(Tag.FINALIZE, one)),
        "E3": Conflict(vote(Tag.NULLIFY, Nullified(0, 7)), vote(Tag.FINALIZE, one)),
        "E4": Conflict(vote(Tag.FINALIZE, one), vote(Tag.NOTARIZE, two)),
        "E5": misfit(network, 1, parent_view=1),
    }


KINDS = ("E1", "E2", "E3", "E4", "E5")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["body", "transaction"])
def test_each_offence_is_punished_by_its_fraction(make_network: Any, kind: str, where: str) -> None:
    network = make_network(slash_bps=(100, 200, 300, 400, 500))
    evidence = offences(network)[kind]
    assert punishable(network, evidence)
    if where == "body":
        network.block(evidence=(evidence,), proposer=2)
    else:
        network.accept(2, submit(network, 1, evidence))
    (view,) = queries.slashes(network.context())
    cut = 1_000 * int(kind[1]) // 100
    assert (view.validator, view.slash.offence) == (network.accounts[1], kind)
    assert (view.slash.burned, view.slash.reward) == (cut - cut // 5, cut // 5)
    assert network.validator(1).stake == 1_000 - cut
    assert network.validator(1).standing == Standing.TOMBSTONED
    assert network.burned() == cut - cut // 5
    assert view.slash.reporter == network.accounts[2]
    assert network.validator(0).standing == Standing.ACTIVE


NEAR_MISSES = (
    "another chain",
    "another epoch",
    "another view",
    "the same subject",
    "nullify and notarize",
    "notarize and finalize of one",
    "two validators",
    "a foreign key",
    "no member",
    "finalize signed as notarize",
    "a proposal that fits",
    "the header of another block",
    "an epoch that is not known",
)


def near_misses(network: Any) -> dict[str, Any]:
    """What looks like an offence and is none, or is none of validator 1."""
    one, two = network.subject(7, 1), network.subject(7, 2)

    def vote(kind: Tag, subject: Any, number: int = 1, **more: Any) -> Any:
        return network.vote(kind, number, subject, **more)

    first = vote(Tag.NOTARIZE, one)
    forged = Notarize(two, Vote(1, vote(Tag.NOTARIZE, two, 2).vote.signature))
    head = header(network)
    fit = Proposal(head.epoch, head.view, head.parent_view, head.id, head.justify_hash)
    return {
        "another chain": Conflict(
            vote(Tag.NOTARIZE, one, genesis=bytes(32)), vote(Tag.NOTARIZE, two, genesis=bytes(32))
        ),
        "another epoch": Conflict(first, vote(Tag.NOTARIZE, network.subject(7, 2, epoch=1))),
        "another view": Conflict(first, vote(Tag.NOTARIZE, network.subject(8, 2))),
        "the same subject": Conflict(first, first),
        "nullify and notarize": Conflict(vote(Tag.NULLIFY, Nullified(0, 7)), first),
        "notarize and finalize of one": Conflict(first, vote(Tag.FINALIZE, one)),
        "two validators": Conflict(first, vote(Tag.NOTARIZE, two, 2)),
        "a foreign key": Conflict(first, forged),
        "no member": Conflict(
            Notarize(one, Vote(9, first.vote.signature)),
            Notarize(two, Vote(9, first.vote.signature)),
        ),
        "finalize signed as notarize": Conflict(first, Notarize(two, vote(Tag.FINALIZE, two).vote)),
        "a proposal that fits": Misfit(vote(Tag.NOTARIZE, fit), head),
        "the header of another block": Misfit(
            vote(Tag.NOTARIZE, replace(fit, parent_view=1)), header(network, time_ms=2)
        ),
        "an epoch that is not known": Conflict(
            Notarize(network.subject(7, 1, epoch=9), first.vote),
            Notarize(network.subject(7, 2, epoch=9), first.vote),
        ),
    }


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_no_near_miss_is_punished(network: Any, name: str) -> None:
    found = near_misses(network)
    assert tuple(found) == NEAR_MISSES
    evidence = found[name]
    assert not punishable(network, evidence)
    with pytest.raises(InvalidBlock):
        network.block(evidence=(evidence,))
    assert SLASHES.get(network.state, network.accounts[1]) is None


def test_whole_blocks_are_judged_over_their_parents_state(network: Any) -> None:
    """apply_block itself refuses a bad body and punishes by a good one, before transactions."""
    good, bad = network.double_vote(1), near_misses(network)["nullify and notarize"]

    def run(evidence: Any, late: Any = None) -> Any:
        block = BlockInput(1, 0, network.accounts[2], bytes(32), (), (), late, evidence)
        return apply_block(network.state, block, network.genesis.hash, every_invariant=True)

    for evidence in ((bad,), (good, good), (good, network.double_vote(1, view=8))):
        with pytest.raises(InvalidBlock):
            run(evidence)
    executed = run((good, network.double_vote(3)), network.certificate(Tag.FINALIZE, (0, 1, 2)))
    assert [SLASHES.get(executed.state, a) is not None for a in network.accounts[:4]] == [
        False,
        True,
        False,
        True,
    ]
    assert len(executed.result.events) == 2


def test_a_leader_chooses_one_proof_of_each_offender(network: Any) -> None:
    pool = [
        near_misses(network)["the same subject"],
        network.double_vote(1),
        network.double_vote(1, view=8),
        network.double_vote(2),
    ]
    chosen = staking.choose_evidence(network.state, pool, network.genesis.hash, 1)
    assert chosen == (pool[1], pool[3])
    network.block(evidence=chosen)


def test_verified_signatures_are_not_verified_again(network: Any) -> None:
    """Whatever is known counts as valid, and only exactly that."""
    forged = near_misses(network)["a foreign key"]
    members = staking.members_of(network.state, 0)
    claims = evidence_claims(forged, network.genesis.hash, members)
    args = (network.state, forged, network.genesis.hash, 1)
    assert staking.is_punishable(*args, known=set(claims))
    assert not staking.is_punishable(*args, known={claims[0]})


def test_a_validator_pays_once_and_later_proofs_are_recorded_within_a_bound(network: Any) -> None:
    network.block(evidence=(network.double_vote(1, view=1),))
    burned, stake = network.burned(), network.validator(1).stake
    assert not punishable(network, network.double_vote(1, view=1))
    network.refuse("staking.evidence_known", 5, submit(network, 1, network.double_vote(1, view=1)))
    for view in range(2, OFFENCES_MAX + 1):
        network.block(evidence=(network.double_vote(1, view=view),))
    assert len(queries.offences(network.context(), network.accounts[1])) == OFFENCES_MAX
    assert not punishable(network, network.double_vote(1, view=OFFENCES_MAX + 1))
    assert (network.burned(), network.validator(1).stake) == (burned, stake)


def test_evidence_is_taken_until_its_window_ends_and_not_after(network: Any) -> None:
    """Epoch 0 ends at height 5, and 20 blocks later its evidence is too old."""
    evidence = network.double_vote(1)
    assert punishable(network, evidence, 25)
    assert not punishable(network, evidence, 26)
    network.advance_to(24)
    network.block(evidence=(evidence,))
    late = submit(network, 2, network.double_vote(2))
    network.refuse("staking.evidence_too_old", 5, late)
    assert staking.members_of(network.state, 1)


def test_who_names_another_key_or_epoch_is_refused(network: Any) -> None:
    message = submit(network, 1, network.double_vote(1))
    assert network.block((5, replace(message, epoch=1))) == ["codec.malformed"]
    foreign = Conflict(
        network.vote(Tag.NOTARIZE, 2, network.subject(7, 1)),
        network.vote(Tag.NOTARIZE, 2, network.subject(7, 2)),
    )
    moved = Conflict(
        *[replace(v, vote=replace(v.vote, validator=1)) for v in (foreign.first, foreign.second)]
    )
    assert network.block((5, SubmitEvidence(0, network.public_key(2), moved))) == [
        "staking.evidence_invalid"
    ]


def test_reporting_oneself_brings_nothing(make_network: Any) -> None:
    """By one's own name there is no reward; by another's it is a part of one's own loss."""
    network = make_network()
    network.accept(5, Delegate(network.accounts[1], 10**9))
    network.accept(1, submit(network, 1, network.double_vote(1)))
    assert SLASHES.require(network.state, network.accounts[1]).reward == 0
    other = make_network(reporter_bps=10_000)
    other.accept(5, Delegate(other.accounts[1], 10**9))
    other.accept(6, submit(other, 1, other.double_vote(1)))
    assert SLASHES.require(other.state, other.accounts[1]).reward == 50, "all that it loses itself"
    capped = make_network(reporter_reward_max=3)
    capped.accept(6, submit(capped, 1, capped.double_vote(1)))
    assert SLASHES.require(capped.state, capped.accounts[1]).reward == 3


def test_the_slash_finds_stake_that_left_and_spares_what_left_before(make_network: Any) -> None:
    """The set of epoch 3 was fixed at height 10: what left later answers for it."""
    network = make_network()
    for by in (5, 6, 7, 8):
        network.accept(by, Delegate(network.accounts[1], 1_000))
    network.advance_to(9)
    network.accept(5, Undelegate(network.accounts[1], 1_000))
    network.accept(6, Undelegate(network.accounts[1], 1_000))
    network.accept(7, Redelegate(network.accounts[1], network.accounts[2], 1_000))
    network.advance_to(16)
    supply = network.burned()
    network.block(evidence=(network.double_vote(1, epoch=3),), proposer=1)
    assert network.burned() - supply == 100, "1,000 of the validator and 1,000 of account 8"
    assert network.delegations(7) == {2: 950}
    assert network.delegations(8) == {1: 950}
    expected = [queries.unbondings(network.context(), network.accounts[n])[0] for n in (5, 6)]
    assert [view.expected for view in expected] == [1_000, 950]
    before = [network.balance(n) for n in (5, 6)]
    network.advance_to(45)
    assert [network.balance(n) - b for n, b in zip((5, 6), before, strict=True)] == [1_000, 950]
    assert network.validator(2).stake == 1_950
    assert network.burned() - supply == 200


LATE, EARLY = 4, 1
"""Epochs whose sets were fixed at heights 15 and 0, in epochs of five blocks."""


@pytest.mark.parametrize("proven", [(EARLY,), (EARLY, LATE), (LATE, EARLY), (LATE, 3, EARLY)])
def test_what_has_left_pays_for_the_oldest_offence_in_whatever_order_they_are_proven(
    make_network: Any, proven: tuple[int, ...]
) -> None:
    """No offender saves what left in time by being proven of a later offence first.

    Stake that left at heights 8 to 11 gave weight to the set of epoch 1 and to no later one. What
    was there to the end gave it to both sets, and pays once.
    """
    network = make_network(slash_bps=(5_000,) * 5)
    one, two = network.accounts[1:3]
    for by in (5, 6, 7):
        network.accept(by, Delegate(one, 1_000))
    network.advance_to(7)
    start = network.balance(1)
    network.accept(1, Undelegate(one, 940))
    network.accept(5, Redelegate(one, two, 1_000))
    network.accept(6, Redelegate(one, two, 1_000))
    network.accept(6, Undelegate(two, 400))
    network.advance_to(16)
    network.accept(7, Undelegate(one, 200))
    burned = network.burned()
    for number, epoch in enumerate(proven):
        evidence = network.double_vote(1, view=number + 1, epoch=epoch)
        assert network.block((8, submit(network, 1, evidence))) == ["ok"]
    assert network.delegations(7) == {1: 400}
    assert network.delegations(5) == {2: 500}
    assert network.delegations(6) == {2: 300}
    assert [v.expected for v in queries.unbondings(network.context(), network.accounts[6])] == [200]
    network.advance_to(50)
    assert network.balance(1) - start == 470
    reward = SLASHES.require(network.state, one).reward
    assert network.burned() - burned == 30 + 400 + 100 + 470 + 500 + 500 - reward


def test_no_pile_of_later_proofs_keeps_an_older_one_out(make_network: Any) -> None:
    """An older offence reaches stake that none of them reached, so there is always room for it."""
    network = make_network(slash_bps=(5_000,) * 5)
    network.advance_to(7)
    network.accept(1, Undelegate(network.accounts[1], 900))
    network.advance_to(10)
    for view in range(1, OFFENCES_MAX + 1):
        network.block(evidence=(network.double_vote(1, view, epoch=3),))
    assert not punishable(network, network.double_vote(1, OFFENCES_MAX + 1, epoch=3))
    network.block(evidence=(network.double_vote(1, 1, EARLY),))
    (view,) = queries.unbondings(network.context(), network.accounts[1])
    assert view.expected == 450
    assert not punishable(network, network.double_vote(1, 2, EARLY)), "it reaches no further"


def test_who_leaves_after_the_slash_pays_no_second_time(network: Any) -> None:
    network.accept(5, Delegate(network.accounts[1], 1_000))
    network.block(
        (5, Undelegate(network.accounts[1], 500)),
        evidence=(network.double_vote(1),),
    )
    network.accept(5, Redelegate(network.accounts[1], network.accounts[2], 449))
    assert network.delegations(5) == {2: 449}, "a rounded grain stays with the others"
    assert queries.redelegations(network.context(), network.accounts[5]) == []
    (view,) = queries.unbondings(network.context(), network.accounts[5])
    assert (view.amount, view.expected) == (500, 500)


def test_what_leaves_in_the_block_of_the_proof_pays(network: Any) -> None:
    network.accept(5, Delegate(network.accounts[1], 1_000))
    codes = network.block(
        (5, Undelegate(network.accounts[1], 500)),
        (6, submit(network, 1, network.double_vote(1))),
        (5, Undelegate(network.accounts[1], 475)),
    )
    assert codes == ["ok"] * 3
    views = queries.unbondings(network.context(), network.accounts[5])
    assert sorted([view.expected for view in views]) == [475, 475]


def test_a_slashed_validator_is_out(network: Any) -> None:
    network.block(evidence=(network.double_vote(1),))
    refusals = [
        (5, Delegate(network.accounts[1], 100), "staking.tombstoned"),
        (1, staking.Unjail(), "staking.tombstoned"),
        (1, network.create(1), "staking.already_validator"),
    ]
    for by, message, code in refusals:
        network.refuse(code, by, message)
    network.accept(5, Delegate(network.accounts[2], 100))
    network.refuse(
        "staking.tombstoned", 5, Redelegate(network.accounts[2], network.accounts[1], 100)
    )
    earned = network.validator(1).commission
    network.block(fees=10_000, proposer=1)
    assert network.validator(1).commission == earned
    assert network.delegations(1) == {1: 950}
    assert [v.rewards for v in queries.delegations(network.context(), network.accounts[1])] == [0]
    network.advance_to(10)
    sets = [[m.account for m in staking.members_of(network.state, e)] for e in (0, 1, 2, 3)]
    out = network.accounts[1]
    assert [out in members for members in sets] == [True, True, False, False]


def test_finalize_votes_make_misfits_too(network: Any) -> None:
    evidence = misfit(network, 1, Tag.FINALIZE, view=2)
    assert isinstance(evidence.vote, Finalize)
    assert punishable(network, evidence)
