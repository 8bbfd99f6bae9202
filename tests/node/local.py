"""A chain of one validator over any store, and the host that runs it, for tests."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from consensus.driver import Driver
from consensus.settings import Settings
from consensus.timeouts import DEVNET, Pacing
from node.application import Application, Candidate
from node.backend import NodeBackend
from node.bodies import VerifiedWires
from node.client import Account
from node.clock import SystemClock
from node.host import Host
from node.keeper import Keeper
from node.mempool import Mempool, MempoolLimits
from node.metrics import NodeMetrics
from node.storage.chain_store import ChainStore
from node.storage.journal import Journal, create_journal
from node.storage.kv import KeyValueStore
from p2p.interface import PeerInfo
from state import crypto
from state.crypto import Tag
from state.finality import (
    Finalization,
    Header,
    Justify,
    Nullified,
    Proposal,
    SignedVote,
    Vote,
    justify_hash,
    set_hash,
    vote_digest,
)
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.all import MESSAGES
from state.modules.bank import Transfer
from state.params import Params
from state.registry import Message
from state.transaction import Body as TransactionBody
from state.transaction import Transaction, TransactionDecoder

FUNDS = 10**15
INTERVAL_MS = 1_000


class LocalChain:
    """One validator's network: `open` gives its application over a store, `step` makes a block.

    Whatever is not signed by accounts is signed by nobody: votes are not checked here.
    """

    def __init__(self, accounts: int = 4, funds: int = FUNDS, params: Params | None = None) -> None:
        self.accounts = [
            Account.from_seed(number.to_bytes(32, "big")) for number in range(1, 1 + accounts)
        ]
        first = self.accounts[0]
        self.genesis = Genesis(
            "local",
            0,
            params or Params(),
            tuple(Allocation(account.address, funds) for account in self.accounts),
            (GenesisValidator(first.public_key, first.address, 10**9),),
        )
        self.decoder = TransactionDecoder(MESSAGES, self.genesis.hash)

    def open(self, store: KeyValueStore, **options: Any) -> Application:
        return Application(
            ChainStore(store, self.genesis),
            self.genesis,
            **{"invariants_every_blocks": 1, "timed": lambda _: nullcontext(), **options},
        )

    def wire(
        self,
        by: int,
        nonce: int,
        *messages: Message,
        fee_max: int = 10**6,
        until: int = 100,
    ) -> bytes:
        account = self.accounts[by]
        found = messages or (Transfer(self.accounts[1 - by % 2].address, 1),)
        body = TransactionBody(account.address, nonce, until, fee_max, tuple(found))
        return account.sign_body(body, self.genesis.hash)[0]

    def transaction(
        self, by: int, nonce: int, *messages: Message, fee_max: int = 10**6, until: int = 100
    ) -> Transaction:
        wire = self.wire(by, nonce, *messages, fee_max=fee_max, until=until)
        return self.decoder.decode(wire, bytes_max=2**20)

    def propose(
        self,
        application: Application,
        *transactions: Transaction,
        parent: Candidate | None = None,
        view: int | None = None,
    ) -> Candidate:
        """Build and execute a block over the head, or over an unfinal parent."""
        above = application.tip() if parent is None else parent
        height = above.header.height + 1
        built = application.build(above.block_id, transactions)
        info = application.epoch_info()
        justify = Justify(self.finalize(above.header), ())
        header = Header(
            height,
            info.epoch,
            height if view is None else view,
            height - 1,
            above.block_id,
            height * INTERVAL_MS,
            self.accounts[0].address,
            built.tx_root,
            built.evidence_root,
            justify_hash(justify),
            above.state_root,
            above.outcomes_root,
            set_hash(info.validators),
            set_hash(info.next_validators),
            built.params_hash,
        )
        return application.execute(header, header.id, justify, built.body)

    def finalize(self, header: Header) -> Finalization | None:
        """Return the certificate that the only validator gives a header, none over genesis."""
        if header.height == 0:
            return None
        subject = Proposal(
            header.epoch, header.view, header.parent_view, header.id, header.justify_hash
        )
        digest = vote_digest(Tag.FINALIZE, self.genesis.hash, subject)
        return Finalization(subject, (Vote(0, self.accounts[0].sign(digest)),))

    def step(self, application: Application, *transactions: Transaction) -> Candidate:
        return self.commit(application, self.propose(application, *transactions))

    def commit(self, application: Application, block: Candidate) -> Candidate:
        return application.commit(block.header, block.block_id, self.finalize(block.header))


class LocalNode:
    """Host and backend of a LocalChain over a store; `steps` names what was done, in order."""

    def __init__(
        self, chain: LocalChain, store: KeyValueStore, pacing: Pacing, folder: Path
    ) -> None:
        self.chain = chain
        self.steps: list[str] = []
        clock = SystemClock()
        self.metrics = NodeMetrics(clock)
        self.mempool = Mempool(MempoolLimits(1_000, 2**24, 256))
        self.chain_store = ChainStore(store, chain.genesis)
        known = VerifiedWires(self.mempool.wires)
        self.application = Application(
            self.chain_store,
            chain.genesis,
            invariants_every_blocks=1,
            timed=self._timed,
            known=known,
        )
        key = chain.accounts[0].public_key
        path = folder / "journal"
        if not path.exists():
            create_journal(path, key, chain.genesis.hash)
        self.keeper = Keeper(Journal(path, key, chain.genesis.hash), self)
        driver = Driver(
            Settings(
                chain.genesis.hash,
                self.application.epoch_blocks,
                key,
                crypto.verify_many,
                self.application.bodies.judge,
                self.application.judge_over_parent,
                DEVNET,
                pacing,
            )
        )
        self.host = Host(
            driver,
            self.application,
            self.chain_store,
            self.mempool,
            self.keeper,
            clock,
            self.metrics,
        )
        self.backend = NodeBackend(
            self.application, self.chain_store, self.mempool, self.host, known, self, clock
        )
        self.host.backend = self.backend

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        yield
        self.steps.append(stage)

    def stop(self) -> None:
        self.host.stop()
        self.keeper.close()

    def votes(self, validator: int) -> tuple[SignedVote, ...]:
        return ()

    def sync(self) -> None:
        self.steps.append("guard")

    def raise_floor(self, epoch: int, view: int) -> None:
        self.steps.append(f"floor {epoch}:{view}")

    def sign_vote(self, kind: Tag, subject: Proposal | Nullified, *, sync: bool) -> bytes:
        self.steps.append(kind.name.lower())
        digest = vote_digest(kind, self.chain.genesis.hash, subject)
        return self.chain.accounts[0].sign(digest)

    node_id = bytes(32)

    def peers(self) -> list[PeerInfo]:
        return []

    @property
    def height(self) -> int:
        return self.application.head.header.height

    async def has_committed(self, seconds: float = 10.0) -> None:
        """Let the loop turn until the first block since the start is final."""
        async with asyncio.timeout(seconds):
            await self.host.has_committed.wait()

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Let the loop turn until the condition holds."""
        async with asyncio.timeout(seconds):
            feed = self.backend.blocks()
            while not condition():
                await anext(feed)
