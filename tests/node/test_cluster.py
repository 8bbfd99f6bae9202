"""Four real hosts in one process, over real files, and messages handed from one to the other."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from consensus.driver import Driver
from consensus.messages import Message, Propose, decode
from consensus.settings import Settings
from consensus.timeouts import Pacing, Timeouts
from node.application import Application, Built
from node.backend import AlreadyFinal, NodeBackend
from node.bodies import VerifiedWires
from node.client import Account
from node.clock import SystemClock
from node.home import Home
from node.host import Host
from node.mempool import Mempool, MempoolLimits
from node.metrics import NodeMetrics
from node.replay import replay
from node.rpc.backend import Stage
from node.signer import GuardRefused, create_guard
from node.standing import take_stock
from node.storage.chain_store import ChainStore
from node.storage.kv import LevelDb, MemoryStore
from p2p.interface import PeerInfo
from state import crypto
from state.block import Body as BlockBody
from state.codec import encode
from state.crypto import Tag
from state.finality import (
    Conflict,
    Finalization,
    Header,
    Notarize,
    Nullified,
    Proposal,
    Vote,
    vote_digest,
)
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.bank import Transfer
from state.modules.staking.records import VALIDATORS, Standing
from state.params import Params, StakingParams
from state.transaction import Body

EPOCH_BLOCKS = 8
TIMEOUTS = Timeouts(100, 200, 1_000, 300, 500)
KEYS = [Account.from_seed(bytes([number]) * 32) for number in range(1, 5)]
GENESIS = Genesis(
    "cluster",
    0,
    Params(
        staking=StakingParams(epoch_blocks=EPOCH_BLOCKS, unbonding_blocks=100, evidence_blocks=80)
    ),
    tuple([Allocation(key.address, 10**15) for key in KEYS]),
    tuple([GenesisValidator(key.public_key, key.address, 10**12) for key in KEYS]),
)


class Member:
    """One node of the cluster; it is up or down, and its home survives."""

    def __init__(self, cluster: "Cluster", index: int, path: Path) -> None:
        self.cluster = cluster
        self.key = KEYS[index]
        self.home = Home(path)
        path.mkdir()
        create_guard(self.home.guard_file, self.key.public_key, GENESIS.hash)
        self.host: Host | None = None

    def start(self) -> None:
        clock = SystemClock()
        self.store = ChainStore(LevelDb(self.home.data, create=True), GENESIS)
        self.mempool = Mempool(MempoolLimits(1_000, 2**24, 256))
        known = VerifiedWires(self.mempool.wires)
        self.application = Application(
            self.store,
            GENESIS,
            invariants_every_blocks=1,
            timed=lambda _: nullcontext(),
            known=known,
        )
        self.standing = take_stock(self.home, self.key, self.application, None)
        self.driver = self.make_driver()
        self.host = Host(
            self.driver,
            self.application,
            self.store,
            self.mempool,
            self.standing.keeper,
            clock,
            NodeMetrics(clock),
            peers=self,
            vote_after=None,
        )
        self.backend = NodeBackend(
            self.application, self.store, self.mempool, self.host, known, self, clock
        )
        self.host.backend = self.backend
        self.host.start()

    def make_driver(self) -> Driver:
        return Driver(
            Settings(
                GENESIS.hash,
                EPOCH_BLOCKS,
                self.key.public_key,
                crypto.verify_many,
                self.application.bodies.judge,
                self.application.judge_over_parent,
                TIMEOUTS,
                Pacing(5, 40),
            )
        )

    node_id = bytes(32)

    def peers(self) -> list[PeerInfo]:
        """Return nobody: messages are handed over without a network."""
        return []

    def stop(self) -> None:
        """Go without a word: nothing that was not synced before is written."""
        assert self.host is not None
        self.host.stop()
        self.host = None
        self.standing.close()
        self.store.close()

    @property
    def height(self) -> int:
        return self.application.head.header.height

    # --- Peers -----------------------------------------------------------------------------------

    def send(self, to: bytes, message: Message) -> None:
        self.cluster.deliver(self.key.public_key, to, message)

    def broadcast(self, message: Message) -> None:
        for other in self.cluster.members:
            if other is not self:
                self.cluster.deliver(self.key.public_key, other.key.public_key, message)

    def blame(self, peer: bytes) -> None:
        raise AssertionError("all are honest")


class Cluster:
    """The nodes and what lies between them."""

    def __init__(self, folder: Path) -> None:
        self.members = [Member(self, index, folder / str(index)) for index in range(len(KEYS))]
        self.failed: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.failed.append(context)
        )

    def deliver(self, sender: bytes, to: bytes, message: Message) -> None:
        wire = encode(message)
        for member in self.members:
            if member.key.public_key == to:
                asyncio.get_running_loop().call_later(0.001, self._arrive, member, sender, wire)

    def _arrive(self, member: Member, sender: bytes, wire: bytes) -> None:
        if member.host is not None:
            member.host.receive(sender, decode(wire))

    @property
    def up(self) -> list[Member]:
        return [member for member in self.members if member.host is not None]

    async def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                assert not self.failed, self.failed
                await asyncio.sleep(0.005)

    async def grow(self, blocks: int) -> None:
        """Wait until everybody who is up has so many blocks more than the highest has now."""
        goal = max(member.height for member in self.up) + blocks
        await self.until(lambda: all(member.height >= goal for member in self.up))

    async def send(self, nonce: int, by: int = 0) -> bytes:
        body = Body(KEYS[by].address, nonce, 1_000, 10**6, (Transfer(b"r" * 20, 1),))
        wire, _ = KEYS[by].sign_body(body, GENESIS.hash)
        first, *others = self.up
        tx_id = await first.backend.submit(wire)
        for member in others:
            with suppress(AlreadyFinal):  # the chain does not wait for the last of them
                await member.backend.submit(wire)
        return tx_id

    def agree(self) -> None:
        """Every height has one block, and the states that they share have one root."""
        lowest = min(member.height for member in self.up)
        for height in range(lowest + 1):
            assert len({member.store.header(height).block_id for member in self.up}) == 1, height


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    for member in made.members:
        member.start()
    yield made
    for member in made.up:
        member.stop()
    assert not made.failed


async def test_four_finalize_transactions_across_epochs_and_replay(cluster: Cluster) -> None:
    for nonce in range(1, 6):
        tx_id = await cluster.send(nonce)
        await cluster.until(
            lambda tx_id=tx_id: all(
                member.backend._store.place(tx_id) is not None for member in cluster.up
            )
        )
        assert cluster.up[0].backend.transaction_status(tx_id).stage is Stage.FINAL
    await cluster.grow(2 * EPOCH_BLOCKS)
    cluster.agree()
    member = cluster.members[0]
    assert member.host is not None
    assert member.host.round[0] >= 2
    steps = list(replay(member.store, GENESIS, MemoryStore()))
    assert all(step.agrees for step in steps)
    assert len(steps) == member.height + 1


async def test_each_restarts_and_catches_up(cluster: Cluster) -> None:
    for member in cluster.members:
        await cluster.grow(2)
        member.stop()
        await cluster.grow(EPOCH_BLOCKS + 3)
        member.start()
        assert not member.driver.core.is_lost
    await cluster.grow(4)
    cluster.agree()


async def test_an_engine_gives_way_to_a_fresh_one_at_any_moment(cluster: Cluster) -> None:
    """As after a crash, but the process lives: nothing is voted meanwhile, nor twice later."""
    for turn in range(12):
        member = cluster.members[turn % len(KEYS)]
        assert member.host is not None
        await cluster.grow(1)
        member.host.pause()
        member.host.set_pacing(5, 30)
        height = member.height
        if turn % 3 == 0:
            others = [one for one in cluster.members if one is not member]
            goal = max(one.height for one in others) + 2
            await cluster.until(lambda goal=goal, up=others: min(o.height for o in up) >= goal)
        else:
            await asyncio.sleep(0.01)
        assert member.height == height and member.host.hello() is None
        assert member.host.round[0] == member.application.head.header.epoch
        member.driver = member.make_driver()
        member.host.resume(member.driver)
        assert member.driver.core.pacing == Pacing(5, 30)
    await cluster.grow(EPOCH_BLOCKS)
    cluster.agree()
    for member in cluster.members:
        assert not list(member.store.finality.evidence()), "nobody voted twice"


async def test_all_restart_at_once(cluster: Cluster) -> None:
    await cluster.grow(3)
    for member in cluster.members:
        member.stop()
    for member in cluster.members:
        member.start()
    await cluster.grow(EPOCH_BLOCKS)
    cluster.agree()


async def test_who_lost_its_journal_follows_until_it_may_vote(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sahara")
    await cluster.grow(3)
    member = cluster.members[2]
    member.stop()
    member.home.journal_file.unlink()
    await cluster.grow(2)
    member.start()
    assert member.driver.core.is_lost
    assert member.standing.keeper.journal.is_lost
    await cluster.until(lambda: not member.driver.core.is_lost)
    assert not member.standing.keeper.journal.is_lost, "and this is remembered"
    told = [
        row for row in caplog.records if row.message in ("follows without a vote", "votes again")
    ]
    assert [row.message for row in told] == ["follows without a vote", "votes again"]
    epoch, view = member.driver.core.votes_above
    assert vars(told[1])["above"] == f"{epoch}:{view}"
    assert view > 0
    with pytest.raises(GuardRefused):  # the guard knows, should the rest ever be set back
        member.standing.signer.sign_vote(Tag.NULLIFY, Nullified(epoch, view))
    await cluster.grow(EPOCH_BLOCKS)
    cluster.agree()


async def test_an_offender_is_punished_on_every_node(cluster: Cluster) -> None:
    """A validator's key signs what excludes itself; whoever hears both puts it on the chain."""
    await cluster.grow(1)
    cluster.members[3].stop()
    epoch = cluster.up[0].driver.core.epoch
    index = epoch.validators.index_of(KEYS[3].public_key)
    assert index is not None

    def vote(kind: crypto.Tag, subject: Proposal | Nullified) -> Vote:
        return Vote(index, KEYS[3].sign(vote_digest(kind, GENESIS.hash, subject)))

    first = Proposal(epoch.number, 3, 2, b"a" * 32, bytes(32))
    second = Proposal(epoch.number, 3, 2, b"b" * 32, bytes(32))
    proof = Conflict(
        Notarize(first, vote(crypto.Tag.NOTARIZE, first)),
        Notarize(second, vote(crypto.Tag.NOTARIZE, second)),
    )
    for member in cluster.up:
        assert member.host is not None
        member.host._evidence.add(proof)
    account = KEYS[3].address

    def tombstoned(member: Member) -> bool:
        row = VALIDATORS.get(member.application.state, account)
        return row is not None and row.standing == Standing.TOMBSTONED

    await cluster.until(lambda: all(tombstoned(member) for member in cluster.up))
    await cluster.grow(1)
    for member in cluster.up:
        assert member.host is not None
        assert len(member.host._evidence) == 0
        assert not list(member.store.finality.evidence())
    cluster.agree()


FALSE = Notarize(Proposal(0, 1, 0, b"a" * 32, bytes(32)), Vote(0, bytes(64)))
FALSE_BODIES = {
    "late votes": BlockBody((), Finalization(FALSE.subject, (FALSE.vote,))),
    "evidence": BlockBody((), None, (Conflict(FALSE, FALSE),)),
    "parameters": BlockBody(()),
}


@pytest.mark.parametrize("lie", FALSE_BODIES)
async def test_what_lies_in_a_block_is_not_voted_for_and_the_chain_goes_on(
    cluster: Cluster, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One leader's blocks lie of what only the parent's state shows; it itself believes them."""
    await cluster.grow(1)
    liar, body = cluster.members[3], FALSE_BODIES[lie]
    application, key = liar.application, liar.key.public_key
    build, deliver = application.build, cluster.deliver
    lies: set[bytes] = set()
    notarized: set[bytes] = set()

    def built(parent_id: bytes, *_: Any) -> Built:
        made = build(parent_id, (), body.late, body.evidence)
        return dataclasses.replace(made, params_hash=bytes(32)) if lie == "parameters" else made

    def believed(header: Header, block_id: bytes, data: bytes) -> Any:
        below = application.state_after(header.parent_id)
        return below, application.bodies.checked(header, data), frozenset()

    def is_false(header: Header) -> bool:
        root = BlockBody(()).evidence_root
        return header.params_hash == bytes(32) or header.evidence_root == body.evidence_root != root

    def recorded(sender: bytes, to: bytes, message: Message) -> None:
        if isinstance(message, Propose) and sender == key:
            header = message.header
            if is_false(header):
                lies.add(header.id)
        elif isinstance(message, Notarize) and sender != key:
            notarized.add(message.subject.block_id)
        deliver(sender, to, message)

    monkeypatch.setattr(application, "build", built)
    monkeypatch.setattr(application, "_checked", believed)
    monkeypatch.setattr(cluster, "deliver", recorded)
    await cluster.until(lambda: len(lies) >= 2)
    honest = cluster.members[:3]
    goal = max(member.height for member in honest) + 2
    await cluster.until(lambda: all(member.height >= goal for member in honest))
    assert not lies & notarized
    cluster.agree()
