"""The settled points of the specification, each by name, on drivers in a network."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from consensus.effects import (
    BuildBlock,
    CommitBlock,
    Journal,
    RaiseFloor,
    Send,
    SignVote,
    StoreBlock,
)
from consensus.inputs import VoteRefused
from consensus.messages import BlockReply, Propose
from consensus.timeouts import Pacing
from state.crypto import Tag
from state.finality import (
    Finalization,
    Finalize,
    Justify,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
    fits,
)


def at(effects: list[Any], effect_type: type, **fields: Any) -> list[int]:
    return [
        place
        for place, effect in enumerate(effects)
        if isinstance(effect, effect_type)
        and all(getattr(effect, name) == value for name, value in fields.items())
    ]


def sent(node: Any, kind: Any) -> list[Any]:
    return [
        effect.message
        for effect in node.effects
        if isinstance(effect, Send) and isinstance(effect.message, kind)
    ]


def test_settled_1_a_block_is_stored_before_its_finalize_is_signed(network: Any) -> None:
    net = network(4).start()
    net.run_to(10, 5_000)
    effects = net.nodes[0].effects
    signed = at(effects, SignVote, kind=Tag.FINALIZE)
    assert len(signed) >= 10
    for place in signed:
        stored = at(effects[:place], StoreBlock, block_id=effects[place].subject.block_id)
        assert stored, "the body is durable before anybody counts on it"


def test_settled_2_a_restarted_node_sends_its_votes_and_entry_again(network: Any) -> None:
    net = network(4).start()
    net.run_to(3, 5_000)
    for node in net.nodes[1:]:
        node.crash()
    net.run(3_000)
    node = net.nodes[0]
    view, votes = node.core.epoch.view, sent(node, Nullify)
    assert votes, "alone it could only give the view up"
    node.crash()
    node.effects.clear()
    node.start()
    assert node.core.epoch.view == view
    assert node.core.epoch.current.my_nullify
    assert votes[-1] in sent(node, Nullify), "byte for byte the same"
    assert sent(node, Notarization | Nullification | Finalization)


def test_settled_3_and_11_the_guard_alone_keeps_a_node_from_voting_anew(network: Any) -> None:
    """The journal is gone, the guard remembers: nothing is signed again in those views."""
    net = network(4).start()
    net.run_to(4, 5_000)
    node = net.nodes[2]
    guarded = []
    for (_, _, kind), (subject, signature) in node.disk.votes.items():
        vote = node.core.own_vote(kind, subject, signature)
        guarded.append(vote)
    node.crash()
    node.disk.records.clear()
    node.effects.clear()
    node.start(guarded=tuple(guarded))
    old = {(vote.subject.view, type(vote)) for vote in guarded}
    net.run(2_000)
    for effect in node.effects:
        if isinstance(effect, SignVote):
            kind = {Tag.NOTARIZE: Notarize, Tag.NULLIFY: Nullify, Tag.FINALIZE: Finalize}
            assert (effect.subject.view, kind[effect.kind]) not in old
    net.honest()


def test_settled_4_links_of_certified_proposals_are_kept(network: Any) -> None:
    net = network(4, seed=1, delay=(5, 150), loss=15, epoch_blocks=4).start()
    net.run_to(16, 300_000)
    for node in net.nodes:
        kept = {link.proposal.justify_hash for link in node.disk.links}
        kept |= {block.header.justify_hash for block in node.disk.bodies.values()}
        for tip in node.disk.chain[1:]:
            if tip.finalization is not None:
                assert tip.finalization.subject.justify_hash in kept


def test_settled_5_an_epochs_first_block_shows_the_finalization_before_it(network: Any) -> None:
    net = network(4, epoch_blocks=3).start()
    net.run_to(8, 10_000)
    node = net.nodes[0]
    for height in (4, 7):
        header = node.disk.chain[height].header
        parent = node.disk.bodies[header.id].justify.parent
        assert header.parent_view == 0
        assert isinstance(parent, Finalization)
        assert parent.subject.block_id == header.parent_id
        assert parent.subject.epoch == header.epoch - 1
    assert node.disk.bodies[node.disk.chain[1].block_id].justify == Justify(None, ())


def test_settled_7_the_old_section_outlives_its_epoch(network: Any) -> None:
    """The floor passes an epoch only with the first finalization of the next."""
    net = network(4, epoch_blocks=3).start()
    net.run_to(7, 10_000)
    effects = net.nodes[0].effects
    commits = at(effects, CommitBlock)
    boundary = next(place for place in commits if effects[place].header.height == 3)
    following = next(place for place in commits if effects[place].header.height == 4)
    floors = [effects[place] for place in at(effects[:following], RaiseFloor)]
    assert all(floor.view < effects[boundary].header.view for floor in floors)


def test_settled_9_only_the_boundary_block_itself_follows_it(network: Any) -> None:
    """Finalize votes are lost: leaders propose D again until a finalization gets through."""
    net = network(4, epoch_blocks=2)
    net.filter = lambda _from, _to, message: (
        net.now > 6_000 or not isinstance(message, Finalize | Finalization)
    )
    net.start()
    net.run_to(5, 60_000)
    net.honest()
    node = net.nodes[0]
    boundary = node.disk.chain[2]
    subject = boundary.finalization.subject
    assert subject.block_id == boundary.block_id
    assert subject.view > boundary.header.view, "it was proposed again"
    assert fits(subject, boundary.header, 2)


def test_settled_10_without_its_journal_a_node_follows_until_it_is_safe(network: Any) -> None:
    net = network(4).start()
    net.run_to(5, 5_000)
    node = net.nodes[1]
    node.crash()
    net.run(300)
    node.disk.records.clear()
    node.disk.votes.clear()
    node.effects.clear()
    node.start(lost=True)
    assert node.core.is_lost
    before = node.core.epoch.view
    net.run(20_000, lambda: not node.core.is_lost)
    net.run(500)
    assert not node.core.is_lost
    signed = [effect for effect in node.effects if isinstance(effect, SignVote)]
    assert signed, "it votes again"
    assert min(effect.subject.view for effect in signed) > before
    net.honest()


def test_settled_10_alone_only_the_operators_word_lets_it_vote(network: Any) -> None:
    net = network(1).start()
    net.run(50)
    node = net.nodes[0]
    high, view = node.height, node.core.epoch.view
    node.crash()
    node.disk.records.clear()
    node.start(lost=True)
    net.run(10_000)
    assert node.height == high
    node.crash()
    node.start(lost=True, vote_after=(0, view + 10))
    net.run(1_000)
    assert node.height == high, "views up to the one that was named stay silent"


def test_settled_11_a_vote_is_journalled_before_it_is_sent(network: Any) -> None:
    net = network(4, seed=2, delay=(5, 200), loss=10).start()
    net.run_to(10, 100_000)
    for node in net.nodes:
        durable: list[Any] = []
        for effect in node.effects:
            if isinstance(effect, Journal):
                durable.extend(effect.records)
            if isinstance(effect, Send):
                message = effect.message
                own = getattr(getattr(message, "vote", None), "validator", None) == node.index
                if own and isinstance(message, Notarize | Nullify | Finalize):
                    logged = {
                        (type(one), one.vote, getattr(one, "subject", None))
                        for one in durable
                        if isinstance(one, Notarize | Nullify | Finalize)
                    } | {
                        (Notarize, one.vote, one.proposal)
                        for one in durable
                        if isinstance(one, Propose)
                    }
                    assert (type(message), message.vote, message.subject) in logged
                if own and isinstance(message, Propose):
                    assert any(
                        isinstance(one, Propose) and one.vote == message.vote for one in durable
                    )


def test_settled_12_late_votes_reach_the_next_block(network: Any) -> None:
    net = network(4).start()
    net.run_to(10, 5_000)
    builds = [one for one in net.nodes[0].effects if isinstance(one, BuildBlock)]
    late = [one.late for one in builds if one.late is not None]
    assert late
    assert any(len(one.votes) == 4 for one in late), "also the vote after the quorum"


def test_settled_13_certificates_are_not_flooded(network: Any) -> None:
    net = network(7).start()
    net.run_to(30, 10_000)
    for node in net.nodes:
        certificates = sent(node, Notarization | Nullification | Finalization)
        assert len(certificates) < 2 * 30


def test_settled_14_a_block_that_did_not_arrive_is_fetched_by_its_id(network: Any) -> None:
    net = network(4)
    net.filter = lambda _from, to, message: not (to == 3 and isinstance(message, Propose))
    net.start()
    net.run_to(12, 60_000)
    net.honest()


def test_settled_15_one_empty_block_follows_the_last_full_one(network: Any) -> None:
    net = network(4, pacing=Pacing(0, 20_000))
    net.pending = False
    net.body = lambda _node, height: b"full" if height == 3 else b""
    net.start()
    net.run(70_000)
    times = [tip.header.time_ms for tip in net.nodes[0].disk.chain]
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert gaps[2] < 1_000, "height 4 does not wait: it carries the root after height 3"
    assert gaps[1] >= 19_000
    assert gaps[3] >= 19_000


def test_settled_16_a_time_too_far_ahead_is_judged_again_later(network: Any) -> None:
    net = network(4).start()
    net.run_to(2, 5_000)
    for node in net.nodes:
        node.core.wall_offset_ms -= 600 if node.index else 0
    net.run_to(12, 60_000)
    net.honest()


@pytest.mark.parametrize("skipped", [70])
def test_settled_17_a_long_justification_travels_by_request(network: Any, skipped: int) -> None:
    """Proposals get lost for so long that the gap does not fit into one."""
    net = network(4)
    blocked = {"on": True}
    net.filter = lambda _from, _to, message: (
        not (blocked["on"] and isinstance(message, Propose | Notarize | BlockReply))
    )
    net.start()
    net.run(10_000_000, lambda: net.nodes[0].core.epoch.view > skipped)
    blocked["on"] = False
    net.run_to(3, 100_000)
    first = net.nodes[0].disk.chain[1]
    justify = net.nodes[3].disk.bodies[first.block_id].justify
    assert len(justify.nullifications) >= skipped - 4
    net.honest()


def test_a_refused_vote_is_never_asked_for_again_and_stops_nobody(network: Any) -> None:
    net = network(4)

    node = net.nodes[1]
    node.sign_vote = lambda kind, subject: VoteRefused(net.now, kind, subject)
    net.start()
    net.run_to(5, 60_000)
    asked = [(one.kind, one.subject) for one in node.effects if isinstance(one, SignVote)]
    assert asked
    assert len(asked) == len(set(asked))


def test_r4_an_invalid_body_is_nullified_and_passed_over(network: Any) -> None:
    for body in (b"bad", b"fails"):
        net = network(4)
        net.body = lambda node, height, body=body: body if node.index == 2 else b"%d" % height
        net.start()
        net.run_to(10, 60_000)
        net.honest()
        for tip in net.nodes[0].disk.chain[1:]:
            assert net.nodes[0].disk.bodies[tip.block_id].body != body


def test_r7_a_final_block_that_is_invalid_here_halts_the_node(network: Any) -> None:
    net = network(4)
    node = net.nodes[3]
    answer = node.answer

    def diverge(effect: Any) -> Any:

        found = answer(effect)
        return [
            replace(one, state_root=b"x" * 32) if hasattr(one, "state_root") else one
            for one in found
        ]

    node.answer = diverge
    net.start()
    net.run(3_000)
    assert node.halted is not None
    assert all(other.halted is None for other in net.nodes[:3])
    assert net.nodes[0].height > 10


@pytest.mark.parametrize("epoch_blocks", [4, 10])
def test_settled_7_who_is_many_short_epochs_behind_catches_up(
    network: Any, epoch_blocks: int
) -> None:
    """One boundary a pause, and one block a question, are slower than epochs of 160 ms."""
    stakes, pacing = (1_000, 1_000, 1_000, 1_000, 1), Pacing(40, 40)
    net = network(5, epoch_blocks=epoch_blocks, stakes=stakes, pacing=pacing, delay=(5, 15)).start()
    late, other = net.nodes[4], net.nodes[0]
    net.run(300)
    late.crash()
    net.run(3_000)
    assert other.height - late.height >= 70
    late.start()
    net.run(2_500, lambda: other.height - late.height <= 1)
    assert other.height - late.height <= 1
    net.honest()
