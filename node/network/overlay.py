"""The overlay: consensus' messages to and from the nodes of validators and whoever else listens.

Consensus names a validator by its key and any other node by its node id; the network knows nodes
alone. Each message has one topic by its kind and length, and proposals travel as sketches. What
comes is decoded within its bounds and handed to the host in fair turns; then it gets its verdict.
Only what no honest node sends is INVALID: bytes that decode to nothing, a wrong topic, a proposal
with its body, what contradicts itself, and votes, certificates and transactions that somebody named
in them did not sign, for honest nodes verify what they pass on; and what consensus blames a peer
for. Everything else is neutral, for of no other message does consensus tell what it was worth.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from consensus.inputs import Peer
from consensus.messages import (
    MESSAGE_BYTES_MAX,
    BlockReply,
    BlockRequest,
    BoundaryRequest,
    CertificateRequest,
    JustifyRequest,
    Message,
    Propose,
    Status,
)
from node.network import proposals, sketches
from node.network.inbox import TURN_MESSAGES, Inbox
from node.network.proposals import Proposals
from node.network.sketches import Parts, PartsWanted, Piece, Sketch
from p2p.interface import INVALID, Delivery, Network, PeerInfo, Request
from p2p.scores import Verdict
from p2p.topics import Topic
from state import crypto
from state.codec import encode
from state.crypto import SignatureClaim
from state.errors import Malformed
from state.finality import (
    Certificate,
    Finalization,
    Finalize,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
    SignedVote,
)
from state.types import Hash

URGENT_BYTES_MAX: Final = 2**16
"""What is longer travels as BLOCKS, where it holds up no vote."""

Asking = CertificateRequest | BlockRequest | JustifyRequest | BoundaryRequest

log = logging.getLogger("sahara.network")


class Receiver(proposals.Receiver, Protocol):
    """The host, as the overlay sees it."""

    def hello(self) -> Message | None:
        """Return what to tell a new peer, None before the start."""
        ...

    def claims_of(self, signed: SignedVote | Certificate) -> list[SignatureClaim]:
        """Return what is still to be verified of a vote or certificate, nothing of useless ones."""
        ...


class Gossip(Protocol):
    """Transaction gossip, as the overlay sees it."""

    def admitted(self, tx_id: Hash) -> None:
        """Tell peers of a transaction that was admitted here."""
        ...

    def on_message(self, delivery: Delivery) -> None:
        """Take a message on TRANSACTIONS; settle it, now or later."""
        ...

    def on_peer_up(self, peer_id: bytes) -> None:
        """Note that a peer is there."""
        ...

    def on_peer_down(self, peer_id: bytes) -> None:
        """Note that a peer is gone."""
        ...


class Requests(Protocol):
    """Whoever answers requests, as the overlay sees it."""

    def on_request(self, request: Request) -> None:
        """Take a request on SYNC; answer or refuse it, now or later."""
        ...


class Hints(Protocol):
    """Whoever looks at what peers say of themselves, also while no engine runs."""

    def on_status(self, peer_id: bytes, status: Status) -> None:
        """A peer says where it stands."""
        ...

    def on_peer_down(self, peer_id: bytes) -> None:
        """A peer is gone."""
        ...


def topic_of(message: Message | Piece, size: int) -> Topic:
    """Return the one topic on which a message of this length travels."""
    if isinstance(message, BlockReply) and len(message.blocks) > 1:
        return Topic.SYNC
    return Topic.CONSENSUS if size <= URGENT_BYTES_MAX else Topic.BLOCKS


class Overlay:
    """`Peers` for the host, `Handler` for the network; `join` it to both before either starts."""

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._batch: list[tuple[Delivery, Peer, Message]] = []
        self._offenders: set[Peer] = set()
        self._has_turn = False
        self._next_helper = 0
        self._network: Network | None = None
        self._host: Receiver | None = None
        self._gossip: Gossip | None = None
        self._proposals: Proposals | None = None
        self._requests: Requests | None = None
        self._hints: Hints | None = None

    def join(
        self,
        host: Receiver,
        network: Network,
        gossip: Gossip | None = None,
        proposals: Proposals | None = None,
        requests: Requests | None = None,
        hints: Hints | None = None,
    ) -> None:
        """Name both sides; without `proposals` none is sent or taken in."""
        self._host, self._network, self._gossip = host, network, gossip
        self._proposals, self._requests, self._hints = proposals, requests, hints
        if proposals is not None:
            proposals.join(host, network, self._post)

    def admitted(self, tx_id: Hash) -> None:
        """Note that a transaction was admitted: others hear of it, and a proposal may need it."""
        if self._gossip is not None:
            self._gossip.admitted(tx_id)
        if self._proposals is not None:
            self._proposals.on_admitted(tx_id)

    def peers(self) -> list[PeerInfo]:
        """Return who is connected now; nobody before the start."""
        return [] if self._network is None else self._network.peers()

    # --- out: see node.host.Peers ----------------------------------------------------------------

    def send(self, to: Peer, message: Message) -> None:
        """Send a message to one validator or node; requests go to another if it is not there."""
        network = self._joined
        data, topic = self._packed(message)
        if network.send(network.node_of(to) or to, topic, data):
            return
        if isinstance(message, Asking):
            helpers = network.peers()
            if helpers:  # anybody may have it: whoever lags behind need not know every validator
                self._next_helper = (self._next_helper + 1) % len(helpers)
                network.send(helpers[self._next_helper].peer_id, topic, data)

    def broadcast(self, message: Message) -> None:
        """Send a message to every peer: validators form a full mesh, and others listen."""
        data, topic = self._packed(message)
        if isinstance(message, Propose) and self._proposals is not None:
            for peer_id in self._proposals.order():
                self._joined.send(peer_id, topic, data)
        else:
            self._joined.broadcast(topic, data)

    def blame(self, peer: Peer) -> None:
        """A validator or node has sent what no honest node sends."""
        node_id = self._joined.node_of(peer) or peer
        self._inbox.drop(node_id)
        self._joined.judge(node_id, Verdict.INVALID)

    def _post(self, peer_id: bytes, piece: Piece) -> None:
        data = encode(piece)
        self._joined.send(peer_id, topic_of(piece, len(data)), data)

    def _packed(self, message: Message) -> tuple[bytes, Topic]:
        """Return what is on the wire of a message, and on which topic."""
        packed: Message | Piece = message
        if isinstance(message, Propose):
            assert self._proposals is not None, "who proposes has joined with proposals"
            packed = self._proposals.sketch(message)
        data = encode(packed)
        return data, topic_of(packed, len(data))

    # --- in: see p2p.interface.Handler -----------------------------------------------------------

    def on_message(self, delivery: Delivery) -> None:
        """Let a message wait for its turn, or hand it to whom its topic concerns."""
        if delivery.topic in TURN_MESSAGES:
            if not self._inbox.add(delivery):
                delivery.settle(Verdict.USELESS)
            elif not self._has_turn:
                self._has_turn = True
                asyncio.get_running_loop().call_soon(self._turn)
        elif self._gossip is not None:
            self._gossip.on_message(delivery)
        else:
            delivery.settle(Verdict.USELESS)

    def on_request(self, request: Request) -> None:
        """Hand on what is asked on SYNC; consensus asks by messages, and nobody asks elsewhere."""
        if request.topic is Topic.SYNC and self._requests is not None:
            self._requests.on_request(request)
        else:
            request.refuse("node.no_such_request", Verdict.USELESS)

    def on_peer_up(self, peer_id: bytes) -> None:
        """Tell a new peer where this node stands, so that the one behind learns of it at once."""
        hello = None if self._host is None else self._host.hello()
        if hello is not None:
            data, topic = self._packed(hello)
            self._joined.send(peer_id, topic, data)
        if self._gossip is not None:
            self._gossip.on_peer_up(peer_id)
        log.info("peer up", extra={"peer": peer_id.hex()})

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        """Note that a peer is gone; what a validator sent before still counts, unless it lied."""
        is_validator = self._network is not None and self._network.validator_of(peer_id) is not None
        if code == INVALID or not is_validator:
            self._inbox.drop(peer_id)
        if self._gossip is not None:
            self._gossip.on_peer_down(peer_id)
        if self._proposals is not None:
            self._proposals.on_peer_down(peer_id)
        if self._hints is not None:
            self._hints.on_peer_down(peer_id)
        log.info("peer down", extra={"peer": peer_id.hex(), "code": code})

    def verify(self, claims: Sequence[SignatureClaim]) -> list[bool]:
        """Verify signatures for the engine, and note who sent a vote or certificate that fails.

        The whole claim is compared: a signature that holds for one vote fails under another that
        somebody else put it to, and is no fault of whoever sent the first.
        """
        verdicts = crypto.verify_many(claims)
        if not all(verdicts):
            host = self._host
            assert host is not None, "joined before the start"
            failed = {claim for claim, holds in zip(claims, verdicts, strict=True) if not holds}
            for _, peer, message in self._batch:
                signed = _signed(message)
                if signed is not None and not failed.isdisjoint(host.claims_of(signed)):
                    self._offenders.add(peer)
        return verdicts

    @property
    def _joined(self) -> Network:
        assert self._network is not None, "joined before the start"
        return self._network

    def _turn(self) -> None:
        """Hand the host a turn's messages; they are settled once it has handled them."""
        network, host = self._joined, self._host
        assert host is not None, "joined before the start"
        for delivery in self._inbox.take(lambda peer: network.validator_of(peer) is not None):
            try:
                message = sketches.decode(delivery.data, MESSAGE_BYTES_MAX)
            except Malformed as error:
                log.warning(
                    "not a message",
                    extra={"peer": delivery.peer_id.hex(), "reason": error.sentence},
                )
                delivery.settle(Verdict.INVALID)
                continue
            right_topic = topic_of(message, len(delivery.data)) is delivery.topic
            if not right_topic or isinstance(message, Propose):
                delivery.settle(Verdict.INVALID)
                continue
            if isinstance(message, Sketch | PartsWanted | Parts):
                if self._proposals is None:
                    delivery.settle(Verdict.USELESS)
                    continue
                vote = self._proposals.on_piece(delivery, message)
                if vote is None:
                    continue
                message = vote
            if isinstance(message, Notarize | Finalize) and self._proposals is not None:
                self._proposals.on_vote(delivery.peer_id, message.subject.block_id)
            peer = network.validator_of(delivery.peer_id) or delivery.peer_id
            self._batch.append((delivery, peer, message))
            if self._hints is not None and isinstance(message, Status):
                self._hints.on_status(delivery.peer_id, message)
            host.receive(peer, message)
        asyncio.get_running_loop().call_soon(self._settle)  # after the host's own step

    def _settle(self) -> None:
        batch, self._batch = self._batch, []
        offenders, self._offenders = self._offenders, set()
        for delivery, peer, _ in batch:
            if peer in offenders:
                self._inbox.drop(delivery.peer_id)
            delivery.settle(Verdict.INVALID if peer in offenders else Verdict.DUPLICATE)
        self._has_turn = bool(self._inbox)
        if self._has_turn:
            asyncio.get_running_loop().call_soon(self._turn)


def _signed(message: Message) -> SignedVote | Certificate | None:
    """Return the message if it is a vote or certificate."""
    match message:
        case Notarize() | Nullify() | Finalize():
            return message
        case Notarization() | Nullification() | Finalization():
            return message
    return None
