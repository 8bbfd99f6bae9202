"""Bounded memory: hostile validators send what looks valid, for long, and every container holds.

One of four is hostile, with the right to vote and to lead: the worst that the protocol tolerates.
Finality does not come at first, which is when most has to be kept.
"""

from typing import Any

from consensus.catchup import PEERS_REMEMBERED_MAX, RELAYS_MAX, WANTS_MAX
from consensus.effects import EvidenceFound, Journal, Send
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
from consensus.votes import VOTES_MAX
from state import codec
from state.crypto import Tag
from state.finality import Justify, Misfit, Nullified, Proposal, Vote, clash, offender

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
