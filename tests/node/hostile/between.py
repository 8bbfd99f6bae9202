"""Peers that stand between an honest node and a newcomer: they ask the one and lie to the other.

Each is a node on the network like any other, with a chain that is not its own: what it is asked for
it asks an honest node for, and makes of the answer what its `lie` says.
"""

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

from consensus.messages import Status, encode
from node.clock import SystemClock
from node.snapshot.form import Offer
from node.snapshot.wire import (
    ChunkAnswer,
    ManifestAnswer,
    OffersAnswer,
    SnapshotAnswer,
    StepsAnswer,
)
from node.sync.messages import BlocksAnswer, FinalAnswer, HeadersAnswer, SyncAnswer, decode_request
from p2p import NetworkSettings, NodeKey, PeerBook, SocketNetwork, Target
from p2p.addresses import Address
from p2p.errors import NetworkError, RequestFailed
from p2p.interface import Delivery, Request
from p2p.scores import Verdict
from p2p.topics import MIB, Topic
from state.codec import Decoder, replace
from state.codec import encode as encode_state

ANSWER_MS = 5_000
CLOCK = SystemClock()
Lie = Callable[[Any, Any], Any]
"""Takes a question and its honest answer; gives another one, bytes, or None for silence."""

_answers: Decoder[SyncAnswer | SnapshotAnswer] = Decoder(SyncAnswer | SnapshotAnswer)


class Between:
    """One such peer; `honest` is the node that it asks."""

    def __init__(self, host: str, honest: Target, genesis_hash: bytes, lie: Lie) -> None:
        self.lie = lie
        self._host = host
        self.claim: Status | None = None
        """Where it says it is."""
        self.asked: list[Any] = []
        self.lied = asyncio.Event()
        """Set once it has given a false answer."""
        self.dropped = asyncio.Event()
        """Set once a newcomer has hung up on it."""
        self._honest = honest
        self._tasks: set[asyncio.Task[None]] = set()
        self.sockets = SocketNetwork(
            NetworkSettings(host, persistent=(honest,), per_address_max=64),
            NodeKey(os.urandom(32)),
            genesis_hash,
            self,
            PeerBook(bytes(32)),
            clock=CLOCK.now_ms,
            chance=random.Random(5),
            randomness=os.urandom,
            is_validator=lambda _: False,
        )

    @property
    def address(self) -> str:
        """Where it is found, in the words of the setting."""
        return f"{self.sockets.node_id.hex()}@{self._host}:{self.sockets.port}"

    def on_message(self, delivery: Delivery) -> None:
        """Hear nothing."""
        delivery.settle(Verdict.DUPLICATE)

    def on_peer_up(self, peer_id: bytes) -> None:
        """Tell a newcomer where this node claims to be."""
        if peer_id != self._honest.node_id and self.claim is not None:
            self.sockets.send(peer_id, Topic.CONSENSUS, encode(self.claim))

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        """Note that a newcomer is gone."""
        if peer_id != self._honest.node_id:
            self.dropped.set()

    def on_request(self, request: Request) -> None:
        """Ask the honest node, and lie."""
        task = asyncio.create_task(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def _answer(self, request: Request) -> None:
        asked = decode_request(request.data)
        self.asked.append(asked)
        try:
            data = await self.sockets.request(
                self._honest.node_id, Topic.SYNC, request.data, ANSWER_MS
            )
        except RequestFailed as error:
            request.refuse(error.refusal or "sync.busy")
            return
        except NetworkError:
            request.refuse("sync.busy")
            return
        honest = _answers.decode(data, bytes_max=32 * MIB)
        answer = self.lie(asked, honest)
        if answer is None:
            return  # it never answers, and never refuses
        said = answer if isinstance(answer, bytes) else encode_state(answer)
        if said != data:
            self.lied.set()
        request.answer(said)

    async def stop(self) -> None:
        """Be gone."""
        for task in self._tasks:
            task.cancel()
        await self.sockets.stop()


def target_of(address: str) -> Target:
    """Read an address of the form that settings have."""
    node_id, _, place = address.partition("@")
    host, _, port = place.rpartition(":")
    return Target(bytes.fromhex(node_id), Address(host, int(port)))


# --- lies about blocks ----------------------------------------------------------------------------


def truth(asked: Any, answer: Any) -> Any:
    """What an honest node says."""
    return answer


def silence(asked: Any, answer: Any) -> Any:
    """It offers, and never answers."""
    return None


def foreign_bodies(asked: Any, answer: Any) -> Any:
    """Bodies that do not fit their headers."""
    if not isinstance(answer, BlocksAnswer):
        return answer
    return replace(
        answer, blocks=tuple([replace(one, body=one.body + b"\x00") for one in answer.blocks])
    )


def forged_certificates(asked: Any, answer: Any) -> Any:
    """Finalizations under signatures that nobody gave."""
    if not isinstance(answer, FinalAnswer):
        return answer
    votes = [replace(vote, signature=os.urandom(64)) for vote in answer.finalization.votes]
    return replace(answer, finalization=replace(answer.finalization, votes=tuple(votes)))


def truncated(asked: Any, answer: Any) -> Any:
    """Answers that end in the middle."""
    return encode_state(answer)[:-20]


def oversize(asked: Any, answer: Any) -> Any:
    """Three megabytes more than was asked for."""
    if not isinstance(answer, BlocksAnswer):
        return answer
    return encode_state(answer) + bytes(3 * MIB)


def endless(asked: Any, answer: Any) -> Any:
    """More blocks, or headers, than were asked for."""
    if isinstance(answer, BlocksAnswer):
        return replace(answer, blocks=(answer.blocks * 128)[: asked.count + 1])
    if isinstance(answer, HeadersAnswer):
        return replace(answer, headers=(answer.headers * 512)[: asked.count + 1])
    return answer


BLOCK_LIES: tuple[Lie, ...] = (foreign_bodies, forged_certificates, truncated, oversize, endless)


# --- lies about snapshots -------------------------------------------------------------------------


def crowns_of_nothing(asked: Any, answer: Any) -> Any:
    """Snapshots far above everything, of a root that was never final."""
    if not isinstance(answer, OffersAnswer):
        return answer if not hasattr(asked, "crown_id") else None
    return OffersAnswer((Offer(10**9, os.urandom(32)), *answer.offers[:1]))


def forged_crown(asked: Any, answer: Any) -> Any:
    """A manifest whose head nobody finalized."""
    if not isinstance(answer, ManifestAnswer):
        return answer
    final = answer.manifest.finalization
    votes = tuple([replace(vote, signature=os.urandom(64)) for vote in final.votes])
    manifest = replace(answer.manifest, finalization=replace(final, votes=votes))
    return ManifestAnswer(manifest)


def other_network(asked: Any, answer: Any) -> Any:
    """A snapshot of another network."""
    if not isinstance(answer, ManifestAnswer):
        return answer
    return ManifestAnswer(replace(answer.manifest, genesis_hash=os.urandom(32)))


def endless_manifest(asked: Any, answer: Any) -> Any:
    """A manifest with the same marks again and again."""
    if not isinstance(answer, ManifestAnswer):
        return answer
    marks = answer.manifest.marks * 2_000
    return ManifestAnswer(replace(answer.manifest, marks=marks[:60_000]))


def false_chunks(asked: Any, answer: Any) -> Any:
    """Rows that are not those of the state."""
    if not isinstance(answer, ChunkAnswer):
        return answer
    return ChunkAnswer(answer.data[:-1] + bytes([answer.data[-1] ^ 1]))


def oversize_chunks(asked: Any, answer: Any) -> Any:
    """Chunks of three megabytes."""
    if not isinstance(answer, ChunkAnswer):
        return answer
    return encode_state(answer) + bytes(3 * MIB)


def false_steps(asked: Any, answer: Any) -> Any:
    """Epochs that ended with a quorum of nobody."""
    if not isinstance(answer, StepsAnswer):
        return answer
    steps = []
    for step in answer.steps:
        votes = [replace(vote, signature=os.urandom(64)) for vote in step.finalization.votes]
        final = replace(step.finalization, votes=tuple(votes))
        steps.append(replace(step, finalization=final))
    return StepsAnswer(tuple(steps))


SNAPSHOT_LIES: tuple[Lie, ...] = (
    *(forged_crown, other_network, endless_manifest, false_chunks, oversize_chunks),
)
