"""An epoch: its window of views, whose certificates hold in it, and what settles a view best."""

from typing import Any

import pytest

from consensus.epoch import VIEWS_AHEAD_MAX, VIEWS_BEHIND_MAX
from consensus.inputs import Received
from consensus.messages import Propose
from state import codec
from state.crypto import Tag
from state.finality import (
    Finalization,
    Justify,
    Nullified,
    Proposal,
    Vote,
    justify_hash,
    vote_digest,
)
from tests.consensus.network import GENESIS, key_of, sign

SUBJECT = Proposal(0, 5, 4, b"b" * 32, b"j" * 32)


@pytest.fixture
def rig(forge: Any) -> Any:
    return forge()


def test_2_7_single_votes_count_in_a_window_around_the_view(rig: Any) -> None:
    epoch = rig.node.core.epoch
    epoch.view, epoch.final_view = 100, 90
    counted = [number for number in range(200) if epoch.counts(number)]
    assert counted == list(range(90 - VIEWS_BEHIND_MAX, 100 + VIEWS_AHEAD_MAX + 1))


def test_the_floor_follows_finality_and_takes_everything_below_with_it(rig: Any) -> None:
    epoch = rig.node.core.epoch
    for number in range(1, 60):
        epoch.at(number)
        epoch.undecided.append(number)
    epoch.final_view = 50
    epoch.prune()
    assert sorted(epoch.views) == list(range(50 - VIEWS_BEHIND_MAX, 60))
    assert epoch.undecided == list(range(51, 60))


def test_a_vote_of_another_epoch_claims_nothing(rig: Any) -> None:
    """There its signer's index may be another's, under whose key it would pass for a forgery."""
    epoch = rig.node.core.epoch
    vote = rig.vote(Tag.FINALIZE, SUBJECT, 1)
    assert epoch.claim_of(vote) is not None
    later = codec.replace(SUBJECT, epoch=1)
    assert epoch.claim_of(rig.vote(Tag.FINALIZE, later, 1)) is None
    assert epoch.claim_of(rig.vote(Tag.NULLIFY, Nullified(1, 5), 1)) is None


def test_what_was_verified_once_is_not_verified_again_and_nothing_else_is_skipped(
    rig: Any,
) -> None:
    """Only the same signed bytes are passed over: caches by signer have poisoned quorums."""
    epoch = rig.node.core.epoch
    certificate = rig.certificate(Tag.NOTARIZE, SUBJECT, 1, 2, 3)
    assert len(epoch.claims_of(certificate)) == 3
    rig.send(1, rig.vote(Tag.NOTARIZE, SUBJECT, 1))
    assert len(epoch.claims_of(certificate)) == 2
    forged = codec.replace(certificate, votes=(Vote(1, bytes(64)), *certificate.votes[1:]))
    assert len(epoch.claims_of(forged)) == 3
    other = rig.certificate(Tag.FINALIZE, SUBJECT, 1, 2, 3)
    assert len(epoch.claims_of(other)) == 3


@pytest.mark.parametrize("epoch", [1, 2])
def test_settled_7_certificates_of_later_epochs_hold_nothing_here(rig: Any, epoch: int) -> None:
    later = rig.certificate(Tag.NULLIFY, Nullified(epoch, 3), 1, 2, 3)
    assert rig.node.core.epoch.claims_of(later) is None


def test_2_8_4_the_boundary_is_judged_by_the_set_of_its_own_epoch(network: Any) -> None:
    net = network(4, epoch_blocks=3).start()
    net.run_to(4, 5_000)
    epoch = net.nodes[0].core.epoch
    boundary = epoch.boundary.finalization
    assert isinstance(boundary, Finalization)
    assert epoch.entry is not None
    assert epoch.claims_of(boundary) == [], "it is held already"
    again = codec.replace(boundary, subject=codec.replace(boundary.subject, view=99))
    assert len(epoch.claims_of(again)) == len(boundary.votes)
    few = codec.replace(again, votes=boundary.votes[:2])
    assert epoch.claims_of(few) is None
    epoch._previous = ()
    assert epoch.claims_of(again) is None


def test_2_6_a_finality_settles_best_then_a_notarization_then_a_nullification(rig: Any) -> None:
    epoch = rig.node.core.epoch
    assert epoch.certificate_for(5) is None
    nullified = rig.nullified(5, 1, 2, 3)
    notarized = rig.certificate(Tag.NOTARIZE, SUBJECT, 1, 2, 3)
    above = codec.replace(SUBJECT, view=9, parent_view=8)
    final = rig.certificate(Tag.FINALIZE, above, 1, 2, 3)
    for certificate in (nullified, notarized, final):
        rig.send(1, certificate)
        assert epoch.certificate_for(5) == certificate
    assert epoch.certificate_for(10) is None


@pytest.mark.parametrize("view_of", ["below", "boundary"])
def test_an_older_block_of_the_epoch_before_is_final_and_no_parent(
    network: Any, view_of: str
) -> None:
    """A leader shows an honest finalization where the boundary's belongs: its view is given up.

    Only from the boundary's view on is another final block a second end of the epoch.
    """
    net = network(4, epoch_blocks=4).start()
    net.run_to(6, 60_000)
    node = net.nodes[0]
    epoch = node.core.epoch
    tips = node.disk.chain[1 if view_of == "below" else 4 : 4 if view_of == "below" else 5]
    old = next(tip.finalization for tip in tips if tip.finalization is not None)
    view = max(one.core.epoch.view for one in net.nodes) + 1
    leader = epoch.validators.leader(view)
    tip, justify = node.disk.chain[-1], Justify(old, ())
    header = codec.replace(
        tip.header,
        height=tip.header.height + 1,
        epoch=epoch.number,
        view=view,
        parent_view=view - 1,
        parent_id=tip.block_id,
        time_ms=tip.header.time_ms + 1,
        proposer=net.members[leader].account,
        justify_hash=justify_hash(justify),
    )
    proposal = Proposal(epoch.number, view, view - 1, header.id, justify_hash(justify))
    signature = sign(key_of(leader), vote_digest(Tag.NOTARIZE, GENESIS, proposal))
    message = Propose(proposal, Vote(leader, signature), header, justify, b"x")
    net.nodes[leader].crash()
    honest = [one for one in net.nodes if one.index != leader]
    for one in honest:
        one.feed(Received(net.now, ((key_of(leader), message),)))
        assert one.halted is None
    net.run_to(node.height + 3, 60_000)
    for one in honest:
        assert one.halted is None
        assert (epoch.number, view, Tag.NOTARIZE) not in one.disk.votes
        assert all(found.first.vote.validator == leader for found in one.evidence)
