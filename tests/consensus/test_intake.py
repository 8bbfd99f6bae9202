"""What comes from peers: what is refused, what is bounded, and what a hostile leader cannot do."""

from dataclasses import replace
from typing import Any

import pytest

from consensus.catchup import SERVED_MAX
from consensus.effects import ALL, EvidenceFound, ExecuteBlock, Halt, Send, SignVote
from consensus.intake import HINTS_MAX
from consensus.messages import (
    Block,
    BlockReply,
    BlockRequest,
    BoundaryRequest,
    CertificateRequest,
    JustifyReply,
    JustifyRequest,
    Propose,
    Status,
)
from state import codec
from state.crypto import Tag
from state.finality import (
    Finalization,
    Justify,
    Notarize,
    Nullified,
    Nullify,
    Proposal,
    Vote,
    clash,
    justify_hash,
)

FIRST = Justify(None, ())


def of(effects: list[Any], kind: Any) -> list[Any]:
    return [one for one in effects if isinstance(one, kind)]


def answers(effects: list[Any], kind: Any) -> list[Any]:
    return [one.message for one in of(effects, Send) if isinstance(one.message, kind)]


@pytest.fixture
def rig(forge: Any) -> Any:
    """A node in view 1, which another validator leads."""
    made = forge()
    if made.leader(1) == 0:
        made.send(1, made.nullified(1))
    return made


def proposal_for(rig: Any, **changes: Any) -> Propose:
    view = rig.node.core.epoch.view
    justify = Justify(None, tuple([rig.nullified(at) for at in range(1, view)]))
    found: Propose = rig.propose(view, rig.net.genesis, justify, **changes)
    return found


def test_a_good_proposal_is_executed_and_notarized(rig: Any) -> None:
    propose = proposal_for(rig)
    effects = rig.send(1, propose)
    assert [one.block_id for one in of(effects, ExecuteBlock)] == [propose.header.id]
    assert [one.kind for one in of(effects, SignVote)] == [Tag.NOTARIZE]
    assert [one.to for one in of(effects, Send) if isinstance(one.message, Notarize)] == [ALL]


@pytest.mark.parametrize("break_it", ["leader", "header", "justify", "signature", "far"])
def test_r3_what_is_no_proposal_of_the_leader_is_not_looked_at(rig: Any, break_it: str) -> None:
    good = proposal_for(rig)
    broken = {
        "leader": codec.replace(good, vote=Vote((good.vote.validator + 1) % 4, bytes(64))),
        "header": codec.replace(good, header=codec.replace(good.header, time_ms=7)),
        "justify": codec.replace(good, justify=Justify(None, (rig.nullified(9),))),
        "signature": codec.replace(good, vote=Vote(good.vote.validator, bytes(64))),
        "far": codec.replace(good, proposal=codec.replace(good.proposal, view=10**9)),
    }[break_it]
    effects = rig.send(1, broken)
    assert not of(effects, SignVote)
    assert rig.node.core.epoch.current.proposal is None
    assert len(rig.node.core.blocks) == 0


def test_a_forged_proposal_costs_one_verification_whatever_it_stands_on(rig: Any) -> None:
    gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, 40)])
    view = next(at for at in range(40, 60) if rig.leader(at) != 0)
    for at in range(1, view):
        rig.send(1, rig.nullified(at, 1, 2, 3))
    good = rig.propose(view, rig.net.genesis, Justify(None, gap))
    forged = codec.replace(good, vote=Vote(good.vote.validator, bytes(64)))
    before = rig.net.claims
    rig.send(2, forged)
    assert rig.net.claims == before + 1
    rig.send(2, good)
    assert rig.node.core.epoch.current.proposal == good.proposal


def test_r4_a_signed_proposal_whose_link_does_not_hold_is_nullified_at_once(rig: Any) -> None:
    view = rig.node.core.epoch.view
    weak = Justify(None, tuple([rig.nullified(at, 0, 1) for at in range(1, view + 1)]))
    effects = rig.send(1, rig.propose(view, rig.net.genesis, weak))
    assert [one.kind for one in of(effects, SignVote)] == [Tag.NULLIFY]


def test_e5_a_proposal_that_its_header_contradicts_is_evidence_and_nullified(rig: Any) -> None:
    view = rig.node.core.epoch.view
    misfit = proposal_for(rig, view=view + 1)
    effects = rig.send(1, misfit)
    found = [one.evidence for one in of(effects, EvidenceFound)]
    assert [verify_with(rig, one) for one in found] == ["E5"]
    assert [one.kind for one in of(effects, SignVote)] == [Tag.NULLIFY]
    assert len(rig.node.core.blocks) == 0
    again = rig.send(2, misfit)
    assert not of(again, EvidenceFound), "once is enough"


def verify_with(rig: Any, evidence: Any) -> str:
    """What state would say; signatures of tests are not those of the chain, so only the rule."""
    if hasattr(evidence, "header"):
        about = evidence.header.id == evidence.vote.subject.block_id
        return "E5" if about else ""
    return clash(evidence.first, evidence.second)


def test_a_leader_cannot_make_a_sound_block_look_invalid(rig: Any) -> None:
    """It names a block under a justification that the block's header does not commit to."""
    good = proposal_for(rig)
    view = good.proposal.view
    others = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, view)])
    poison = Justify(None, others) if others else Justify(None, (rig.nullified(1, 1, 2, 3),))
    proposal = codec.replace(good.proposal, justify_hash=justify_hash(poison))
    vote = rig.vote(Tag.NOTARIZE, proposal, good.vote.validator).vote
    rig.send(1, Propose(proposal, vote, good.header, poison, good.body))
    final = rig.certificate(Tag.FINALIZE, good.proposal)
    block = Block(good.header, good.justify, good.body)
    effects = rig.send(2, final) + rig.send(2, BlockReply((block,)))
    assert not of(effects, Halt)
    assert rig.node.halted is None
    assert rig.node.height == 1


def test_a_body_that_is_not_the_headers_is_not_taken_and_the_right_one_is(rig: Any) -> None:
    good = proposal_for(rig)
    rig.send(1, codec.replace(good, body=b"another"))
    assert rig.node.core.blocks.get(good.header.id) is None
    effects = rig.send(2, BlockReply((Block(good.header, good.justify, good.body),)))
    assert [one.kind for one in of(effects, SignVote)] == [Tag.NOTARIZE]


def test_blocks_that_nobody_asked_for_are_not_taken(rig: Any) -> None:
    """Of a reply only what was asked for is looked at, however many blocks hang on it."""
    one = proposal_for(rig)
    stranger = BlockReply((Block(one.header, one.justify, one.body),))
    rig.send(3, stranger)
    assert len(rig.node.core.blocks) == 0
    chain = [Block(one.header, one.justify, one.body)]
    for view in range(2, 30):
        parent = replace(rig.net.genesis, header=chain[0].header, block_id=chain[0].header.id)
        later = rig.propose(view, parent, FIRST, height=view, parent_view=view - 1)
        chain.insert(0, Block(later.header, later.justify, later.body))
    top = Proposal(0, rig.node.core.epoch.view, 0, chain[0].header.id, b"j" * 32)
    rig.send(1, rig.vote(Tag.NOTARIZE, top, rig.leader(top.view)))
    rig.send(1, BlockReply(tuple(chain)))
    assert len(rig.node.core.blocks) <= 1


def test_2_7_votes_far_ahead_or_far_behind_are_not_counted(rig: Any) -> None:
    view = rig.node.core.epoch.view
    for far in (view + 17, 10**12):
        rig.send(1, rig.vote(Tag.NULLIFY, Nullified(0, far), 1))
        assert far not in rig.node.core.epoch.views
    rig.send(1, rig.vote(Tag.NULLIFY, Nullified(0, view + 16), 1))
    assert view + 16 in rig.node.core.epoch.views


def test_2_7_a_certificate_is_taken_from_any_view_and_moves_us(rig: Any) -> None:
    rig.send(1, rig.nullified(5_000, 1, 2, 3))
    assert rig.node.core.epoch.view == 5_001


@pytest.mark.parametrize("votes", ["few", "twice", "down", "stranger"])
def test_certificates_that_are_none_move_nobody(rig: Any, votes: str) -> None:
    good = rig.nullified(7)
    broken = {
        "few": good.votes[:2],
        "twice": (good.votes[0], good.votes[0], good.votes[1], good.votes[2]),
        "down": good.votes[::-1],
        "stranger": (*good.votes[:2], Vote(9, bytes(64))),
    }[votes]
    before = rig.node.core.epoch.view
    rig.send(1, codec.replace(good, votes=broken))
    assert rig.node.core.epoch.view == before
    assert 7 not in rig.node.core.epoch.views


def test_settled_7_another_epochs_messages_are_only_hints(rig: Any) -> None:
    later = Nullified(3, 1)
    effects = rig.send(1, rig.certificate(Tag.NULLIFY, later))
    assert answers(effects, BoundaryRequest) == [BoundaryRequest(0)]
    assert not answers(rig.send(1, rig.vote(Tag.NULLIFY, later, 1)), BoundaryRequest), "once"
    assert rig.node.core.epoch.number == 0


def test_settled_7_hints_are_few(forge: Any) -> None:
    rig = forge(13)
    for at in range(1, 13):
        one = rig.propose(1, rig.net.genesis, FIRST)
        rig.send(at, codec.replace(one, proposal=codec.replace(one.proposal, epoch=1)))
    assert len(rig.node.core.hints) == HINTS_MAX


def test_requests_of_one_peer_are_answered_so_often_and_others_not_kept_waiting(rig: Any) -> None:
    rig.send(1, rig.nullified(rig.node.core.epoch.view, 1, 2, 3))
    view = rig.node.core.epoch.view - 1
    for request in (CertificateRequest(0, view), BlockRequest(rig.net.genesis.block_id, 1)):
        rig.send(1, *[request] * SERVED_MAX)
        assert not [one for one in rig.send(1, *[request] * 50) if isinstance(one, Send)]
    assert answers(rig.send(2, CertificateRequest(0, view)), object)
    rig.net.now += 1_000
    assert answers(rig.send(1, CertificateRequest(0, view)), object)


def test_consensus_2_6_who_is_behind_is_helped_and_who_claims_is_not_believed(rig: Any) -> None:
    view = rig.node.core.epoch.view
    rig.send(1, rig.nullified(view, 1, 2, 3))
    rig.net.now += 500
    behind = Status(0, view, 0, 0, 0, rig.net.genesis.block_id)
    assert answers(rig.send(2, behind), object) == [rig.nullified(view, 1, 2, 3)]
    rig.send(2, Status(0, 10**9, 9, 10**9, 10**9, b"x" * 32))
    assert rig.node.core.epoch.view == view + 1


def test_2_6_f_an_old_nullify_is_answered_with_what_frees_it(rig: Any) -> None:
    view = rig.node.core.epoch.view
    rig.send(1, rig.nullified(view, 1, 2, 3))
    stuck = rig.vote(Tag.NULLIFY, Nullified(0, view), 0)
    assert isinstance(stuck, Nullify)
    assert answers(rig.send(2, codec.replace(stuck, vote=Vote(2, bytes(64)))), object)


def test_settled_17_a_link_that_was_asked_for_is_taken_and_no_other(rig: Any) -> None:
    stray = Justify(None, (rig.nullified(3),))
    rig.send(1, JustifyReply(stray))
    assert justify_hash(stray) not in rig.node.core.links
    assert answers(rig.send(2, JustifyRequest(justify_hash(stray))), object) == []


def test_two_certificates_of_the_previous_end_are_evidence_and_the_end(network: Any) -> None:
    """E2 across a boundary: only a justification can show it, and both finals cannot be."""
    net = network(4, epoch_blocks=2).start()
    net.run_to(3, 5_000)
    node = net.nodes[0]
    boundary = node.core.epoch.boundary.finalization
    assert isinstance(boundary, Finalization)
    other = codec.replace(boundary.subject, block_id=b"o" * 32)
    node.core.take_in(codec.replace(boundary, subject=other))
    found = of(node.core.out, EvidenceFound)
    assert len(found) >= 3
    assert {clash(one.evidence.first, one.evidence.second) for one in found} == {"E2"}
    assert of(node.core.out, Halt)
    node.core.out.clear()
    again = codec.replace(boundary, subject=codec.replace(boundary.subject, view=99))
    node.core.is_halted = False
    node.core.take_in(again)
    assert not node.core.out, "the same block, final in a later view too"
