"""A laboratory for block sync: peers of every kind, a virtual clock, and a node that syncs."""

import heapq
import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from consensus.messages import Block
from node.application import Application
from node.clock import SystemClock
from node.evidence_pool import EvidencePool
from node.ledger import Ledger
from node.mempool import Mempool, MempoolLimits
from node.metrics import NodeMetrics
from node.storage.chain_store import ChainStore
from node.storage.kv import KeyValueStore, MemoryStore
from node.sync.archive import chain_handlers
from node.sync.core import BlockSync
from node.sync.effects import Accuse, Ask, Begin, Check, Descend, Effect, End, KeepLink, Lack
from node.sync.errors import Unfit
from node.sync.importer import Importer
from node.sync.messages import BlocksAnswer, FinalAnswer, HeadersAnswer, SyncRequest, decode_answer
from state.codec import encode, replace
from state.errors import InvalidBlock
from state.genesis import Genesis
from tests.node.sync.chains import GENESIS, Chain

Change = Callable[[SyncRequest, Any], Any]
"""What a peer makes of an honest answer: another one, bytes, or None for silence."""


@dataclass
class Peer:
    """A peer: what it has, what it claims, how long it takes, and what it does to its answers."""

    name: bytes
    chain: Chain
    claim: tuple[int, int] | None = None
    delay_ms: int = 20
    change: Change = lambda request, answer: answer
    loses: float = 0.0
    asked: list[SyncRequest] = field(default_factory=list)

    def claims(self) -> tuple[int, int]:
        head = self.chain.application.head.header
        return self.claim or (head.height // self.chain.application.epoch_blocks, head.height)

    def answer(self, request: SyncRequest) -> bytes | None:
        self.asked.append(request)
        handler = chain_handlers(self.chain.store)[type(request)]
        answer = self.change(request, handler(request))
        return answer if answer is None or isinstance(answer, bytes) else encode(answer)


class Lab:
    """One syncing node among peers; everything happens in virtual time."""

    def __init__(
        self,
        *peers: Peer,
        rows: KeyValueStore | None = None,
        seed: int = 0,
        genesis: Genesis = GENESIS,
    ) -> None:
        self.peers = {peer.name: peer for peer in peers}
        self.rows = MemoryStore() if rows is None else rows
        self.store = ChainStore(self.rows, genesis)
        self.application = Application(
            self.store, genesis, invariants_every_blocks=1, timed=lambda _: nullcontext()
        )
        clock = SystemClock()
        ledger = Ledger(
            self.application,
            Mempool(MempoolLimits(10, 2**20, 10)),
            EvidencePool(self.store.finality, genesis.hash),
            NodeMetrics(clock),
        )
        self.importer = Importer(self.application, self.store, ledger)
        self.core = BlockSync(genesis.hash, self.application.epoch_blocks, self.application.bodies)
        self.now_ms = 0
        self.accused: list[bytes] = []
        self.begun: list[int] = []
        self.ended = 0
        self.lacks: list[int] = []
        self.descents: list[tuple[int, int]] = []
        self.chance = random.Random(seed)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.crash_at: int | None = None
        """Raise before the block of this height becomes final."""

    @property
    def height(self) -> int:
        return self.application.head.header.height

    def at(self, at_ms: int, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_ms, self._count, act))

    def claim(self) -> None:
        for peer in self.peers.values():
            self.core.claimed(peer.name, *peer.claims())

    def run(self, until: Callable[[], bool], ms_max: int = 600_000) -> None:
        """Let time pass until something is so."""
        end = self.now_ms + ms_max
        self.claim()
        while not until():
            assert self.now_ms < end, f"not so after {ms_max} ms: {self.core.stage}, {self.height}"
            self._turn()
            next_ms = self.now_ms + 100
            if self._events and self._events[0][0] <= next_ms:
                self.now_ms, _, act = heapq.heappop(self._events)
                act()
            else:
                self.now_ms = next_ms
                self.claim()

    def sync(self, ms_max: int = 600_000) -> "Lab":
        """Run until the sync has ended once more."""
        ended = self.ended
        self.run(lambda: self.ended > ended, ms_max)
        return self

    def _turn(self) -> None:
        tip, info = self.application.tip(), self.application.epoch_info()
        for effect in self.core.poll(self.now_ms, tip, info):
            self._carry_out(effect)
        one = self.core.ready()
        if one is not None:
            if one.block.header.height == self.crash_at:
                raise Crash
            self.importer.take(one)
            self.core.committed(self.application.tip(), self.application.epoch_info())
            self.at(self.now_ms, lambda: None)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Ask():
                self._ask(effect)
            case Check(number, job):
                found: object
                try:
                    found = job()
                except (Unfit, InvalidBlock) as error:
                    found = error
                self.at(self.now_ms + 1, lambda: self.core.checked(number, found, self.now_ms))
            case Accuse(peer):
                self.accused.append(peer)
                self.peers.pop(peer, None)
            case KeepLink(proposal, justify):
                self.store.finality.keep_link(proposal, justify)
            case Begin(height):
                self.begun.append(height)
            case Descend(epoch, view):
                self.descents.append((epoch, view))
            case End():
                self.ended += 1
            case Lack(height):
                self.lacks.append(height)

    def _ask(self, ask: Ask) -> None:
        peer = self.peers.get(ask.peer)
        is_lost = peer is not None and self.chance.random() < peer.loses
        answer = None if peer is None or is_lost else peer.answer(ask.request)
        late_ms = 0 if peer is None else peer.delay_ms
        if answer is None or late_ms >= ask.timeout_ms:
            refused = peer is not None and not is_lost and peer.delay_ms < ask.timeout_ms
            wait_ms = late_ms if refused else ask.timeout_ms
            self.at(
                self.now_ms + wait_ms,
                lambda: self.core.failed(ask.number, self.now_ms, is_missing=refused),
            )
        else:
            self.at(
                self.now_ms + late_ms,
                lambda: self.core.answered(ask.number, answer, self.now_ms),
            )


class Crash(Exception):
    """The power fails."""


# --- what peers do to their answers ---------------------------------------------------------------


def other_bodies(request: SyncRequest, answer: Any) -> Any:
    """Each block has the body of another one."""
    if not isinstance(answer, BlocksAnswer) or len(answer.blocks) < 2:
        return answer
    bodies = [block.body for block in answer.blocks]
    swapped = [
        Block(block.header, block.justify, body)
        for block, body in zip(answer.blocks, bodies[1:] + bodies[:1], strict=True)
    ]
    return replace(answer, blocks=tuple(swapped))


def no_bodies(request: SyncRequest, answer: Any) -> Any:
    """Blocks without what is in them."""
    if not isinstance(answer, BlocksAnswer):
        return answer
    empty = [Block(block.header, block.justify, b"") for block in answer.blocks]
    return replace(answer, blocks=tuple(empty))


def backwards(request: SyncRequest, answer: Any) -> Any:
    """Everything in the wrong order."""
    if isinstance(answer, BlocksAnswer) and len(answer.blocks) > 1:
        return replace(answer, blocks=answer.blocks[::-1])
    if isinstance(answer, HeadersAnswer) and len(answer.headers) > 1:
        return replace(answer, headers=answer.headers[::-1])
    return answer


def one_at_a_time(request: SyncRequest, answer: Any) -> Any:
    """As little as can be."""
    if isinstance(answer, BlocksAnswer):
        return BlocksAnswer(answer.blocks[:1], None)
    if isinstance(answer, HeadersAnswer):
        return HeadersAnswer(answer.headers[:1])
    return answer


def all_but_the_last(request: SyncRequest, answer: Any) -> Any:
    """One block less than there are; every byte of it is true."""
    if isinstance(answer, BlocksAnswer) and len(answer.blocks) > 1:
        return BlocksAnswer(answer.blocks[:-1], None)
    return answer


def wrong_justification(request: SyncRequest, answer: Any) -> Any:
    """Blocks under the justification of their neighbours."""
    if not isinstance(answer, BlocksAnswer) or len(answer.blocks) < 2:
        return answer
    links = [block.justify for block in answer.blocks]
    changed = [
        Block(block.header, link, block.body)
        for block, link in zip(answer.blocks, links[1:] + links[:1], strict=True)
    ]
    return replace(answer, blocks=tuple(changed))


def few_votes(request: SyncRequest, answer: Any) -> Any:
    """Finalizations with one vote."""
    if isinstance(answer, FinalAnswer | BlocksAnswer) and answer.finalization is not None:
        final = answer.finalization
        return replace(answer, finalization=replace(final, votes=final.votes[:1]))
    return answer


def forged_votes(request: SyncRequest, answer: Any) -> Any:
    """Finalizations whose signatures nobody made."""
    if isinstance(answer, FinalAnswer | BlocksAnswer) and answer.finalization is not None:
        final = answer.finalization
        votes = tuple([replace(vote, signature=bytes(64)) for vote in final.votes])
        return replace(answer, finalization=replace(final, votes=votes))
    return answer


def garbage(request: SyncRequest, answer: Any) -> Any:
    """No answer at all, but bytes."""
    return b"\x93\x01\x02garbage"


def silence(request: SyncRequest, answer: Any) -> Any:
    """Nothing."""
    return None


def another_kind(request: SyncRequest, answer: Any) -> Any:
    """Headers for a finalization, and a finalization for everything else."""
    if isinstance(answer, FinalAnswer):
        return HeadersAnswer((answer.header,))
    if isinstance(answer, HeadersAnswer):
        return BlocksAnswer((Block(answer.headers[0], _JUSTIFY, b""),), None)
    if isinstance(answer, BlocksAnswer):
        return HeadersAnswer(tuple([block.header for block in answer.blocks]))
    return answer


def _some_justify() -> Any:
    chain = Chain().grow(1)
    found = decode_answer(encode(BlocksAnswer(chain.store.blocks_upwards(1, 1, 2**20), None)))
    assert isinstance(found, BlocksAnswer)
    return found.blocks[0].justify


_JUSTIFY = _some_justify()

LIES: list[Change] = [
    *(other_bodies, no_bodies, backwards, wrong_justification),
    *(few_votes, forged_votes, garbage, another_kind),
]
"""What no honest peer answers."""
