"""What a node knows: votes become certificates, logged once, and contradictions halt it."""

from typing import Any

import pytest

from consensus.blocks import Standing
from consensus.effects import Halt, Journal, Send, SignVote, StoreLink
from consensus.messages import (
    Block,
    BlockReply,
    BlockRequest,
    JustifyReply,
    JustifyRequest,
    Propose,
)
from state import codec
from state.crypto import Tag
from state.finality import Finalization, Justify, Notarization, Nullified, Proposal, justify_hash

A = Proposal(0, 3, 2, b"a" * 32, b"j" * 32)


def of(effects: list[Any], kind: Any) -> list[Any]:
    return [one for one in effects if isinstance(one, kind)]


@pytest.fixture
def rig(forge: Any) -> Any:
    return forge()


def test_votes_of_a_quorum_become_a_certificate_that_is_logged_before_it_is_sent(rig: Any) -> None:
    votes = [rig.vote(Tag.NOTARIZE, A, at) for at in (1, 2, 3)]
    assert not of(rig.send(1, *votes[:2]), Journal)
    effects = rig.send(1, votes[2], votes[2])
    logged = [record for one in of(effects, Journal) for record in one.records]
    assert logged == [Notarization(A, tuple([one.vote for one in votes]))]
    passed = [one for one in of(effects, Send) if one.message == logged[0]]
    assert all(effects.index(one) > effects.index(of(effects, Journal)[0]) for one in passed)


def test_r5_a_certificate_is_logged_once_however_often_it_is_shown(
    rig: Any,
) -> None:
    for signers in ((1, 2, 3), (0, 1, 2), (1, 2, 3), (0, 1, 2, 3)):
        rig.send(1, rig.certificate(Tag.NOTARIZE, A, *signers))
        rig.send(2, rig.nullified(2, *signers))
    assert len(rig.node.disk.records) == 2


def test_a_certified_block_is_asked_of_everybody_when_its_voters_do_not_answer(forge: Any) -> None:
    """One who voted may have lost it in a crash, and the other voters may answer nobody."""
    rig = forge(7)
    silent = (1, 2, 3, 4, 5)
    rig.send(1, rig.certificate(Tag.NOTARIZE, A, *silent))
    rig.net.run(20_000)
    requests = [one for one in of(rig.node.effects, Send) if isinstance(one.message, BlockRequest)]
    assert {one.message.block_id for one in requests} == {A.block_id}
    names = [member.public_key for member in rig.net.members]
    asked = list(dict.fromkeys([names.index(one.to) for one in requests]))
    leader = rig.node.driver.core.epoch.validators.leader(A.view)
    assert asked[0] == leader or leader == 0, "first whoever made it"
    assert set(asked) == {1, 2, 3, 4, 5, 6}
    assert asked.index(6) == 5 or leader == 6, "those who have not voted for it come last"


@pytest.mark.parametrize(("view", "count", "wait_ms"), [(1, 1, 100), (3, 3, 100), (4, 4, 0)])
def test_who_is_far_behind_asks_at_once_for_all_that_may_be_missing(
    rig: Any, view: int, count: int, wait_ms: int
) -> None:
    """What is near is under way, and asking would only double it; views say how far it is."""
    target = codec.replace(A, view=view, parent_view=view - 1)
    rig.send(1, rig.vote(Tag.NOTARIZE, target, rig.leader(view) or 1))
    rig.send(1, rig.certificate(Tag.FINALIZE, target, 1, 2, 3))

    def asked() -> list[Any]:
        return [one.message for one in of(rig.node.effects, Send) if one.message in wanted]

    wanted = [BlockRequest(target.block_id, at) for at in range(1, 33)]
    assert rig.node.core.settings.timeouts.relay_ms == 100
    assert bool(asked()) is (wait_ms == 0)
    rig.net.run(wait_ms + 5)
    assert set(asked()) == {BlockRequest(target.block_id, count)}


def test_two_final_blocks_of_one_view_halt_the_node_for_good(rig: Any) -> None:
    other = codec.replace(A, block_id=b"b" * 32)
    rig.send(1, rig.certificate(Tag.FINALIZE, A, 1, 2, 3))
    effects = rig.send(1, rig.certificate(Tag.FINALIZE, other, 1, 2, 3))
    assert of(effects, Halt)
    assert rig.send(1, rig.nullified(90, 1, 2, 3)) == [], "nothing moves it any more"


def test_a_final_block_that_passes_what_is_final_by_halts_the_node(rig: Any) -> None:
    def proposed(view: int, **changes: Any) -> Propose:
        gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, view)])
        found: Propose = rig.propose(view, rig.net.genesis, Justify(None, gap), **changes)
        return found

    views = [at for at in range(1, 9) if rig.leader(at) != 0]
    low, high = proposed(views[0]), proposed(views[1])
    for one in (low, high):
        rig.send(1, *one.justify.nullifications, one)
    assert not of(rig.send(1, rig.certificate(Tag.FINALIZE, low.proposal, 1, 2, 3)), Halt)
    assert rig.node.height == 1
    assert not of(rig.send(1, rig.certificate(Tag.FINALIZE, high.proposal, 1, 2, 3)), Halt)
    block = Block(high.header, high.justify, high.body)
    assert of(rig.send(1, BlockReply((block,))), Halt), "it cannot stand on the tip"


def test_settled_17_a_reproposal_waits_for_its_own_justification(forge: Any) -> None:
    """Its header names the first one; the new one is asked for under the hash that votes sign."""
    rig = forge(epoch_blocks=1)
    first = next(at for at in range(1, 40) if rig.leader(at) != 0 and rig.leader(at + 1) != 0)
    gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, first)])
    block = rig.propose(first, rig.net.genesis, Justify(None, gap))
    notarized = rig.certificate(Tag.NOTARIZE, block.proposal, 1, 2, 3)
    rig.send(1, *gap, block, notarized)
    view, leader = first + 1, rig.leader(first + 1)
    assert rig.node.core.epoch.view == view
    link = Justify(notarized, ())
    again = Proposal(0, view, first, block.header.id, justify_hash(link))
    rig.node.core.links.clear()
    rig.send(leader, rig.vote(Tag.NOTARIZE, again, leader))
    assert rig.node.core.standing(again) is Standing.WAITING
    rig.net.run(150)
    asked = [one.message for one in of(rig.node.effects, Send)]
    assert JustifyRequest(justify_hash(link)) in asked
    before = len(rig.node.effects)
    rig.send(leader, JustifyReply(link))
    signed = [one.subject for one in of(rig.node.effects[before:], SignVote)]
    assert again in signed
    final = rig.certificate(Tag.FINALIZE, again, 1, 2, 3)
    assert isinstance(final, Finalization)
    rig.send(1, final)
    assert rig.node.core.epoch.number == 1
    assert [one for one in of(rig.node.effects, StoreLink) if one.proposal == again]


def test_a_node_that_only_follows_learns_everything_and_signs_nothing(network: Any) -> None:
    net = network(4)
    follower = net.nodes[0]
    follower.key = b"f" * 32
    net.nodes.append(type(follower)(net, 0))
    net.start()
    net.run_to(6, 20_000)
    assert follower.core.epoch.me is None
    assert not of(follower.effects, SignVote)


def test_no_vote_is_asked_for_in_a_view_twice(rig: Any) -> None:
    rig.net.run(20_000)
    gone = [one.subject for one in of(rig.node.effects, SignVote)]
    assert gone
    assert len(gone) == len(set(gone))
    assert all(isinstance(one, Nullified | Proposal) for one in gone)
