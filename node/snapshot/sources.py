"""The peers that state sync asks: who has which snapshot, who failed, and who was found out.

A peer that does not answer is asked less and then no more; one that gives what no honest node
gives is reported, which costs it its place.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from node.snapshot.errors import SnapshotError, SnapshotRefused
from node.snapshot.form import Offer
from node.snapshot.wire import OFFERS_BYTES_MAX, OffersRequest, offers_answers
from node.sync.messages import ServedRequest
from p2p.errors import NotConnected, QueueFull, RequestFailed
from p2p.interface import Network
from p2p.scores import Verdict
from p2p.topics import Topic
from state.codec import encode
from state.errors import Malformed, SaharaError

T = TypeVar("T")

ANSWER_MS_MAX: Final = 10_000
"""A peer that takes longer for one answer has failed once."""
FAILURES_MAX: Final = 8
"""A peer that failed so often in a row is not asked again; one that is busy answers sooner."""

log = logging.getLogger("sahara.statesync")


class NoSource(SnapshotError):
    """Nobody who is connected gave what was asked for."""

    code = "snapshot.no_source"


class Sources:
    """The peers of one state sync over one network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._offers: dict[bytes, tuple[Offer, ...]] = {}
        self._failures: dict[bytes, int] = {}
        self._liars: set[bytes] = set()

    def usable(self) -> list[bytes]:
        """Return the connected peers that may be asked, those that failed least first."""
        found = [
            peer.peer_id
            for peer in self._network.peers()
            if peer.peer_id not in self._liars
            and self._failures.get(peer.peer_id, 0) < FAILURES_MAX
        ]
        return sorted(found, key=lambda peer_id: self._failures.get(peer_id, 0))

    def having(self, crown_id: bytes) -> list[bytes]:
        """Return the usable peers that offered a snapshot."""
        return [
            peer_id
            for peer_id in self.usable()
            if any(offer.crown_id == crown_id for offer in self._offers.get(peer_id, ()))
        ]

    def failures(self, peer_id: bytes) -> int:
        """Return how often in a row a peer gave nothing."""
        return self._failures.get(peer_id, 0)

    def offers(self) -> set[tuple[int, bytes]]:
        """Return height and crown of every snapshot that somebody usable offers."""
        return {
            (offer.height, offer.crown_id)
            for peer_id in self.usable()
            for offer in self._offers.get(peer_id, ())
        }

    @property
    def unasked(self) -> list[bytes]:
        """The usable peers that have not said yet what they offer."""
        return [peer_id for peer_id in self.usable() if peer_id not in self._offers]

    def forget_offers(self) -> None:
        """Ask everybody anew: snapshots come and go."""
        self._offers.clear()

    def empty_words(self, peer_id: bytes) -> None:
        """Ask a peer no more that offered what it does not give."""
        self._failures[peer_id] = FAILURES_MAX

    async def ask_offers(self, peer_id: bytes) -> None:
        """Ask a peer what it offers; who does not answer offers nothing for now."""
        self._offers[peer_id] = ()
        try:
            answer = await self.ask(
                peer_id,
                OffersRequest(),
                lambda data: offers_answers.decode(data, bytes_max=OFFERS_BYTES_MAX),
            )
        except NoSource:
            return
        self._offers[peer_id] = answer.offers

    async def ask(self, peer_id: bytes, request: ServedRequest, read: Callable[[bytes], T]) -> T:
        """Return what a peer's answer says; raises NoSource, and reports a false one."""
        try:
            data = await self._network.request(peer_id, Topic.SYNC, encode(request), ANSWER_MS_MAX)
        except (NotConnected, QueueFull, RequestFailed) as error:
            self._failures[peer_id] = self._failures.get(peer_id, 0) + 1
            raise NoSource(error.sentence) from error
        try:
            found = read(data)
        except (Malformed, SnapshotRefused) as error:
            self.lied(peer_id, error)
            raise NoSource(error.sentence) from error
        self._failures[peer_id] = 0
        return found

    def lied(self, peer_id: bytes, error: SaharaError) -> None:
        """Report a peer that gave what no honest node gives."""
        self._liars.add(peer_id)
        self._network.judge(peer_id, Verdict.INVALID)
        log.warning("peer lied", extra={"peer": peer_id.hex(), "reason": error.sentence})

    async def ask_any(
        self, peers: Iterable[bytes], request: ServedRequest, read: Callable[[bytes], T]
    ) -> T:
        """Return what the first of several peers says whose answer is true; raises NoSource."""
        reason = "Nobody is connected who has it."
        for peer_id in peers:
            try:
                return await self.ask(peer_id, request, read)
            except NoSource as error:
                reason = error.sentence
        raise NoSource(reason)
