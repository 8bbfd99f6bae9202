"""Who sends what no honest node sends loses its seat at once, however it dresses it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from consensus.messages import Block, BlockReply, Status
from node.mempool import MempoolLimits
from node.network.identity import announcement
from node.network.inbox import STRANGERS_MESSAGES
from node.network.sketches import Sketch
from p2p.addresses import Address
from p2p.handshake import NodeKey
from p2p.interface import Delivery
from p2p.memory import Hub, MemoryNetwork
from p2p.scores import Verdict
from p2p.topics import Topic
from state.block import Body
from state.codec import encode
from state.crypto import Tag
from state.finality import (
    Finalization,
    Header,
    Justify,
    Notarization,
    Notarize,
    Proposal,
    Vote,
    justify_hash,
    vote_digest,
)
from tests.node.network.mesh import COUNT, GENESIS, KEYS, TIMEOUTS, Member

NOBODYS = bytes([7]) * 63 + b"\0"
"""A signature of the right form that nobody made."""
FAR = Address("127.0.0.1", 1)
MANY = 40
TURNS = 64
ME = 2
"""Another one leads the first view."""


class Quiet:
    """A handler that answers nothing."""

    def on_message(self, delivery: Delivery) -> None:
        delivery.settle(Verdict.DUPLICATE)

    def on_request(self, request: Any) -> None:
        pass

    def on_peer_up(self, peer_id: bytes) -> None:
        pass

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        pass


class Scene:
    """One validator's node among nodes that send what the test likes."""

    def __init__(self, path: Path) -> None:
        self.hub = Hub()
        self.me = Member(self.hub, ME, path / "a", MempoolLimits(1_000, 2**26, 64), TIMEOUTS)
        self.verified = 0

    async def start(self) -> None:
        await self.me.connect()
        self.me.host.start()
        driver: Any = self.me.host._driver
        verify = driver._settings.verify

        def counted(claims: Any) -> Any:
            self.verified += len(claims)
            return verify(claims)

        object.__setattr__(driver._settings, "verify", counted)

    async def node(self, seed: bytes, runs: int | None = None) -> MemoryNetwork:
        """A node that is connected, of a validator if one is given."""
        key = NodeKey(seed * 32)
        made = MemoryNetwork(self.hub, key.node_id, GENESIS.hash, Quiet(), lambda _: True)
        await made.start()
        if runs is not None:
            own = KEYS[runs]
            made.announce(announcement(own.public_key, own.sign, key, GENESIS.hash, (FAR,), 1))
        self.hub.run()
        return made

    async def hears(self, sender: MemoryNetwork, *messages: Any) -> None:
        """Let messages come, and everything that follows from them be done."""
        for message in messages:
            sender.send(self.me.node_key.node_id, Topic.CONSENSUS, encode(message))
        self.hub.run()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not self.me.overlay._has_turn

    def is_banned(self, node: MemoryNetwork) -> bool:
        return self.me.network.scores.is_banned(node.node_id, self.hub.now_ms)

    def index(self, key: int) -> int:
        """The index of a key in the epoch's set."""
        found = self.me.host.validators.index_of(KEYS[key].public_key)
        assert found is not None
        return found


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.start()
    yield made
    made.me.stop()


def header(**changes: Any) -> Header:
    values = {name: bytes(32) for name in Header.__struct_fields__}
    numbers = {"height": 1, "epoch": 0, "view": 1, "parent_view": 0, "time_ms": 1}
    return Header(**{**values, **numbers, "proposer": bytes(20), **changes})


def signed(key: int, index: int, proposal: Proposal) -> Vote:
    return Vote(index, KEYS[key].sign(vote_digest(Tag.NOTARIZE, GENESIS.hash, proposal)))


async def test_a_proposal_over_a_forged_end_of_the_epoch(scene: Scene) -> None:
    liar = await scene.node(b"e", runs=1)
    votes = tuple([Vote(at, NOBODYS) for at in range(COUNT)])
    justify = Justify(Finalization(Proposal(0, 5, 4, b"x" * 32, b"y" * 32), votes), ())
    head = header(epoch=1, height=601, parent_id=b"x" * 32, justify_hash=justify_hash(justify))
    proposal = Proposal(1, 1, 0, head.id, justify_hash(justify))
    sketch = Sketch(proposal, signed(1, scene.index(1), proposal), head, justify, None)
    await scene.hears(liar, *[sketch] * MANY)
    assert scene.is_banned(liar)
    assert scene.verified <= COUNT


async def test_a_body_that_is_not_the_headers(scene: Scene) -> None:
    engine = scene.me.host.engine
    assert engine is not None
    index = engine.epoch.validators.leader(1)
    assert index != engine.epoch.me
    leader = next(at for at in range(COUNT) if scene.index(at) == index)
    justify = Justify(None, ())
    head = header(justify_hash=justify_hash(justify))
    proposal = Proposal(0, 1, 0, head.id, justify_hash(justify))
    honest, liar = await scene.node(b"h"), await scene.node(b"e")
    await scene.hears(honest, Notarize(proposal, signed(leader, index, proposal)))
    assert engine.catchup.wants(head.id)
    foreign = BlockReply((Block(head, justify, encode(Body((b"", b"")))),))
    await scene.hears(liar, *[foreign] * MANY)
    assert scene.is_banned(liar)
    assert engine.catchup.wants(head.id), "others may have it"
    assert not scene.is_banned(honest)


def forged(number: int, votes: int = COUNT) -> Notarization:
    subject = Proposal(0, 2, 1, number.to_bytes(32, "big"), b"y" * 32)
    return Notarization(subject, tuple([Vote(at, NOBODYS) for at in range(votes)]))


async def test_what_a_liar_has_left_in_the_inbox_is_not_looked_at(scene: Scene) -> None:
    """Behind many cheap messages, forged certificates: a turn of them is enough."""
    liar = await scene.node(b"e")
    status = Status(0, 1, 0, 0, 0, scene.me.application.tip().block_id)
    await scene.hears(liar, *[status] * MANY, *[forged(at) for at in range(10 * MANY)])
    assert scene.is_banned(liar)
    assert scene.verified <= STRANGERS_MESSAGES, "one vote of each"


@pytest.mark.parametrize("runs", [None, 1])
async def test_who_is_gone_is_heard_to_the_end_if_it_is_a_validator(
    scene: Scene, runs: int | None
) -> None:
    peer = await scene.node(b"p", runs)
    for _ in range(MANY):
        status = Status(0, 1, 0, 0, 0, scene.me.application.tip().block_id)
        peer.send(scene.me.node_key.node_id, Topic.CONSENSUS, encode(status))
    scene.hub.run()
    assert scene.me.overlay._inbox
    await peer.stop()
    assert bool(scene.me.overlay._inbox) == (runs is not None)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert scene.me.network.scores.score(peer.node_id, 0) == 0


async def test_a_false_vote_dressed_as_a_sketch(scene: Scene) -> None:
    leads = scene.me.host.validators.leader(1)
    leader = next(at for at in range(COUNT) if scene.index(at) == leads)
    await scene.node(b"l", runs=leader)
    honest, liar = await scene.node(b"h"), await scene.node(b"e")
    head = header()
    true = Proposal(0, 1, 0, head.id, bytes(32))
    await scene.hears(honest, Sketch(true, signed(leader, leads, true), head, None, None))
    false = [Proposal(0, 1, 0, bytes([at]) * 32, bytes(32)) for at in range(MANY)]
    before = scene.verified
    await scene.hears(liar, *[Sketch(one, Vote(leads, NOBODYS), head, None, None) for one in false])
    assert scene.is_banned(liar)
    assert scene.verified - before <= STRANGERS_MESSAGES
    assert not scene.is_banned(honest), "whoever brings it, a true vote counts"
