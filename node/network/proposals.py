"""Compact proposals: sketches instead of bodies on the wire, whole ones for consensus.

This stands between overlay and host, and consensus knows nothing of it. A proposal is taken from
its leader's node alone, or, until somebody has announced to be that, from whoever brings it, and in
both cases under the leader's signature: nobody else can fill the room for it. Of what is not taken,
since its time has passed or there is no room, consensus still hears the leader's vote.

Transactions come beside gossip only where they were asked for, or once with a sketch. Whoever sent
them answers for them: the block's own leader, or who voted for it, has verified all of them.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from consensus.inputs import Peer
from consensus.messages import Message, Propose
from consensus.validators import Validators
from node.bodies import Bodies
from node.fanout import fan_out
from node.network.rebuilds import Rebuilds, Rebuilt
from node.network.shelf import Shelf
from node.network.sketches import (
    SENT_ALONG_BYTES_MAX,
    SENT_ALONG_MAX,
    Contradictory,
    Outline,
    Parts,
    PartsWanted,
    Piece,
    Sketch,
)
from p2p.interface import Delivery, Network, PeerInfo
from p2p.scores import Verdict
from state import crypto
from state.crypto import Tag
from state.errors import Malformed
from state.finality import Notarize, Proposal, vote_digest
from state.types import Hash, PublicKey

FAR_MS: Final = 60_000
"""How far a peer is taken to be that has answered no ping yet."""
VIEWS_AHEAD_MAX: Final = 16
"""Proposals of views farther ahead are not rebuilt; consensus looks at no later ones, either."""

log = logging.getLogger("sahara.network")


class Receiver(Protocol):
    """The host, as compact proposals see it."""

    @property
    def is_running(self) -> bool:
        """Whether an engine runs: else the rest may be of different epochs."""
        ...

    @property
    def round(self) -> tuple[int, int]:
        """The epoch and the view that the node is in."""
        ...

    @property
    def validators(self) -> Validators:
        """The validators of this epoch."""
        ...

    def next_key(self, validator: int) -> PublicKey | None:
        """Return the key of a validator of the next epoch."""
        ...

    def receive(self, peer: Peer, message: Message) -> None:
        """Take in a message from a peer."""
        ...


class Gossip(Protocol):
    """Transactions under way, as compact proposals see them."""

    def is_coming(self, tx_id: Hash) -> bool:
        """Tell whether a transaction was asked for, or is being admitted."""
        ...

    def is_untold(self, tx_id: Hash) -> bool:
        """Tell whether a transaction is here and no peer can know of it."""
        ...

    def bring(self, delivery: Delivery, wires: tuple[bytes, ...]) -> None:
        """Admit transactions that came beside gossip, and settle the message that held them."""
        ...


class Proposals:
    """The proposals of one node, in both directions; `send` puts a piece on the wire."""

    def __init__(
        self,
        bodies: Bodies,
        find: Callable[[Hash], bytes | None],
        gossip: Gossip,
        genesis_hash: Hash,
        now_ms: Callable[[], int],
    ) -> None:
        self._bodies = bodies
        self._gossip = gossip
        self._genesis_hash = genesis_hash
        self._now_ms = now_ms
        self.shelf = Shelf()
        self.rebuilds = Rebuilds(find, gossip.is_coming, bodies.id_of)
        self._epoch = -1
        self._timer: asyncio.TimerHandle | None = None
        self._host: Receiver | None = None
        self._network: Network | None = None
        self._send: Callable[[bytes, Piece], None] = lambda peer_id, piece: None

    def join(self, host: Receiver, network: Network, send: Callable[[bytes, Piece], None]) -> None:
        """Name both sides."""
        self._host, self._network, self._send = host, network, send

    def stop(self) -> None:
        """Ask nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    # --- out -------------------------------------------------------------------------------------

    def sketch(self, message: Propose) -> Sketch:
        """Return what travels of a proposal, and keep its body for who lacks part of it."""
        outline = None
        if message.body:
            checked = self._bodies.checked(message.header, message.body)
            ids = [transaction.id for transaction in checked.transactions]
            body = checked.body
            self.shelf.put(message.proposal.block_id, body.transactions)
            places = self._untold(ids, body.transactions)
            wires = tuple([body.transactions[at] for at in places])
            outline = Outline(b"".join(ids), places, wires, body.late, body.evidence)
        return Sketch(message.proposal, message.vote, message.header, message.justify, outline)

    def _untold(self, ids: list[Hash], wires: tuple[bytes, ...]) -> tuple[int, ...]:
        """Return where transactions stand that nobody else can have, if they are few."""
        places = [at for at, tx_id in enumerate(ids) if self._gossip.is_untold(tx_id)]
        size = sum([len(wires[at]) for at in places])
        are_few = len(places) <= SENT_ALONG_MAX and size <= SENT_ALONG_BYTES_MAX
        return tuple(places) if are_few else ()

    def order(self) -> list[bytes]:
        """Return all peers in the order in which a proposal is sent to them."""
        host, network = self._joined
        stakes = {member.public_key: member.stake for member in host.validators.members}
        mine = stakes.get(network.validator_of(network.node_id) or b"", 0)
        peers = network.peers()
        members = [peer for peer in peers if peer.validator_key in stakes]
        others = [peer.peer_id for peer in peers if peer.validator_key not in stakes]
        shares = [stakes[peer.validator_key or b""] for peer in members]
        order = fan_out([0, *[_delay_us(peer) for peer in members]], [mine, *shares], 0)
        return [*[members[at - 1].peer_id for at in order], *others]

    # --- in --------------------------------------------------------------------------------------

    def on_piece(self, delivery: Delivery, piece: Piece) -> Notarize | None:
        """Take in a sketch, a question or an answer, and settle it.

        Of a sketch that is not taken the vote is returned, and not settled: nobody has verified it.
        What brings transactions is settled once they are verified: until then it holds its place in
        its sender's window, and so bounds what waits for that.
        """
        try:
            if isinstance(piece, Sketch) and (vote := self._only_vote(delivery.peer_id, piece)):
                return vote
            brought = self._take(delivery.peer_id, piece)
        except Malformed as error:
            log.warning(
                "contradictory proposal",
                extra={"peer": delivery.peer_id.hex(), "reason": error.sentence},
            )
            delivery.settle(Verdict.INVALID)
        else:
            if brought:
                self._gossip.bring(delivery, brought)
            else:
                delivery.settle(Verdict.DUPLICATE)
        finally:
            self._poll()
        return None

    def on_admitted(self, tx_id: Hash) -> None:
        """A transaction was admitted: a body may have waited for it."""
        if len(self.rebuilds):
            now_ms = self._now_ms()
            for rebuilt in self.rebuilds.on_transaction(tx_id, now_ms):
                self._hand_over(rebuilt)
            if (self.rebuilds.next_ms() or now_ms + 1) <= now_ms:
                self._poll()  # it was the last one, and under this id others have another

    def on_vote(self, peer_id: bytes, block_id: Hash) -> None:
        """A peer voted for a block; a validator that does so holds its body."""
        _, network = self._joined
        if block_id not in self.shelf and network.validator_of(peer_id) is not None:
            self.rebuilds.on_shown(peer_id, block_id, self._now_ms())
            self._poll()

    def on_peer_down(self, peer_id: bytes) -> None:
        """Ask others for what this peer was asked for."""
        self.rebuilds.on_peer_down(peer_id, self._now_ms())
        self._poll()

    def _take(self, peer_id: bytes, piece: Piece) -> tuple[bytes, ...]:
        """Let a piece have its effect; return the transactions that it brings.

        Raises Contradictory or Malformed for what proves that the sender lies.
        """
        now_ms = self._now_ms()
        match piece:
            case Sketch():
                return self._on_sketch(peer_id, piece, now_ms)
            case Parts():
                is_asked = self.rebuilds.is_asked(peer_id, piece.block_id)
                self._hand_over(self.rebuilds.on_parts(peer_id, piece, now_ms))
                return piece.wires if is_asked else ()
            case PartsWanted():
                self._send(peer_id, self.shelf.draw(peer_id, piece))
                return ()

    def _on_sketch(self, peer_id: bytes, sketch: Sketch, now_ms: int) -> tuple[bytes, ...]:
        """Take in a sketch; return what was sent along, unless it was sent before."""
        host, network = self._joined
        if not host.is_running:
            return ()
        self._forget_past(host)
        proposal = sketch.proposal
        peer = network.validator_of(peer_id) or peer_id
        epoch, _ = host.round
        if proposal.epoch not in (epoch, epoch + 1):
            # its body would not be looked at, but whoever is behind is helped
            header, justify = sketch.header, sketch.justify
            host.receive(peer, Propose(proposal, sketch.vote, header, justify, b""))
            return ()
        key = self._key_of(proposal, sketch.vote.validator)
        assert key is not None, "of others there is the vote alone"
        if self.rebuilds.was_handed(sketch, now_ms):
            return ()
        self._verify(key, sketch)
        is_known = proposal.block_id in self.rebuilds
        rebuilt = self.rebuilds.on_sketch(peer_id, sketch, now_ms)
        self._hand_over(rebuilt)
        if rebuilt is None and proposal.block_id not in self.rebuilds:
            host.receive(peer, Notarize(proposal, sketch.vote))
        return sketch.outline.wires if sketch.outline is not None and not is_known else ()

    def _only_vote(self, peer_id: bytes, sketch: Sketch) -> Notarize | None:
        """Return the vote if no more is taken of a sketch, whoever signed it."""
        host, network = self._joined
        proposal, epoch = sketch.proposal, host.round[0]
        if not host.is_running or proposal.epoch not in (epoch, epoch + 1):
            return None
        key = self._key_of(proposal, sketch.vote.validator)
        if key is not None and network.node_of(key) in (None, peer_id):
            return None
        return Notarize(proposal, sketch.vote)

    def _key_of(self, proposal: Proposal, validator: int) -> PublicKey | None:
        """Return whose proposal this must be, None if it is of no use whoever sent it."""
        host, _ = self._joined
        epoch, view = host.round
        if proposal.epoch != epoch:
            return host.next_key(validator) if proposal.view <= VIEWS_AHEAD_MAX else None
        if not view <= proposal.view <= view + VIEWS_AHEAD_MAX:
            return None
        members = host.validators
        is_leader = members.leader(proposal.view) == validator
        return members.members[validator].public_key if is_leader else None

    def _verify(self, key: PublicKey, sketch: Sketch) -> None:
        """Raise Contradictory unless its leader has signed a sketch: nobody else's is sent on."""
        digest = vote_digest(Tag.NOTARIZE, self._genesis_hash, sketch.proposal)
        if not crypto.verify(key, digest, sketch.vote.signature):
            raise Contradictory("The leader did not sign its proposal.")

    def _hand_over(self, rebuilt: Rebuilt | None) -> None:
        """Let consensus have a proposal as if it had come whole."""
        if rebuilt is None:
            return
        host, network = self._joined
        proposal = rebuilt.propose.proposal
        epoch, view = host.round
        if rebuilt.wires and proposal.epoch == epoch:  # who leads the next one is not known yet
            ahead = proposal.view if proposal.view > view else 0
            self.shelf.put(proposal.block_id, rebuilt.wires, view_ahead=ahead)
        host.receive(network.validator_of(rebuilt.source) or rebuilt.source, rebuilt.propose)

    def _forget_past(self, host: Receiver) -> None:
        """Drop what has passed, and what turns out to be of no leader once its epoch begins."""
        if not host.is_running:
            return
        epoch, view = host.round
        if epoch != self._epoch:
            self._epoch = epoch
            self.shelf.forget_ahead()
            self.rebuilds.begin_epoch(epoch, host.validators.leader)
        self.shelf.come_to(view)
        self.rebuilds.forget(host.round)

    def _poll(self) -> None:
        """Ask for what is due, and look again when something will be."""
        now_ms = self._now_ms()
        host, _ = self._joined
        self._forget_past(host)
        for peer_id, wanted in self.rebuilds.poll(now_ms):
            self._send(peer_id, wanted)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        next_ms = self.rebuilds.next_ms()
        if next_ms is not None:
            wait_ms = max(1, next_ms - now_ms)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait_ms / 1_000, self._poll)

    @property
    def _joined(self) -> tuple[Receiver, Network]:
        assert self._host is not None, "joined before the start"
        assert self._network is not None, "joined before the start"
        return self._host, self._network


def _delay_us(peer: PeerInfo) -> int:
    return 1_000 * (FAR_MS if peer.round_trip_ms is None else peer.round_trip_ms)
