"""Settled 10: without journal or guard a node votes only where no vote of its own can lie."""

from typing import Any

import pytest

from consensus.effects import SignVote
from consensus.inputs import TimerFired
from consensus.messages import Block, BlockReply, CertificateRequest, JustifyReply, Status
from state.crypto import Tag
from state.finality import Justify, Proposal, justify_hash


@pytest.fixture
def lost(forge: Any) -> Any:
    """Node 0 of four after a loss, in view 1."""
    rig = forge()
    rig.node.crash()
    rig.node.effects.clear()
    rig.node.start(lost=True)
    return rig


def claim(rig: Any, view: int, *peers: int) -> None:
    for peer in peers or (1, 2, 3):
        rig.send(peer, Status(0, view, 0, 0, 0, rig.net.genesis.block_id))


def finalize(rig: Any, view: int) -> None:
    """Make a block of this view final: its finalization comes, and then what it stands on."""
    final, tip = rig.node.core.epoch.final, rig.node.disk.chain[-1]
    parent_view = 0 if final is None else final.subject.view
    parent = None if final is None else rig.certificate(Tag.NOTARIZE, final.subject, 1, 2, 3)
    skipped = [rig.nullified(each, 1, 2, 3) for each in range(parent_view + 1, view)]
    justify = Justify(parent, tuple(skipped))
    block = rig.propose(view, tip, justify)
    rig.send(1, rig.certificate(Tag.FINALIZE, block.proposal, 1, 2, 3))
    rig.send(2, BlockReply((Block(block.header, justify, block.body),)))
    rig.net.run(100)
    assert rig.node.core.blocks.tip_id == block.proposal.block_id


def test_certificates_show_no_current_view_however_many_come(lost: Any) -> None:
    """What a peer passes on may be old; only what it says of itself, and proves, is its view."""
    for peer in (1, 2, 3):
        lost.send(peer, lost.nullified(5, 1, 2, 3))
    finalize(lost, 30)
    assert lost.node.core.is_lost


def test_a_finalization_below_the_proved_views_is_not_enough(lost: Any) -> None:
    claim(lost, 50)
    lost.send(1, lost.nullified(49, 1, 2, 3))
    finalize(lost, 30)
    finalize(lost, 50)
    assert lost.node.core.is_lost, "a lost vote may lie in view 51"
    finalize(lost, 51)
    assert not lost.node.core.is_lost
    assert lost.node.core.votes_above == (0, 51)


def test_a_claim_without_its_certificate_is_no_answer(lost: Any) -> None:
    claim(lost, 50, 1, 2)
    claim(lost, 10**9, 3)
    lost.send(1, lost.nullified(49, 1, 2, 3))
    finalize(lost, 60)
    assert lost.node.core.is_lost, "validator 3 has proved nothing"
    claim(lost, 61, 3)
    finalize(lost, 62)
    assert not lost.node.core.is_lost


def test_one_that_does_not_answer_keeps_it_silent(lost: Any) -> None:
    claim(lost, 1, 1, 2)
    finalize(lost, 60)
    assert lost.node.core.is_lost
    assert not [one for one in lost.node.effects if isinstance(one, SignVote)]


def test_the_first_proof_of_each_counts_and_finality_overtakes_it(lost: Any) -> None:
    claim(lost, 1)
    lost.send(1, lost.nullified(9, 1, 2, 3))
    claim(lost, 10)
    finalize(lost, 2)
    assert not lost.node.core.is_lost


def test_the_round_that_is_named_is_silent_and_the_one_after_it_votes(forge: Any) -> None:
    rig = forge()
    for view in (1, 2, 3):
        rig.send(1, rig.nullified(view, 1, 2, 3))
    rig.node.crash()
    rig.node.effects.clear()
    rig.node.start(lost=True, vote_after=(0, 4))

    def nullified() -> list[int]:
        votes = [one for one in rig.node.effects if isinstance(one, SignVote)]
        return [one.subject.view for one in votes if one.kind is Tag.NULLIFY]

    def wait() -> None:
        rig.net.now += 1_000_000
        rig.node.feed(TimerFired(rig.net.now))

    wait()
    assert rig.node.core.epoch.view == 4
    assert nullified() == []
    rig.send(1, rig.nullified(4, 1, 2, 3))
    wait()
    assert nullified() == [5]


def test_it_asks_those_who_claim_a_view_for_what_let_them_in(lost: Any) -> None:
    claim(lost, 50)
    lost.net.now += 500
    lost.node.effects.clear()
    lost.node.feed(TimerFired(lost.net.now))
    asked = [one for one in lost.node.effects if getattr(one, "message", None) is not None]
    assert [one.message for one in asked if isinstance(one.message, CertificateRequest)] == [
        CertificateRequest(0, 49)
    ] * 3


def test_view_votes_are_due_again_in_the_view_in_which_it_regains(lost: Any) -> None:
    """Its time-outs passed while it was silent; the view may hang on its Nullify."""
    claim(lost, 1)
    lost.net.run(30_000)
    finalize(lost, 2)
    finalize(lost, 3)
    view = lost.node.core.epoch.view
    assert not lost.node.core.is_lost
    lost.net.run(30_000)
    signed = [one for one in lost.node.effects if isinstance(one, SignVote)]
    assert [(one.kind, one.subject.view) for one in signed] == [(Tag.NULLIFY, view)]


@pytest.mark.parametrize("epoch_blocks", [3, 7, 25])
@pytest.mark.parametrize("seed", range(2))
def test_it_regains_across_epochs_and_contradicts_nobody(
    network: Any, epoch_blocks: int, seed: int
) -> None:
    net = network(4, seed=seed, delay=(5, 60), epoch_blocks=epoch_blocks).start()
    net.run_to(4, 20_000)
    node = net.nodes[1]
    before = set(node.disk.votes)
    node.crash()
    net.run(200)
    node.disk.records.clear()
    node.disk.votes.clear()
    node.start(lost=True)
    net.run(40_000, lambda: not node.core.is_lost)
    assert not node.core.is_lost
    net.run(2_000)
    assert node.disk.votes, "it votes again"
    assert not {at[:2] for at in before} & {at[:2] for at in node.disk.votes}
    net.honest()


def test_the_end_of_an_epoch_does_not_count_before_its_block_has_come_either(forge: Any) -> None:
    """The node may have seen that end in its first life, and have voted in the epoch after it."""
    rig = forge(epoch_blocks=1)
    rig.node.crash()
    rig.node.start(lost=True)
    justify = Justify(None, ())
    block = rig.propose(1, rig.net.genesis, justify)
    notarized = rig.certificate(Tag.NOTARIZE, block.proposal, 1, 2, 3)
    claim(rig, 2)
    rig.send(1, notarized)
    assert set(rig.node.core.proved.values()) == {(0, 2)}
    link = Justify(notarized, (rig.nullified(2, 1, 2, 3),))
    again = Proposal(0, 3, 1, block.proposal.block_id, justify_hash(link))
    rig.send(1, rig.certificate(Tag.FINALIZE, again, 1, 2, 3))
    assert rig.node.core.is_lost
    rig.send(2, BlockReply((Block(block.header, justify, block.body),)))
    rig.net.run(1_000)
    rig.send(2, JustifyReply(link))
    rig.net.run(1_000)
    assert rig.node.core.epoch.number == 1
    assert rig.node.core.is_lost, "a lost vote may lie in view 1 of the epoch that has begun"
