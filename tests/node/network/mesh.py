"""Four hosts in one process, with everything between overlay and network, joined in memory."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from consensus.driver import Driver
from consensus.settings import Settings
from consensus.timeouts import Pacing, Timeouts
from node.application import Application
from node.backend import NodeBackend
from node.bodies import VerifiedWires
from node.client import Account
from node.clock import SystemClock
from node.home import Home
from node.host import Host
from node.mempool import Mempool, MempoolLimits
from node.metrics import NodeMetrics
from node.network.identity import announcement
from node.network.overlay import Overlay
from node.network.proposals import Proposals
from node.network.transactions import TransactionGossip
from node.signer import create_guard
from node.standing import take_stock
from node.storage.chain_store import ChainStore
from node.storage.kv import MemoryStore
from p2p.addresses import Address
from p2p.handshake import NodeKey
from p2p.memory import Hub, MemoryNetwork
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.bank import Transfer
from state.params import Params
from state.transaction import Body

COUNT = 4
SENDERS = 64
TIMEOUTS = Timeouts(10_000, 5_000, 30_000, 3_000, 5_000, 60_000)
"""Generous, so that a slow machine gives up no view."""
GOSSIP_SLOWDOWN = 30
"""Gossip's clock runs slower than the machine's, for the same reason: nothing is pulled twice."""
KEYS = [Account.from_seed(bytes([number]) * 32) for number in range(1, COUNT + 1)]
PAYERS = [Account.from_seed(b"p" + number.to_bytes(31, "big")) for number in range(SENDERS)]
GENESIS = Genesis(
    "mesh",
    0,
    Params(),
    tuple([Allocation(key.address, 10**15) for key in [*KEYS, *PAYERS]]),
    tuple([GenesisValidator(key.public_key, key.address, 10**12) for key in KEYS]),
)


def transfer(
    payer: int, nonce: int, fee_max: int = 10**6, genesis_hash: bytes = GENESIS.hash
) -> bytes:
    """The wire bytes of a signed transfer; its signature holds on that network alone."""
    account = PAYERS[payer]
    body = Body(account.address, nonce, 1_000, fee_max, (Transfer(b"r" * 20, 1),))
    return account.sign_body(body, genesis_hash)[0]


class Member:
    """One validator's node, all of it but sockets, RPC and disk."""

    def __init__(
        self, hub: Hub, index: int, path: Path, limits: MempoolLimits, timeouts: Timeouts
    ) -> None:
        self.key = KEYS[index]
        home = Home(path)
        path.mkdir()
        create_guard(home.guard_file, self.key.public_key, GENESIS.hash)
        clock = SystemClock()
        self.store = ChainStore(MemoryStore(), GENESIS)
        self.mempool = Mempool(limits)
        known = VerifiedWires(self.mempool.wires)
        self.application = Application(
            self.store,
            GENESIS,
            invariants_every_blocks=1_000,
            timed=lambda _: nullcontext(),
            known=known,
        )
        self.standing = take_stock(home, self.key, self.application, None)
        self.overlay = Overlay()
        driver = Driver(
            Settings(
                GENESIS.hash,
                self.application.epoch_blocks,
                self.key.public_key,
                self.overlay.verify,
                self.application.bodies.judge,
                self.application.judge_over_parent,
                timeouts,
                Pacing(5, 40),
            )
        )
        self.host = Host(
            driver,
            self.application,
            self.store,
            self.mempool,
            self.standing.keeper,
            clock,
            NodeMetrics(clock),
            peers=self.overlay,
        )
        self.node_key = NodeKey(bytes([100 + index]) * 32)
        self.network = MemoryNetwork(
            hub,
            self.node_key.node_id,
            GENESIS.hash,
            self.overlay,
            lambda key: key in {one.public_key for one in KEYS},
        )
        self.backend = NodeBackend(
            self.application, self.store, self.mempool, self.host, known, self.network, clock
        )
        self.host.backend = self.backend
        self.gossip = TransactionGossip(
            self.backend, self.network, lambda: clock.now_ms() // GOSSIP_SLOWDOWN
        )
        self.proposals = Proposals(
            self.application.bodies,
            self.backend.pending,
            self.gossip,
            GENESIS.hash,
            clock.now_ms,
        )
        self.backend.admitted = self.overlay.admitted
        self.overlay.join(self.host, self.network, self.gossip, self.proposals)

    async def connect(self) -> None:
        """Reach everybody who is connected, announced as validators' nodes are."""
        await self.network.start()
        self.network.announce(
            announcement(
                self.key.public_key,
                self.key.sign,
                self.node_key,
                GENESIS.hash,
                (Address("127.0.0.1", 1),),
                1,
            )
        )

    def stop(self) -> None:
        """Do nothing any more."""
        self.host.stop()
        self.gossip.stop()
        self.proposals.stop()
        self.standing.close()

    @property
    def height(self) -> int:
        """The height of the last final block."""
        return self.application.head.header.height

    def is_final(self, tx_ids: Iterable[bytes]) -> bool:
        """Whether all of these are final here."""
        return all(self.store.place(tx_id) is not None for tx_id in tx_ids)


class Mesh(list[Member]):
    """The nodes, and what carries their messages from turn to turn."""

    def __init__(
        self,
        folder: Path,
        limits: MempoolLimits | None = None,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self.hub = Hub()
        limits = limits or MempoolLimits(100_000, 2**26, 64)
        super().__init__(
            [
                Member(self.hub, index, folder / str(index), limits, timeouts)
                for index in range(COUNT)
            ]
        )
        self.failed: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.failed.append(context)
        )
        self._pump = asyncio.create_task(self._carry())

    async def start(self) -> None:
        """Start every node once all are connected."""
        for member in self:
            await member.connect()
        self.hub.run()
        for member in self:
            member.host.start()

    async def stop(self) -> None:
        """Stop every node, and carry nothing any more."""
        self._pump.cancel()
        for member in self:
            member.stop()
        await asyncio.sleep(0)
        assert not self.failed, self.failed

    async def _carry(self) -> None:
        while True:
            self.hub.run()
            await asyncio.sleep(0.001)

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let everything go on until the condition holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                assert not self.failed, self.failed
                await asyncio.sleep(0.005)

    def sent_bytes(self) -> Counter[str]:
        """What all of them have sent so far, by topic."""
        total: Counter[str] = Counter()
        for member in self:
            for topic, size in member.network.counters.sent_bytes.items():
                total[topic.name] += size
        return total

    def agree(self) -> None:
        """Every height that all have reached has one block."""
        lowest = min(member.height for member in self)
        for height in range(lowest + 1):
            assert len({member.store.header(height).block_id for member in self}) == 1, height
