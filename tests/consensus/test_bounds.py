"""Bounded memory: hostile validators send what looks valid, for long, and every container holds.

One of four is hostile, with the right to vote and to lead: the worst that the protocol tolerates.
Finality does not come at first, which is when most has to be kept.
"""

from typing import Any

import pytest

from consensus.catchup import PEERS_REMEMBERED_MAX, RELAYS_MAX, WANTS_MAX
from consensus.effects import EvidenceFound, ExecuteBlock, Journal, Send
from consensus.epoch import VIEWS_AHEAD_MAX, VIEWS_BEHIND_MAX
from consensus.intake import HINTS_MAX
from consensus.messages import (
    Block,
    BlockReply,
    BlockRequest,
    BoundaryRequest,
    CertificateRequest,
    JustifyReply,
    JustifyRequest,
    Status,
)
from consensus.verdicts import CLAIMS_AT_ONCE
from consensus.votes import VOTES_MAX
from state import codec
from state.crypto import Tag
from state.finality import (
    Justify,
    Misfit,
    Notarize,
    Nullification,
    Nullified,
    Proposal,
    Vote,
    clash,
    offender,
)

HOSTILE = 3
ROUNDS = 60
WINDOW = VIEWS_AHEAD_MAX + VIEWS_BEHIND_MAX + 1
"""Views around the current one of which a leader may have something kept."""


def hash_of(*numbers: int) -> bytes:
    return b"".join([number.to_bytes(8, "big") for number in numbers]).ljust(32, b"x")


def flood(rig: Any, number: int) -> None:
    """One round of everything that a hostile validator can think of."""
    view = rig.node.core.epoch.view
    sent: list[Any] = []
    for ahead in range(-2, VIEWS_AHEAD_MAX + 3):
        at = max(1, view + ahead)
        sent += [rig.vote(Tag.NULLIFY, Nullified(0, at), HOSTILE)]
        for kind in (Tag.NOTARIZE, Tag.FINALIZE):
            for copy in range(4):
                subject = Proposal(0, at, at - 1, hash_of(number, at, copy), hash_of(copy))
                sent.append(rig.vote(kind, subject, HOSTILE))
        if rig.leader(at) == HOSTILE:
            for height in (1, 2, 10**9):
                orphan = rig.propose(
                    at,
                    rig.net.genesis,
                    Justify(None, ()),
                    height=height,
                    parent_id=hash_of(number, at, height),
                    parent_view=at - 1,
                )
                sent += [orphan, BlockReply((Block(orphan.header, orphan.justify, b"x"),))]
                later = codec.replace(orphan.proposal, epoch=1)
                sent.append(codec.replace(orphan, proposal=later))
    far = rig.vote(Tag.NULLIFY, Nullified(0, 10**15 + number), HOSTILE)
    many = tuple([Vote(one, bytes(64)) for one in range(200)])
    sent += [
        far,
        codec.replace(rig.nullified(view), votes=many),
        codec.replace(rig.nullified(view), votes=many[::-1]),
        JustifyReply(Justify(None, (rig.nullified(view + number % 9),))),
        Status(0, 10**12 + number, 0, 10**12, 10**12, hash_of(number)),
        Status(number, number, number, number, number, hash_of(number)),
        CertificateRequest(0, number),
        BlockRequest(hash_of(number), 32),
        JustifyRequest(hash_of(number)),
        BoundaryRequest(number),
    ]
    rig.send(HOSTILE, *sent)


def holds_its_bounds(rig: Any) -> None:
    """Each container against its bound, by the named constants that hold it."""
    core, validators = rig.node.core, len(rig.net.members)
    epoch, catchup = core.epoch, core.catchup
    alive = epoch.view - epoch.final_view + WINDOW
    assert len(epoch.views) <= alive
    assert max(epoch.views) <= epoch.view + VIEWS_AHEAD_MAX
    for view in epoch.views.values():
        for kind in (Tag.NOTARIZE, Tag.NULLIFY, Tag.FINALIZE):
            assert all(len(view.tally.votes_of(at, kind)) <= VOTES_MAX for at in range(validators))
    window = range(max(1, epoch.view - VIEWS_BEHIND_MAX), epoch.view + VIEWS_AHEAD_MAX + 1)
    own, hostile = [[rig.leader(at) for at in window].count(one) for one in (0, HOSTILE)]
    assert len(core.blocks) <= own + VOTES_MAX * hostile
    assert len(core.links) <= VOTES_MAX * alive
    assert len(epoch.notarized) <= alive
    assert len(epoch.undecided) <= alive
    assert len(core.hints) <= HINTS_MAX
    assert len(core.proved) + len(core.claimed) <= 2 * validators
    assert len(catchup.seen) <= validators
    assert len(catchup._wants) <= min(WANTS_MAX, VOTES_MAX * WINDOW + validators)
    assert len(catchup._relays) <= RELAYS_MAX
    assert len(catchup._helped) <= PEERS_REMEMBERED_MAX
    assert len(catchup._served) <= PEERS_REMEMBERED_MAX
    assert not core.out


def test_a_flood_by_one_of_four_holds_every_bound(forge: Any) -> None:
    rig = forge()
    for number in range(ROUNDS):
        flood(rig, number)
        rig.net.run(700)
        holds_its_bounds(rig)
        rig.send(1, rig.nullified(rig.node.core.epoch.view, 1, 2, 3))
    assert rig.node.core.epoch.view == ROUNDS + 1
    final = rig.node.core.epoch.view - 1
    gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, final)])
    good = rig.propose(final, rig.net.genesis, Justify(None, gap))
    rig.send(1, rig.certificate(Tag.FINALIZE, good.proposal, 1, 2, 3))
    rig.send(1, BlockReply((Block(good.header, good.justify, good.body),)))
    assert rig.node.height == 1, "through all this the chain goes on"
    core = rig.node.core
    assert len(core.epoch.views) <= VIEWS_BEHIND_MAX + VIEWS_AHEAD_MAX + 2
    assert all(entry.header.view <= final + WINDOW for entry in core.blocks._entries.values())
    holds_its_bounds(rig)


def test_a_flood_is_reported_once_for_each_offence_and_not_echoed(forge: Any) -> None:
    """E1 to E5 of one validator in one view are five reports, whatever else it signs."""
    rig = forge()
    for number in range(30):
        flood(rig, number)
    found = [one.evidence for one in rig.node.effects if isinstance(one, EvidenceFound)]
    shown = [
        (one.vote.subject.view, "E5")
        if isinstance(one, Misfit)
        else (one.first.subject.view, clash(one.first, one.second))
        for one in found
    ]
    assert {offence for _, offence in shown} == {"E1", "E2", "E3", "E4", "E5"}
    assert len(shown) == len(set(shown))
    assert {offender(one) for one in found} == {HOSTILE}
    sends = [one for one in rig.node.effects if isinstance(one, Send) and one.to != b""]
    assert len(sends) < 30 * 8
    records = [one for one in rig.node.effects if isinstance(one, Journal)]
    assert len(records) < 10, "what a peer says alone is not worth a record"


def test_strangers_leave_nothing_behind(forge: Any) -> None:
    """Peers that are no validators may ask, and are forgotten one for another."""
    rig = forge()
    node = rig.node
    for number in range(2 * PEERS_REMEMBERED_MAX):
        stranger = hash_of(number)
        for message in (Status(0, 9, 0, 0, 0, hash_of(1)), BoundaryRequest(5)):
            node.feed(rig.received(stranger, message))
    assert len(node.core.catchup.seen) == 0
    holds_its_bounds(rig)


def test_leaders_who_name_blocks_that_are_not_stop_nobody_from_asking(forge: Any) -> None:
    """Certified blocks are asked for, however many have been named that do not exist."""
    rig = forge()
    for view in range(1, 700):
        leader = rig.leader(view)
        if leader:
            for copy in range(2):
                bogus = Proposal(0, view, view - 1, hash_of(view, copy), hash_of(copy))
                rig.send(leader, rig.vote(Tag.NOTARIZE, bogus, leader))
        if view % 40 == 0:
            rig.send(1, rig.nullified(view, 1, 2, 3))
    view = rig.node.core.epoch.view
    real = Proposal(0, view, view - 1, hash_of(7), hash_of(8))
    rig.send(1, rig.certificate(Tag.NOTARIZE, real, 1, 2, 3))
    assert rig.node.core.catchup.wants(real.block_id)


def many_of(rig: Any, count: int) -> tuple[int, list[Any]]:
    """A view that the hostile validator leads, and so many blocks of it that are all sound."""
    view = next(at for at in range(2, 9) if rig.leader(at) == HOSTILE)
    gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, view)])
    rig.send(1, *gap)
    genesis = rig.net.genesis
    times = range(genesis.header.time_ms + 1, genesis.header.time_ms + 1 + count)
    return view, [rig.propose(view, genesis, Justify(None, gap), time_ms=at) for at in times]


@pytest.mark.parametrize("form", ["proposals", "votes", "both"])
@pytest.mark.parametrize("together", [1, 300])
def test_of_a_leader_two_blocks_count_however_many_come_at_once(
    forge: Any, form: str, together: int
) -> None:
    """In one batch as one by one: what is asked beforehand would let all of a batch through."""
    rig = forge()
    view, proposals = many_of(rig, 300)
    said = [
        one
        for propose in proposals
        for one in (
            *([propose] if form != "votes" else []),
            *([Notarize(propose.proposal, propose.vote)] if form != "proposals" else []),
            *([BlockReply((block_of(propose),))] if form == "both" else []),
        )
    ]
    rig.node.effects.clear()
    for at in range(0, len(said), together):
        rig.send(HOSTILE, *said[at : at + together])
    core = rig.node.core
    assert len(core.epoch.at(view).tally.votes_of(HOSTILE, Tag.NOTARIZE)) == VOTES_MAX
    executed = [one for one in rig.node.effects if isinstance(one, ExecuteBlock)]
    assert len(executed) <= VOTES_MAX >= len(core.blocks)
    assert len(core.links) <= view + VOTES_MAX
    assert len(core.epoch.at(view).refused) <= VOTES_MAX
    assert len(core.catchup._wants) <= VOTES_MAX


def block_of(propose: Any) -> Block:
    return Block(propose.header, propose.justify, propose.body)


def hollow_gap(first: int, count: int, voters: int) -> tuple[Nullification, ...]:
    """Nullifications of so many views, with votes of everybody that nobody has cast."""
    votes = tuple([Vote(at, bytes([at]) * 64) for at in range(voters)])
    return tuple([Nullification(Nullified(0, first + at), votes) for at in range(count)])


@pytest.mark.parametrize("skipped", [64, 65, 1_000])
@pytest.mark.parametrize("in_the_gap", [False, True])
@pytest.mark.parametrize("as_reply", [False, True])
def test_a_forged_justification_costs_few_signatures(
    forge: Any, skipped: int, in_the_gap: bool, as_reply: bool
) -> None:
    """Shape before signatures, and of those no more than a piece once one is false."""
    rig = forge(100)
    rig.send(1, rig.nullified(skipped + 1, *range(100)))
    view = next(at for at in range(skipped + 2, skipped + 9) if rig.leader(at) != 0)
    first = view - skipped if in_the_gap else 10**6
    real = tuple([rig.nullified(at, *range(100)) for at in range(1, first)]) if in_the_gap else ()
    justify = Justify(None, (*real, *hollow_gap(first, skipped, 100)))
    propose = rig.propose(view, rig.net.genesis, justify)
    before = rig.net.claims
    if as_reply:
        rig.send(1, Notarize(propose.proposal, propose.vote))
        rig.send(1, BlockReply((block_of(propose),)))
    else:
        rig.send(1, *[propose] * 8)
    assert rig.net.claims - before <= 9 + (2 * CLAIMS_AT_ONCE if in_the_gap else 0)
    assert propose.proposal.block_id not in rig.node.core.blocks._entries
