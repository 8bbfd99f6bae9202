"""The overlay: consensus' messages to and from the nodes of validators and whoever else listens.

Consensus names a validator by its key and any other node by its node id; the network knows nodes
alone. Each message has one topic by its kind and length. What comes is decoded within its bounds
and handed to the host in fair turns; then it gets its verdict. Only what no honest node sends is
INVALID: bytes that decode to nothing, a wrong topic, and votes and certificates that somebody named
in them did not sign, for honest nodes verify what they pass on. Everything else is neutral, for
consensus does not tell what a message was worth.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from consensus.inputs import Peer
from consensus.messages import (
    BlockReply,
    BlockRequest,
    BoundaryRequest,
    CertificateRequest,
    JustifyRequest,
    Message,
    Propose,
    decode,
    encode,
)
from node.network.inbox import TURN_MESSAGES, Inbox
from p2p.interface import Delivery, Network, PeerInfo, Request
from p2p.scores import Verdict
from p2p.topics import Topic
from state import crypto
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

URGENT_BYTES_MAX: Final = 2**16
"""What is longer travels as BLOCKS, where it holds up no vote."""

Asking = CertificateRequest | BlockRequest | JustifyRequest | BoundaryRequest

log = logging.getLogger("sahara.network")


class Receiver(Protocol):
    """The host, as the overlay sees it."""

    def receive(self, peer: Peer, message: Message) -> None:
        """Take in a message from a peer, in this turn of the loop or the next."""
        ...

    def hello(self) -> Message | None:
        """Return what to tell a new peer, None before the start."""
        ...

    def claims_of(self, signed: SignedVote | Certificate) -> list[SignatureClaim]:
        """Return what is still to be verified of a vote or certificate, nothing of useless ones."""
        ...


class Gossip(Protocol):
    """Transaction gossip, as the overlay sees it."""

    def on_message(self, delivery: Delivery) -> None:
        """Take a message on TRANSACTIONS; settle it, now or later."""
        ...

    def on_peer_up(self, peer_id: bytes) -> None:
        """Note that a peer is there."""
        ...

    def on_peer_down(self, peer_id: bytes) -> None:
        """Note that a peer is gone."""
        ...


def topic_of(message: Message, size: int) -> Topic:
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

    def join(self, host: Receiver, network: Network, gossip: Gossip | None = None) -> None:
        """Name both sides."""
        self._host, self._network, self._gossip = host, network, gossip

    def peers(self) -> list[PeerInfo]:
        """Return who is connected now; nobody before the start."""
        return [] if self._network is None else self._network.peers()

    # --- out: see node.host.Peers ----------------------------------------------------------------

    def send(self, to: Peer, message: Message) -> None:
        """Send a message to one validator or node; requests go to another if it is not there."""
        network = self._joined
        data = encode(message)
        topic = topic_of(message, len(data))
        if network.send(network.node_of(to) or to, topic, data):
            return
        if isinstance(message, Asking):
            helpers = network.peers()
            if helpers:  # anybody may have it: whoever lags behind need not know every validator
                self._next_helper = (self._next_helper + 1) % len(helpers)
                network.send(helpers[self._next_helper].peer_id, topic, data)

    def broadcast(self, message: Message) -> None:
        """Send a message to every peer: validators form a full mesh, and others listen."""
        data = encode(message)
        self._joined.broadcast(topic_of(message, len(data)), data)

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
        """Refuse: consensus asks by messages, and nothing else is answered here."""
        request.refuse("node.no_such_request", Verdict.USELESS)

    def on_peer_up(self, peer_id: bytes) -> None:
        """Tell a new peer where this node stands, so that the one behind learns of it at once."""
        hello = None if self._host is None else self._host.hello()
        if hello is not None:
            data = encode(hello)
            self._joined.send(peer_id, topic_of(hello, len(data)), data)
        if self._gossip is not None:
            self._gossip.on_peer_up(peer_id)
        log.info("peer up", extra={"peer": peer_id.hex()})

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        """Note that a peer is gone; what it sent before still counts."""
        if self._gossip is not None:
            self._gossip.on_peer_down(peer_id)
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
                message = decode(delivery.data)
            except Malformed as error:
                log.warning(
                    "not a message",
                    extra={"peer": delivery.peer_id.hex(), "reason": error.sentence},
                )
                delivery.settle(Verdict.INVALID)
                continue
            if topic_of(message, len(delivery.data)) is not delivery.topic:
                delivery.settle(Verdict.INVALID)
                continue
            peer = network.validator_of(delivery.peer_id) or delivery.peer_id
            self._batch.append((delivery, peer, message))
            host.receive(peer, message)
        asyncio.get_running_loop().call_soon(self._settle)  # after the host's own step

    def _settle(self) -> None:
        batch, self._batch = self._batch, []
        offenders, self._offenders = self._offenders, set()
        for delivery, peer, _ in batch:
            delivery.settle(Verdict.INVALID if peer in offenders else Verdict.DUPLICATE)
        self._has_turn = bool(self._inbox)
        if self._has_turn:
            asyncio.get_running_loop().call_soon(self._turn)


def _signed(message: Message) -> SignedVote | Certificate | None:
    """Return the vote or certificate that a message is, or the vote that a proposal carries."""
    match message:
        case Notarize() | Nullify() | Finalize():
            return message
        case Notarization() | Nullification() | Finalization():
            return message
        case Propose(proposal, vote):
            return Notarize(proposal, vote)
    return None
