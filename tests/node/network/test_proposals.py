"""Compact proposals between overlay and host: from whom they are taken, and four real hosts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from consensus.messages import Message, Propose
from consensus.timeouts import Timeouts
from consensus.validators import Validators
from node.network.overlay import topic_of
from node.network.proposals import VIEWS_AHEAD_MAX, Proposals
from node.network.rebuilds import PER_VIEW_MAX
from node.network.shelf import AHEAD_MAX, BODIES_MAX
from node.network.sketches import Outline, Parts, PartsWanted, Piece, Sketch
from node.rpc.backend import Stage
from p2p.interface import Delivery, PeerInfo
from p2p.scores import Verdict
from p2p.topics import Topic
from state.codec import encode
from state.crypto import Tag
from state.finality import Notarize, Proposal, Validator, Vote, vote_digest
from tests.node.network.mesh import COUNT, GENESIS, KEYS, Mesh, transfer
from tests.node.network.test_rebuilds import id_of, proposal, wire

NODES = [b"node" + bytes([at]) * 28 for at in range(4)]
MEMBERS = tuple([Validator(key.public_key, key.address, 10) for key in KEYS])


class Bodies:
    """Stands in for the application's: transactions are the tests' own."""

    id_of = staticmethod(id_of)


class Around:
    """Host, network and gossip of one node that knows the nodes of some validators."""

    def __init__(self, *announced: int) -> None:
        self.round = (0, 5)
        self.validators = Validators(MEMBERS, bytes(32))
        self.received: list[tuple[bytes, Message]] = []
        self.sent: list[tuple[bytes, Piece]] = []
        self.brought: list[bytes] = []
        self.admitting: list[Delivery] = []
        """What came with transactions and is not judged yet."""
        self.pool: dict[bytes, bytes] = {}
        self.node_id = b"me"
        self.is_running = True
        self.now_ms = 0
        self._announced = {MEMBERS[at].public_key: NODES[at] for at in announced}
        self.proposals = Proposals(
            Bodies(),
            self.pool.get,
            self,
            GENESIS.hash,
            lambda: self.now_ms,
        )
        self.proposals.join(self, self, lambda to, piece: self.sent.append((to, piece)))

    def next_key(self, validator: int) -> bytes | None:
        return MEMBERS[validator].public_key if validator < len(MEMBERS) else None

    def receive(self, peer: bytes, message: Message) -> None:
        self.received.append((peer, message))

    def node_of(self, key: bytes) -> bytes | None:
        return self._announced.get(key)

    def validator_of(self, node_id: bytes) -> bytes | None:
        return next((key for key, one in self._announced.items() if one == node_id), None)

    def peers(self) -> list[PeerInfo]:
        return [
            PeerInfo(
                NODES[at], self.validator_of(NODES[at]), "", False, 0, [None, 90, 10, 50][at], 0
            )
            for at in range(4)
        ]

    def is_coming(self, tx_id: bytes) -> bool:
        return False

    def is_untold(self, tx_id: bytes) -> bool:
        return tx_id in self.pool

    def bring(self, delivery: Delivery, wires: tuple[bytes, ...]) -> None:
        self.admitting.append(delivery)
        self.brought += wires

    def hears(self, peer_id: bytes, piece: Piece) -> list[Verdict]:
        """Take in a piece; return the verdicts on it, one at most and now or later.

        Of a sketch that is not taken the overlay hands on the vote, and settles it.
        """
        given: list[Verdict] = []
        data = encode(piece)
        delivery = Delivery(peer_id, topic_of(piece, len(data)), data, given.append)
        vote = self.proposals.on_piece(delivery, piece)
        if vote is not None:
            assert not given, "it is settled once its signature was verified"
            self.receive(self.validator_of(peer_id) or peer_id, vote)
            delivery.settle(Verdict.DUPLICATE)
        return given

    def leads(self, view: int) -> int:
        return self.validators.leader(view)

    def sketch(
        self, numbers: list[int], view: int = 5, *, validator: int | None = None, **options: Any
    ) -> Sketch:
        """A proposal of the view's leader, or of somebody else, signed."""
        plain, _ = proposal(numbers, view, **options)
        subject = plain.proposal
        subject = Proposal(options.get("epoch", 0), view, 0, subject.block_id, bytes(32))
        leader = self.leads(view) if validator is None else validator
        digest = vote_digest(Tag.NOTARIZE, GENESIS.hash, subject)
        vote = Vote(leader, KEYS[leader].sign(digest))
        return Sketch(subject, vote, plain.header, None, plain.outline)


async def test_a_proposal_is_taken_from_its_leaders_node_alone() -> None:
    around = Around(0, 1, 2, 3)
    leader = around.leads(5)
    sketch = around.sketch([])
    stranger = NODES[(leader + 1) % 4]
    assert around.hears(stranger, sketch) == [Verdict.DUPLICATE]
    ((_, vote),) = around.received
    assert vote == Notarize(sketch.proposal, sketch.vote), "the vote counts, whoever brings it"
    around.received.clear()
    assert around.hears(NODES[leader], sketch) == [Verdict.DUPLICATE]
    ((peer, message),) = around.received
    assert peer == MEMBERS[leader].public_key
    assert isinstance(message, Propose)


async def test_without_an_announcement_the_leaders_signature_decides() -> None:
    around = Around()
    sketch = around.sketch([1])
    forged = Sketch(sketch.proposal, Vote(around.leads(5), bytes(64)), *_rest(sketch))
    around.hears(NODES[0], forged)
    assert len(around.proposals.rebuilds) == 0
    around.hears(NODES[0], sketch)
    assert len(around.proposals.rebuilds) == 1
    assert around.sent == [(NODES[0], PartsWanted(sketch.proposal.block_id, (0,)))]
    around.proposals.stop()


def _rest(sketch: Sketch) -> tuple[Any, ...]:
    return sketch.header, sketch.justify, sketch.outline


@pytest.mark.parametrize("view", [4, 5 + VIEWS_AHEAD_MAX + 1])
async def test_out_of_its_time_only_the_vote_is_heard(view: int) -> None:
    around = Around(0, 1, 2, 3)
    sketch = around.sketch([1], view)
    around.hears(NODES[around.leads(view)], sketch)
    assert len(around.proposals.rebuilds) == 0
    assert [message for _, message in around.received] == [Notarize(sketch.proposal, sketch.vote)]


async def test_other_epochs_are_helped_and_the_next_one_is_rebuilt() -> None:
    around = Around(0, 1, 2, 3)
    around.round = (3, 5)
    for epoch in (2, 5):
        sketch = around.sketch([1], epoch=epoch)
        around.hears(NODES[around.leads(5)], sketch)
        _, message = around.received.pop()
        assert isinstance(message, Propose)
        assert message.body == b""
    around.hears(NODES[around.leads(5)], around.sketch([1], epoch=4))
    assert len(around.proposals.rebuilds) == 1
    around.proposals.stop()


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_false_signature_has_no_effect_and_is_invalid(
    epoch: int, is_announced: bool
) -> None:
    around = Around(*(range(4) if is_announced else ()))
    true = around.sketch([1], epoch=epoch, along=[0])
    leader = around.leads(5)
    forged = Sketch(true.proposal, Vote(leader, bytes(64)), *_rest(true))
    assert around.hears(NODES[leader], forged) == [Verdict.INVALID]
    assert not around.received and not around.brought
    assert len(around.proposals.rebuilds) == len(around.proposals.shelf) == 0


@pytest.mark.parametrize("epoch", [0, 1])
async def test_later_proposals_push_nobodys_body_off_the_shelf(epoch: int) -> None:
    around = Around(0, 1, 2, 3)
    mine = [bytes([at]) * 32 for at in range(BODIES_MAX)]
    for block_id in mine:
        around.proposals.shelf.put(block_id, (wire(7),))
    for view in range(6, 6 + VIEWS_AHEAD_MAX):
        for number in (1, 2, 3):
            sketch = around.sketch([number], view, epoch=epoch, along=[0])
            around.hears(NODES[around.leads(view)], sketch)
    assert len([message for _, message in around.received if isinstance(message, Propose)]) > 16
    assert all(block_id in around.proposals.shelf for block_id in mine)
    assert len(around.proposals.shelf) == BODIES_MAX + (0 if epoch else AHEAD_MAX)
    around.round = (0, 6)
    around.proposals.on_peer_down(b"anybody")
    assert [block_id in around.proposals.shelf for block_id in mine].count(False) == (
        0 if epoch else PER_VIEW_MAX
    )
    around.proposals.stop()


async def test_who_leads_nothing_takes_no_place_of_a_leader_of_the_next_epoch() -> None:
    around = Around(0, 1, 2, 3)
    leader = around.leads(1)
    for view in (1, 2):
        for number in (101, 102):
            other = (around.leads(view) + 1) % 4
            sketch = around.sketch([number], view, epoch=1, validator=other)
            around.hears(NODES[other], sketch)
    assert len(around.proposals.rebuilds) == 4
    early = around.sketch([8], 2, epoch=1)
    around.hears(NODES[around.leads(2)], early)
    assert early.proposal.block_id in around.proposals.rebuilds, "nobody knows yet who leads"
    around.round = (1, 1)
    sketch = around.sketch([7], 1, epoch=1)
    around.hears(NODES[leader], sketch)
    assert set(around.proposals.rebuilds._open) == {
        sketch.proposal.block_id,
        early.proposal.block_id,
    }
    around.proposals.stop()


async def test_a_lie_is_invalid_and_what_one_does_not_have_is_said() -> None:
    around = Around(0, 1, 2, 3)
    leader = NODES[around.leads(5)]
    sketch = around.sketch([1, 2])
    assert sketch.outline is not None
    twice = Outline(sketch.outline.ids[:32] * 2, (), (), None, ())
    bad = Sketch(sketch.proposal, sketch.vote, sketch.header, None, twice)
    assert around.hears(leader, bad) == [Verdict.INVALID]
    around.hears(leader, sketch)
    assert around.sent.pop() == (leader, PartsWanted(sketch.proposal.block_id, (0, 1)))
    lie = Parts(sketch.proposal.block_id, (0, 1), (wire(1), wire(3)))
    assert around.hears(leader, lie) == [Verdict.INVALID]
    asked = PartsWanted(b"x" * 32, (0,))
    assert around.hears(NODES[0], asked) == [Verdict.DUPLICATE]
    assert around.sent.pop() == (NODES[0], Parts(b"x" * 32, (0,), ()))
    around.proposals.stop()


async def test_what_was_rebuilt_serves_others_and_feeds_the_mempool() -> None:
    around = Around(0, 1, 2, 3)
    leader = NODES[around.leads(5)]
    sketch = around.sketch([1, 2])
    around.hears(leader, sketch)
    parts = Parts(sketch.proposal.block_id, (0, 1), (wire(1), wire(2)))
    around.hears(leader, parts)
    assert around.brought == [wire(1), wire(2)]
    around.hears(NODES[0], PartsWanted(sketch.proposal.block_id, (1,)))
    assert around.sent[-1] == (NODES[0], Parts(sketch.proposal.block_id, (1,), (wire(2),)))


async def test_only_who_was_asked_brings_anything() -> None:
    around = Around(0, 1, 2, 3)
    at = around.leads(5)
    sketch = around.sketch([1, 2])
    around.hears(NODES[at], sketch)
    parts = Parts(sketch.proposal.block_id, (0, 1), (wire(1), wire(2)))
    for other in (NODES[(at + 1) % 4], b"stranger"):
        assert around.hears(other, parts) == [Verdict.DUPLICATE], "it may come from a peer too late"
    assert not around.brought
    around.hears(NODES[at], parts)
    around.hears(NODES[at], parts)
    assert around.brought == [wire(1), wire(2)], "one answer to one question"


async def test_what_is_sent_along_is_brought_once() -> None:
    around = Around(0, 1, 2, 3)
    leader = NODES[around.leads(5)]
    sketch = around.sketch([1, 2], along=[0])
    around.hears(leader, sketch)
    assert sketch.outline is not None
    others = Outline(sketch.outline.ids, (0,), (wire(9),), None, ())
    again = Sketch(sketch.proposal, sketch.vote, sketch.header, None, others)
    assert around.hears(leader, again) == [Verdict.DUPLICATE]
    assert around.brought == [wire(1)]
    around.proposals.stop()


async def test_what_brings_transactions_is_judged_once_they_are() -> None:
    """Until then it holds its place in its sender's window, so that nobody floods the verifier."""
    around = Around(0, 1, 2, 3)
    leader = NODES[around.leads(5)]
    sketch = around.sketch([1, 2], along=[0])
    along = around.hears(leader, sketch)
    parts = Parts(sketch.proposal.block_id, (1,), (wire(2),))
    asked_for = around.hears(leader, parts)
    assert (along, asked_for) == ([], [])
    _, message = around.received[-1]
    assert isinstance(message, Propose), "consensus waits for no verdict"
    for delivery in around.admitting:
        delivery.settle(Verdict.INVALID)
    assert (along, asked_for) == ([Verdict.INVALID], [Verdict.INVALID])


async def test_voters_are_asked_when_the_leader_is_gone_and_strangers_never() -> None:
    around = Around(0, 1, 2, 3)
    at = around.leads(5)
    sketch = around.sketch([1])
    around.hears(NODES[at], sketch)
    around.sent.clear()
    around.proposals.on_vote(b"stranger", sketch.proposal.block_id)
    around.proposals.on_vote(NODES[(at + 1) % 4], sketch.proposal.block_id)
    around.proposals.on_peer_down(NODES[at])
    assert [to for to, _ in around.sent] == [NODES[(at + 1) % 4]]
    around.proposals.stop()


async def test_whom_a_quorum_waits_for_is_sent_a_proposal_first() -> None:
    """Distances: unknown, 90, 10 and 50 ms; a sender without stake needs all but the farthest."""
    order = [NODES.index(one) for one in Around(0, 1, 2, 3).proposals.order()]
    assert order == [1, 3, 2, 0]
    assert [NODES.index(one) for one in Around(1).proposals.order()] == [1, 0, 2, 3]


# --- four hosts -----------------------------------------------------------------------------------


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    made = Mesh(tmp_path)
    await made.start()
    await made.until(lambda: all(member.height >= 2 for member in made))
    yield made
    await made.stop()


async def test_two_thousand_transfers_cross_each_link_about_once(mesh: Mesh) -> None:
    """An id over each link, the bytes once to each node, and 32 bytes in each proposal."""
    count = 2_000
    wires = [transfer(at % 64, 1 + at // 64) for at in range(count)]
    links = COUNT * (COUNT - 1) // 2
    before, heights = mesh.sent_bytes(), mesh[0].height
    ids = await asyncio.gather(
        *[mesh[at % 64 % COUNT].backend.submit(each) for at, each in enumerate(wires)]
    )
    await mesh.until(lambda: all(member.is_final(ids) for member in mesh))
    mesh.agree()
    assert mesh[1].backend.transaction_status(ids[0]).stage is Stage.FINAL
    used = mesh.sent_bytes() - before
    size, others = len(wires[0]), COUNT - 1
    # both ends of a link may tell each other, and whoever lacks it names it once more
    assert used["TRANSACTIONS"] <= count * (others * (size + 3) + (2 * links + others) * 35)
    # what a leader includes before gossip has carried it comes a second time
    blocks = mesh[0].height - heights
    pulled = sum(member.proposals.shelf.drawn_wires for member in mesh)
    consensus = used["CONSENSUS"] + used["BLOCKS"]
    assert pulled <= 2 * count
    assert consensus <= count * others * 36 + pulled * (size + 10) + (blocks + 2) * 30_000
    assert sum(member.proposals.rebuilds.wholes for member in mesh) == 0


async def test_a_block_of_what_nobody_else_has_becomes_final(mesh: Mesh) -> None:
    """Gossip is silent: the leader's transactions come with its proposal, or are asked for."""
    for member in mesh:
        member.backend.admitted = lambda tx_id: None
    few = [await mesh[0].backend.submit(transfer(at, 1)) for at in range(3)]
    await mesh.until(lambda: all(member.is_final(few) for member in mesh))
    many = [await mesh[0].backend.submit(transfer(at % 64, 2 + at // 64)) for at in range(400)]
    await mesh.until(lambda: all(member.is_final(many) for member in mesh))
    mesh.agree()
    assert sum(member.proposals.shelf.drawn_wires for member in mesh) > 0


async def test_other_signatures_under_the_same_ids_are_settled_by_the_whole_body(
    mesh: Mesh,
) -> None:
    """One node holds false copies of everything, as if its own verifier had let them pass."""
    odd = mesh[3]
    find = odd.backend.pending
    odd.proposals.rebuilds._find = lambda tx_id: _spoilt(find(tx_id))
    ids = [await mesh[at % 3].backend.submit(transfer(at, 1)) for at in range(60)]
    await mesh.until(lambda: all(member.is_final(ids) for member in mesh))
    mesh.agree()
    assert not mesh.failed


def _spoilt(found: bytes | None) -> bytes | None:
    return None if found is None else found[:-1] + bytes([found[-1] ^ 1])


async def test_a_proposal_with_its_body_is_nothing_that_honest_nodes_send(mesh: Mesh) -> None:
    _, propose = proposal([])
    given: list[Verdict] = []
    delivery = Delivery(mesh[1].network.node_id, Topic.CONSENSUS, encode(propose), given.append)
    mesh[0].overlay.on_message(delivery)
    await mesh.until(lambda: bool(given))
    assert given == [Verdict.INVALID]


def _byzantine(mesh: Mesh, at: int, change: Callable[[Sketch], Sketch]) -> None:
    """Let a node say something else of the bodies it proposes than what is in them."""
    proposals = mesh[at].proposals
    honest = proposals.sketch
    proposals.sketch = lambda message: change(honest(message))


async def test_a_leader_that_names_what_nobody_has_costs_its_views_alone(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path, timeouts=Timeouts(100, 200, 1_000, 300, 500))

    def lie(sketch: Sketch) -> Sketch:
        assert sketch.outline is not None
        outline = Outline(bytes([7]) * 32 + sketch.outline.ids, (), (), None, ())
        return Sketch(sketch.proposal, sketch.vote, sketch.header, sketch.justify, outline)

    _byzantine(mesh, 2, lie)
    mesh[2].proposals.shelf.draw = lambda peer, wanted: Parts(wanted.block_id, wanted.indices, ())
    await mesh.start()
    honest = [mesh[at] for at in (0, 1, 3)]
    ids = [await mesh[0].backend.submit(transfer(at, 1)) for at in range(20)]
    await mesh.until(lambda: all(member.is_final(ids) for member in honest))
    await mesh.until(lambda: all(member.height >= 8 for member in honest))
    for member in honest:
        assert len(member.proposals.rebuilds) <= 2
    await mesh.stop()


async def test_a_leader_that_brings_wrong_signatures_loses_its_seat_everywhere(
    tmp_path: Path,
) -> None:
    mesh = Mesh(tmp_path, timeouts=Timeouts(100, 200, 1_000, 300, 500))
    forged = transfer(0, 9, genesis_hash=bytes(32))
    forged_id = mesh[2].application.bodies.id_of(forged)

    def forge(sketch: Sketch) -> Sketch:
        true = sketch.outline
        assert true is not None
        outline = Outline(forged_id + true.ids, (0,), (forged,), true.late, true.evidence)
        return Sketch(sketch.proposal, sketch.vote, sketch.header, sketch.justify, outline)

    _byzantine(mesh, 2, forge)
    await mesh.start()
    honest = [mesh[at] for at in (0, 1, 3)]
    name = mesh[2].network.node_id
    await mesh.until(
        lambda: all(one.network.scores.is_banned(name, mesh.hub.now_ms) for one in honest)
    )
    height = max(member.height for member in honest)
    await mesh.until(lambda: all(member.height >= height + 3 for member in honest))
    for member in honest:
        others = [one.network.node_id for one in honest]
        assert not {*member.network.scores.banned(mesh.hub.now_ms)} & {*others}
    await mesh.stop()
