"""The peers that state sync asks: who has which snapshot, who failed, and who was found out.

A peer that does not answer is asked less and then no more; one that gives what no honest node
gives is reported, which costs it its place. Whoever gave the manifest of a snapshot answers for
what follows from it: if that comes to nothing, what others offer is tried before its next one.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, TypeVar

from node.snapshot.errors import (
    FormUnknown,
    NotTrusted,
    OtherHistory,
    SnapshotError,
    SnapshotRefused,
)
from node.snapshot.form import Offer
from node.snapshot.wire import OFFERS_BYTES_MAX, OffersRequest, offers_answers
from node.sync.messages import ServedRequest
from node.sync.server import NOT_HERE
from p2p.errors import NotConnected, QueueFull, RequestFailed
from p2p.interface import Network
from p2p.scores import Verdict
from p2p.topics import Topic
from state.codec import encode
from state.errors import Malformed, SaharaError

T = TypeVar("T")

ANSWER_MS_MAX: Final = 10_000
"""A peer that takes longer for one answer has failed once."""
OFFERS_MS_MAX: Final = 6_000
"""The same for its offers, which are short, and for which all the others wait."""
FAILURES_MAX: Final = 8
"""A peer that failed so often in a row is not asked again; one that is busy answers sooner."""
STRIKES_MAX: Final = 3
"""So many manifests of one peer may come to nothing; then no more of it are tried."""
HEDGE_SECONDS: Final = 0.5
"""After so long without an answer the next peer is asked as well."""

Ask = tuple[bytes, Callable[[], Coroutine[Any, Any, T]]]
"""A peer, and what asks it."""

log = logging.getLogger("sahara.statesync")


class NoSource(SnapshotError):
    """Nobody who is connected gave what was asked for."""

    code = "snapshot.no_source"


class NotHere(NoSource):
    """A peer says that it does not have it, which is no failure of the peer."""


class Sources:
    """The peers of one state sync over one network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._offers: dict[bytes, tuple[Offer, ...]] = {}
        self._failures: Counter[bytes] = Counter()
        self._overtaken: Counter[bytes] = Counter()
        self._strikes: Counter[bytes] = Counter()
        self._liars: set[bytes] = set()
        self._tried: set[tuple[bytes, bytes]] = set()
        """Givers and crowns that came to nothing."""
        self._useless: set[bytes] = set()
        """Crowns that came to nothing, whoever gives them."""

    # --- who is asked ----------------------------------------------------------------------------

    def usable(self) -> list[bytes]:
        """Return the connected peers that may be asked, those that failed least first.

        Among equals come first those that this node has chosen to dial itself.
        """
        found = [
            peer
            for peer in self._network.peers()
            if peer.peer_id not in self._liars and self._failures[peer.peer_id] < FAILURES_MAX
        ]
        found.sort(
            key=lambda peer: (
                self._failures[peer.peer_id] + self._overtaken[peer.peer_id],
                not peer.is_outbound,
            )
        )
        return [peer.peer_id for peer in found]

    def having(self, crown_id: bytes) -> list[bytes]:
        """Return the usable peers that offered a snapshot."""
        return [
            peer_id
            for peer_id in self.usable()
            if any(offer.crown_id == crown_id for offer in self._offers.get(peer_id, ()))
        ]

    def failures(self, peer_id: bytes) -> int:
        """Return how often in a row a peer gave nothing."""
        return self._failures[peer_id]

    def ranked(self, above: int) -> list[tuple[bytes, Offer]]:
        """Return what may be tried next, the best first, and one snapshot of each who gives some.

        A height is only a claim until its manifest is there, so it never counts for more than what
        came of a peer's claims before, or than that this node has chosen the peer itself.
        """
        dialled = {peer.peer_id for peer in self._network.peers() if peer.is_outbound}
        found = []
        for peer_id in self.usable():
            offers = [
                offer
                for offer in self._offers.get(peer_id, ())
                if offer.height > above and self.may_give(peer_id, offer.crown_id)
            ]
            if offers:
                found.append((peer_id, max(offers, key=lambda offer: offer.height)))
        found.sort(
            key=lambda one: (
                self._strikes[one[0]],
                self._overtaken[one[0]] > 0,
                one[0] not in dialled,
                -one[1].height,
            )
        )
        return found

    def may_give(self, peer_id: bytes, crown_id: bytes) -> bool:
        """Tell whether a peer's manifest of a crown may still be tried."""
        return (
            crown_id not in self._useless
            and (peer_id, crown_id) not in self._tried
            and self._strikes[peer_id] < STRIKES_MAX
        )

    @property
    def unasked(self) -> list[bytes]:
        """The usable peers that have not said yet what they offer."""
        return [peer_id for peer_id in self.usable() if peer_id not in self._offers]

    # --- what came of it -------------------------------------------------------------------------

    def strike(self, peer_id: bytes, crown_id: bytes, *, is_over: bool) -> None:
        """Hold against a peer that a manifest of its came to nothing.

        It may be tried once more unless that is over.
        """
        self._strikes[peer_id] += 1
        if is_over:
            self._tried.add((peer_id, crown_id))

    def give_up(self, crown_id: bytes) -> None:
        """Try a crown no more, whoever gives it."""
        self._useless.add(crown_id)

    def begin_anew(self) -> None:
        """Ask everybody anew: snapshots come and go, and so does what kept a peer from answering.

        Who was silent stays behind those who were not, and is soon given up again.
        """
        self._offers.clear()
        for peer_id, count in self._failures.items():
            self._failures[peer_id] = min(count, FAILURES_MAX - 1)

    def lied(self, peer_id: bytes, error: SaharaError) -> None:
        """Report a peer that gave what no honest node gives."""
        self._liars.add(peer_id)
        self._network.judge(peer_id, Verdict.INVALID)
        log.warning("peer lied", extra={"peer": peer_id.hex(), "reason": error.sentence})

    # --- asking ----------------------------------------------------------------------------------

    async def ask_offers(self, peer_id: bytes) -> None:
        """Ask a peer what it offers; who does not answer offers nothing for now."""
        self._offers[peer_id] = ()
        try:
            answer = await self.ask(
                peer_id,
                OffersRequest(),
                lambda data: offers_answers.decode(data, bytes_max=OFFERS_BYTES_MAX),
                min(OFFERS_MS_MAX, ANSWER_MS_MAX),
            )
        except NoSource:
            return
        self._offers[peer_id] = answer.offers

    async def ask(
        self,
        peer_id: bytes,
        request: ServedRequest,
        read: Callable[[bytes], T],
        wait_ms: int | None = None,
    ) -> T:
        """Return what a peer's answer says; raises NoSource, and reports a false one.

        It is read in a thread: to check a large one takes a while.
        """
        try:
            data = await self._network.request(
                peer_id, Topic.SYNC, encode(request), wait_ms or ANSWER_MS_MAX
            )
        except (NotConnected, QueueFull, RequestFailed) as error:
            if isinstance(error, RequestFailed) and error.refusal == NOT_HERE:
                raise NotHere(error.sentence) from error
            self._failures[peer_id] += 1
            raise NoSource(error.sentence) from error
        try:
            found = await asyncio.to_thread(read, data)
        except (
            NotTrusted,
            OtherHistory,
            FormUnknown,
        ) as error:  # true for others, maybe
            raise NoSource(error.sentence) from error
        except (Malformed, SnapshotRefused) as error:
            self.lied(peer_id, error)
            raise NoSource(error.sentence) from error
        self._failures[peer_id] = 0
        return found

    async def ask_first(
        self,
        peers: Iterable[bytes],
        request: ServedRequest,
        read: Callable[[bytes], T],
        seconds: float | None = None,
    ) -> T:
        """Return what the first of several peers says whose answer is true; raises NoSource.

        `seconds` bounds it all.
        """
        asks = [(peer_id, partial(self.ask, peer_id, request, read)) for peer_id in peers]
        return await self.first_of(asks, seconds=seconds)

    async def first_of(
        self,
        asks: Iterable[Ask[T]],
        pause_seconds: float | None = None,
        seconds: float | None = None,
    ) -> T:
        """Return what comes first of asking several peers; raises NoSource.

        They are asked one after the other, and nobody waits long for one that is silent: after a
        pause the next is asked beside it, and who was overtaken comes later the next time.
        """
        loop = asyncio.get_running_loop()
        if pause_seconds is None:
            pause_seconds = HEDGE_SECONDS
        end = None if seconds is None else loop.time() + seconds
        waiting, reason = deque(asks), "Nobody is connected who has it."
        asked: dict[asyncio.Task[T], bytes] = {}
        try:
            while waiting or asked:
                left = None if end is None else end - loop.time()
                if left is not None and left <= 0:
                    break
                pause = left
                if waiting:
                    peer_id, ask = waiting.popleft()
                    asked[loop.create_task(ask())] = peer_id
                    pause = pause_seconds if left is None else min(left, pause_seconds)
                done, _ = await asyncio.wait(
                    asked,
                    timeout=pause if waiting else left,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    del asked[task]
                    try:
                        found = task.result()
                    except NoSource as error:
                        reason = error.sentence
                    else:
                        self._overtaken.update(asked.values())
                        return found
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise NoSource(reason)
