"""A network of drivers in one process: seeded delays and loss, crashes, and lasting journals."""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from random import Random
from typing import Any

from consensus.core import make_vote
from consensus.driver import Driver
from consensus.effects import (
    ALL,
    Blame,
    BuildBlock,
    CommitBlock,
    Effect,
    EvidenceFound,
    ExecuteBlock,
    Halt,
    Journal,
    RaiseFloor,
    Send,
    ServeBlocks,
    ServeBoundary,
    ServeJustify,
    SetTimer,
    SignVote,
    StoreBlock,
    StoreLink,
)
from consensus.inputs import (
    BlockBuilt,
    BlockExecuted,
    ClockSet,
    EpochBegun,
    EpochInfo,
    Input,
    Received,
    Started,
    TimerFired,
    Tip,
    TransactionsPending,
    VoteRefused,
    VoteSigned,
)
from consensus.messages import Block, BlockReply, JustifyReply, Propose, decode, encode
from consensus.settings import Judgement, Settings
from consensus.timeouts import Pacing, Timeouts
from state import codec
from state.crypto import Tag, address_of
from state.finality import (
    Evidence,
    Finalization,
    Header,
    Justify,
    Notarization,
    Nullification,
    Nullified,
    Proposal,
    SignedVote,
    Validator,
    Vote,
    justify_hash,
    set_hash,
    vote_digest,
)
from state.types import ZERO_ADDRESS, ZERO_HASH

GENESIS = b"g" * 32
WALL = 1_000_000
TIMEOUTS = Timeouts(200, 500, 4_000, 1_000, 500)
PACING = Pacing(0, 1_000)


DURABLE = (Journal, StoreBlock, SignVote, CommitBlock)


def digest(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=32).digest()


def sign(key: bytes, message: bytes) -> bytes:
    """A signature that is as good as any other for as long as nobody forges it."""
    return blake2b(key + message, digest_size=64).digest()


def verify(claims: Any) -> list[bool]:
    return [signature == sign(key, message) for key, message, signature in claims]


def key_of(index: int) -> bytes:
    return digest(b"key", bytes([index]))


def judge_body(header: Header, body: bytes) -> Judgement:
    if (header.tx_root, header.evidence_root) != (digest(b"body", body), ZERO_HASH):
        return Judgement.FOREIGN
    return Judgement.INVALID if body.startswith(b"bad") else Judgement.VALID


def judge_over_parent(header: Header, block_id: bytes, body: bytes) -> bool:
    return header.params_hash == ZERO_HASH and not body.startswith(b"unfit")


def genesis_tip(members: tuple[Validator, ...]) -> Tip:
    own = set_hash(members)
    roots = [ZERO_HASH] * 5
    header = Header(0, 0, 0, 0, ZERO_HASH, 500, ZERO_ADDRESS, *roots, own, own, ZERO_HASH)
    return Tip(header, header.id, digest(b"state"), digest(b"outcomes"), True, None)


@dataclass
class Disk:
    """What a node has made durable."""

    records: list[Any] = field(default_factory=list)
    blocks: dict[bytes, Block] = field(default_factory=dict)
    links: list[StoreLink] = field(default_factory=list)
    votes: dict[tuple[int, int, Tag], tuple[Any, bytes]] = field(default_factory=dict)
    chain: list[Tip] = field(default_factory=list)
    bodies: dict[bytes, Block] = field(default_factory=dict)
    boundaries: dict[int, Finalization] = field(default_factory=dict)


class Node:
    """A driver with everything around it."""

    def __init__(self, network: "Network", index: int) -> None:
        self.network = network
        self.index = index
        self.key = key_of(index)
        self.disk = Disk(chain=[network.genesis])
        self.driver: Driver | None = None
        self.life = 0
        self.timer_ms: int | None = None
        self.evidence: list[Evidence] = []
        self.blamed: set[bytes] = set()
        self.executed: dict[bytes, Tip] = {network.genesis.block_id: network.genesis}
        self.seen: dict[bytes, Block] = {}
        self.halted: str | None = None
        self.effects: list[Effect] = []
        self.ahead_ms = 0
        """How far the node's wall clock is ahead of the others'."""
        self.crash_after: int | None = None
        """The power fails before the next durable effect but so many."""

    @property
    def core(self) -> Any:
        assert self.driver is not None
        return self.driver.core

    @property
    def height(self) -> int:
        return self.disk.chain[-1].header.height

    @property
    def wall_ms(self) -> int:
        return self.network.now + WALL + self.ahead_ms

    def set_clock(self, ahead_ms: int) -> None:
        """Set the wall clock, and tell the driver, as a host does after a while."""
        self.ahead_ms = ahead_ms
        self.feed(ClockSet(self.network.now, self.wall_ms))

    def info(self, number: int) -> EpochInfo:
        members = self.network.members
        boundary = self.disk.chain[number * self.network.epoch_blocks]
        return EpochInfo(number, members, members, boundary, members)

    def start(self, **given: Any) -> None:
        network = self.network
        self.life += 1
        length, key = network.epoch_blocks, self.key
        judges = (network.verify, judge_body, judge_over_parent)
        times = (network.timeouts, network.pacing)
        self.driver = Driver(Settings(GENESIS, length, key, *judges, *times))
        tip = self.disk.chain[-1]
        self.executed = {one.block_id: one for one in self.disk.chain}
        number = tip.header.height // network.epoch_blocks
        guarded: tuple[SignedVote, ...] = given.pop("guarded", ())
        records = tuple(self.disk.records)
        blocks = tuple(self.disk.blocks.values())
        now, info, kept = network.now, self.info(number), (records, blocks, guarded)
        self.feed(Started(now, self.wall_ms, info, tip, *kept, **given))
        self.feed(TransactionsPending(network.now, network.pending))

    def crash(self) -> None:
        self.driver = None
        self.timer_ms = None

    def feed(self, event: Input) -> None:
        waiting = deque([event])
        sends: list[Send] = []
        life = self.life
        while waiting and self.driver is not None and self.life == life:
            for effect in self.driver.handle(waiting.popleft()):
                if self.crash_after is not None and isinstance(effect, DURABLE):
                    self.crash_after -= 1
                    if self.crash_after < 0:
                        self.crash_after = None
                        self.crash()
                        return  # what was durable stays, what was to be sent is lost
                self.effects.append(effect)
                waiting.extend(self.carry_out(effect, sends))
        for send in sends:
            self.network.deliver(self, send)

    def carry_out(self, effect: Effect, sends: list[Send]) -> list[Input]:
        match effect:
            case Send():
                sends.append(effect)
            case SetTimer(at_ms):
                assert at_ms > self.network.now, "a timer in the past would spin"
                self.timer_ms = at_ms
                self.network.at(at_ms, self.fire, self.life, at_ms)
            case EvidenceFound(evidence):
                self.evidence.append(evidence)
            case Blame(peer):
                self.blamed.add(peer)
            case ServeBlocks() | ServeBoundary() | ServeJustify():
                sends.extend(self.serve(effect))
            case Halt(reason):
                self.halted = reason
            case Journal() | StoreBlock() | StoreLink() | RaiseFloor():
                self.keep(effect)
            case _:
                return self.answer(effect)
        return []

    def answer(self, effect: Effect) -> list[Input]:
        now = self.network.now
        match effect:
            case BuildBlock(view, height, _, _):
                body = self.network.body(self, height)
                return [
                    BlockBuilt(
                        now, view, self.wall_ms, body, digest(b"body", body), ZERO_HASH, ZERO_HASH
                    )
                ]
            case ExecuteBlock(header, block_id, justify, body):
                assert header.parent_id in self.executed, "parents are executed first"
                self.seen[block_id] = Block(header, justify, body)
                tip = self.network.executed_tip(header)
                self.executed[block_id] = tip = replace(tip, changed=bool(body))
                roots = (tip.state_root, tip.outcomes_root)
                valid = judge_over_parent(header, block_id, body) and not body.startswith(b"fails")
                return [BlockExecuted(now, block_id, valid, *roots, bool(body))]
            case SignVote(kind, subject):
                return [self.sign_vote(kind, subject)]
            case CommitBlock():
                return self.commit(effect)
        return []

    def keep(self, effect: Effect) -> None:
        match effect:
            case Journal(records):
                self.disk.records.extend([decode(encode(record)) for record in records])
            case StoreBlock(block_id, block):
                self.disk.blocks[block_id] = block
            case StoreLink():
                self.disk.links.append(effect)
            case RaiseFloor(epoch, view):
                self.prune(epoch, view)

    def serve(self, effect: ServeBlocks | ServeBoundary | ServeJustify) -> list[Send]:
        if isinstance(effect, ServeJustify):
            links = {one.proposal.justify_hash: one.justify for one in self.disk.links}
            found = links.get(effect.justify_hash)
            return [] if found is None else [Send(effect.to, JustifyReply(found))]
        if isinstance(effect, ServeBoundary):
            return [Send(effect.to, self.disk.boundaries[effect.epoch])]
        blocks: list[Block] = []
        block_id = effect.block_id
        while len(blocks) < effect.count and block_id in self.disk.bodies:
            blocks.append(self.disk.bodies[block_id])
            block_id = blocks[-1].header.parent_id
        return [Send(effect.to, BlockReply(tuple(blocks)))] if blocks else []

    def sign_vote(self, kind: Tag, subject: Proposal | Nullified) -> Input:
        """The guard: what contradicts an earlier vote is refused, the same one signed again."""
        now, votes = self.network.now, self.disk.votes
        at = (subject.epoch, subject.view)
        known = votes.get((*at, kind))
        if known is not None and known[0] != subject:
            return VoteRefused(now, kind, subject)
        other = {
            Tag.NOTARIZE: (Tag.NULLIFY, Tag.FINALIZE),
            Tag.NULLIFY: (Tag.FINALIZE,),
            Tag.FINALIZE: (Tag.NULLIFY,),
        }
        if known is None and any((*at, one) in votes for one in other[kind]):
            return VoteRefused(now, kind, subject)
        signature = sign(self.key, vote_digest(kind, GENESIS, subject))
        votes[(*at, kind)] = (subject, signature)
        return VoteSigned(now, kind, subject, signature)

    def commit(self, effect: CommitBlock) -> list[Input]:
        header, block_id = effect.header, effect.block_id
        last = self.disk.chain[-1]
        assert header.parent_id == last.block_id, "blocks become final in order (R7)"
        done = self.executed[block_id]
        assert header.state_root == last.state_root
        tip = replace(done, finalization=effect.finalization)
        self.disk.chain.append(tip)
        self.disk.bodies[block_id] = self.seen[block_id]
        self.network.agree(tip)
        number, rest = divmod(header.height, self.network.epoch_blocks)
        if rest:
            return []
        assert effect.finalization is not None, "a boundary is final by itself (settled 7)"
        self.disk.boundaries[number - 1] = effect.finalization
        return [EpochBegun(self.network.now, self.info(number))]

    def prune(self, epoch: int, view: int) -> None:
        def keep(record: Any) -> bool:
            subject = getattr(record, "subject", None) or record.proposal
            return (subject.epoch, subject.view) > (epoch, view)

        self.disk.records = [one for one in self.disk.records if keep(one)]
        self.disk.blocks = {
            key: one
            for key, one in self.disk.blocks.items()
            if (one.header.epoch, one.header.view) > (epoch, view)
        }

    def fire(self, life: int, at_ms: int) -> None:
        if self.driver is not None and life == self.life and at_ms == self.timer_ms:
            self.timer_ms = None
            self.feed(TimerFired(self.network.now))


class Network:
    """Nodes, links between them, and a virtual clock."""

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        delay: tuple[int, int] = (10, 10),
        loss: int = 0,
        epoch_blocks: int = 1_000,
        stakes: tuple[int, ...] | None = None,
        twins: tuple[int, ...] = (),
        timeouts: Timeouts = TIMEOUTS,
        pacing: Pacing = PACING,
    ) -> None:
        self.random = Random(seed)
        self.delay, self.loss = delay, loss
        self.epoch_blocks = epoch_blocks
        self.timeouts, self.pacing = timeouts, pacing
        self.pending = True
        self.now = 1_000
        self.claims = 0
        self.events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = 0
        self.members = tuple(
            [
                Validator(key_of(at), address_of(key_of(at)), stakes[at] if stakes else 10)
                for at in range(count)
            ]
        )
        self.genesis = genesis_tip(self.members)
        self.agreed: dict[int, bytes] = {}
        self.filter: Callable[[int, int, Any], bool] = lambda _from, _to, _message: True
        self.body: Callable[[Node, int], bytes] = lambda node, height: b"%d" % height
        self.bytes = 0
        self.forks_allowed = False
        self.forks = 0
        self.messages = 0
        self.nodes = [Node(self, at) for at in (*range(count), *twins)]
        self.hears: dict[tuple[int, int], bool] = {}
        """Whether the node at one place is connected with that at another; default yes."""

    def verify(self, claims: Any) -> list[bool]:
        self.claims += len(claims)
        return verify(claims)

    def start(self) -> "Network":
        for node in self.nodes:
            node.start()
        return self

    def at(self, at_ms: int, call: Callable[..., None], *arguments: Any) -> None:
        self.count += 1
        heapq.heappush(self.events, (at_ms, self.count, call, arguments))

    def agree(self, tip: Tip) -> None:
        if self.forks_allowed:
            self.forks += self.agreed.setdefault(tip.header.height, tip.block_id) != tip.block_id
            return
        known = self.agreed.setdefault(tip.header.height, tip.block_id)
        assert known == tip.block_id, f"two final blocks at height {tip.header.height}"

    @staticmethod
    def executed_tip(header: Header) -> Tip:
        """What executing a block gives, on every node."""
        state, outcomes = digest(header.state_root, header.id), digest(b"outcomes", header.id)
        return Tip(header, header.id, state, outcomes, True, None)

    def deliver(self, node: Node, send: Send) -> None:
        wire = encode(send.message)
        for other in self.nodes:
            if other.key == node.key or send.to not in (ALL, other.key):
                continue
            if not self.connected(node, other):
                continue
            self.messages += 1
            self.bytes += len(wire)
            if self.random.randrange(100) < self.loss:
                continue
            if not self.filter(node.index, other.index, send.message):
                continue
            delay = self.random.randint(*self.delay)
            self.at(self.now + delay, self.arrive, other, node.key, wire)

    def connected(self, node: Node, other: Node) -> bool:
        places = sorted((self.nodes.index(node), self.nodes.index(other)))
        return self.hears.get((places[0], places[1]), True)

    def arrive(self, node: Node, sender: bytes, wire: bytes) -> None:
        if node.driver is not None:
            node.feed(Received(self.now, ((sender, decode(wire)),)))

    def run(self, ms: int, until: Callable[[], bool] = lambda: False) -> None:
        end = self.now + ms
        while self.events and self.events[0][0] <= end and not until():
            self.now, _, call, arguments = heapq.heappop(self.events)
            call(*arguments)
        if not until():
            self.now = end

    def run_to(self, height: int, ms: int) -> None:
        """Run until every running node has this height; it must come within so many ms."""

        def done() -> bool:
            return all(node.height >= height for node in self.nodes if node.driver is not None)

        self.run(ms, done)
        assert done(), [(node.index, node.height, node.halted) for node in self.nodes]

    def honest(self) -> None:
        for node in self.nodes:
            assert not node.evidence, node.evidence
            assert not node.blamed, node.blamed
            assert node.halted is None, node.halted


class Forge:
    """What the validators around node 0 may sign and send, whether it is honest or not."""

    def __init__(self, net: Network) -> None:
        self.net, self.node = net, net.nodes[0]
        self.everybody = range(len(net.members))

    def leader(self, view: int) -> int:
        return int(self.node.core.epoch.validators.leader(view))

    def vote(self, kind: Tag, subject: Proposal | Nullified, index: int) -> SignedVote:
        signature = sign(key_of(index), vote_digest(kind, GENESIS, subject))
        return make_vote(kind, subject, Vote(index, signature))

    def certificate(self, kind: Tag, subject: Proposal | Nullified, *signers: int) -> Any:
        made = {Tag.NOTARIZE: Notarization, Tag.NULLIFY: Nullification, Tag.FINALIZE: Finalization}
        votes = [self.vote(kind, subject, at).vote for at in sorted(signers or self.everybody)]
        return made[kind](subject, tuple(votes))

    def nullified(self, view: int, *signers: int) -> Any:
        return self.certificate(Tag.NULLIFY, Nullified(0, view), *signers)

    def propose(self, view: int, parent: Tip, justify: Justify, /, **changes: Any) -> Propose:
        """A leader's proposal over a parent; `changes` replace fields of its header."""
        leader, body = self.leader(view), b"%d" % view
        fields = {
            "height": parent.header.height + 1,
            "view": view,
            "parent_view": 0 if justify.parent is None else justify.parent.subject.view,
            "parent_id": parent.block_id,
            "time_ms": parent.header.time_ms + 1,
            "proposer": self.net.members[leader].account,
            "tx_root": digest(b"body", body),
            "justify_hash": justify_hash(justify),
            "state_root": parent.state_root,
            "outcomes_root": parent.outcomes_root,
        }
        header = codec.replace(parent.header, **{**fields, **changes})
        proposal = Proposal(0, view, header.parent_view, header.id, justify_hash(justify))
        vote = self.vote(Tag.NOTARIZE, proposal, leader).vote
        return Propose(proposal, vote, header, justify, body)

    def send(self, index: int, *messages: Any) -> list[Effect]:
        """Hand messages to node 0 in one batch; return what it did."""
        before = len(self.node.effects)
        self.node.feed(self.received(key_of(index), *messages))
        return self.node.effects[before:]

    def received(self, peer: bytes, *messages: Any) -> Received:
        return Received(self.net.now, tuple([(peer, decode(encode(one))) for one in messages]))
