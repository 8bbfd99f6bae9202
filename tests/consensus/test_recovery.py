"""Settled 2: what journal, store and guard hold becomes what the node knows, before all else."""

from typing import Any

import pytest

from consensus.effects import BuildBlock, Journal, Send, SignVote
from consensus.messages import Block, BlockReply, Propose
from consensus.timeouts import Pacing, Timeouts
from state.crypto import Tag
from state.finality import Justify, Notarization, Nullified, Nullify


def of(effects: list[Any], kind: Any) -> list[Any]:
    return [one for one in effects if isinstance(one, kind)]


def restart(rig: Any, **given: Any) -> list[Any]:
    rig.node.crash()
    rig.node.effects.clear()
    rig.node.start(**given)
    effects: list[Any] = rig.node.effects
    return effects


@pytest.fixture
def rig(forge: Any) -> Any:
    return forge()


def test_own_votes_complete_certificates_again(rig: Any) -> None:
    """[Three nullifiers crash, each hears only two: halt for ever.]"""
    rig.net.run(5_000)
    view = rig.node.core.epoch.view
    assert rig.node.core.epoch.current.my_nullify
    effects = restart(rig)
    resent = [one.message for one in of(effects, Send) if isinstance(one.message, Nullify)]
    assert [one.subject.view for one in resent] == [view]
    gone = Nullified(0, view)
    rig.send(1, rig.vote(Tag.NULLIFY, gone, 1), rig.vote(Tag.NULLIFY, gone, 2))
    assert rig.node.core.epoch.view == view + 1, "two heard and one of its own"


def test_the_view_is_the_one_that_logged_certificates_unlock(rig: Any) -> None:
    rig.send(1, *[rig.nullified(at, 1, 2, 3) for at in (1, 2, 3)])
    effects = restart(rig)
    assert rig.node.core.epoch.view == 4
    entry = [one.message for one in of(effects, Send) if one.message == rig.nullified(3, 1, 2, 3)]
    assert entry, "who is stuck in view 3 is freed"
    assert not of(effects, Journal), "nothing is logged twice"


def test_a_notarized_block_is_executed_anew_and_then_unlocks(rig: Any) -> None:
    view = next(at for at in range(1, 9) if rig.leader(at) != 0)
    gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, view)])
    propose = rig.propose(view, rig.net.genesis, Justify(None, gap))
    rig.send(1, *gap, propose, rig.certificate(Tag.NOTARIZE, propose.proposal, 1, 2, 3))
    assert rig.node.core.epoch.view == view + 1
    finalized = [one for one in of(rig.node.effects, SignVote) if one.kind is Tag.FINALIZE]
    assert len(finalized) == 1
    effects = restart(rig)
    assert rig.node.core.epoch.view == view + 1
    assert isinstance(rig.node.core.epoch.entry, Notarization)
    assert not [one for one in of(effects, SignVote) if one.subject.view == view]
    final = rig.certificate(Tag.FINALIZE, propose.proposal, 1, 2, 3)
    rig.send(1, final)
    assert rig.node.height == 1


@pytest.mark.parametrize("keep", [0, 1])
def test_a_leader_never_makes_a_second_proposal_of_a_view(rig: Any, keep: int) -> None:
    """With the journal it sends the same one again; with the guard alone it stays silent."""
    view = next(at for at in range(1, 9) if rig.leader(at) == 0)
    rig.send(1, *[rig.nullified(at, 1, 2, 3) for at in range(1, view)])
    rig.net.run(100)
    mine = [one.message for one in of(rig.node.effects, Send) if hasattr(one.message, "body")]
    assert mine
    kept = [at for at in rig.node.disk.votes.items() if at[0][1] == view]
    guarded = tuple([rig.vote(kind, subject, 0) for (_, _, kind), (subject, _) in kept])
    if not keep:
        rig.node.disk.records = [one for one in rig.node.disk.records if not hasattr(one, "body")]
    effects = restart(rig, guarded=guarded)
    rig.net.run(2_000)
    again = [one.message for one in of(effects, Send) if hasattr(one.message, "body")]
    assert all(one == mine[0] for one in again)
    assert bool(again) == bool(keep)
    assert not of(effects, BuildBlock)


def test_a_tip_without_finalization_is_stood_on_once_a_certificate_is_held(rig: Any) -> None:
    """After a crash between the commits of several blocks the best finalization is in the journal;
    where even that is gone, nothing is proposed until a certificate of the tip has come."""
    view = next(at for at in range(1, 40) if rig.leader(at) != 0 and rig.leader(at + 1) == 0)
    gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, view)])
    propose = rig.propose(view, rig.net.genesis, Justify(None, gap))
    final = rig.certificate(Tag.FINALIZE, propose.proposal, 1, 2, 3)
    rig.send(1, *gap, final)
    rig.send(1, BlockReply((Block(propose.header, propose.justify, propose.body),)))
    assert rig.node.height == 1
    disk = rig.node.disk
    disk.chain[-1] = rig.net.executed_tip(propose.header)
    disk.records.clear()
    rig.node.executed[propose.header.id] = disk.chain[-1]
    effects = restart(rig)
    rig.net.run(50)
    assert rig.node.core.epoch.view == view + 1
    assert not of(effects, BuildBlock)
    rig.send(1, final)
    rig.net.run(50)
    assert [one.view for one in of(effects, BuildBlock)] == [view + 1]


@pytest.mark.parametrize("interval_ms", [50, 100, 250])
def test_a_block_that_is_missed_is_asked_for_however_fast_others_come(
    network: Any, interval_ms: int
) -> None:
    """Blocks come faster than half of delta, in which one that is under way may yet arrive."""
    timeouts, pacing = Timeouts(), Pacing(interval_ms, 2_000)
    net = network(7, delay=(50, 50), stakes=(1, *[10] * 6), timeouts=timeouts, pacing=pacing)
    net.filter = lambda _, receiver, message: (
        not (receiver == 0 and isinstance(message, Propose) and message.proposal.view == 5)
    )
    net.start()
    net.run(10_000, lambda: net.nodes[1].height >= 5)
    net.run(3 * timeouts.relay_ms)
    assert net.nodes[0].height >= net.nodes[1].height - 1
    net.honest()
