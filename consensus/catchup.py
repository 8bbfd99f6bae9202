"""What to ask whom for, what to pass on to whom, and what to tell who lags behind.

Nothing here is a proof of delivery: whatever matters is asked for or sent again until something
later shows that it arrived (consensus 2.6 e). Every table is bounded.
"""

from dataclasses import dataclass

from consensus.inputs import Peer
from consensus.messages import (
    BlockRequest,
    CertificateRequest,
    JustifyRequest,
    Message,
)
from state.finality import Certificate
from state.types import Hash

WANTS_MAX = 256
"""Things that are asked for at the same time; what is left out is wanted again later."""
RELAYS_MAX = 32
PEERS_REMEMBERED_MAX = 1_024
SERVED_MAX = 64
"""Requests of one peer that are answered in half a retry; a reply may be long."""

Asked = BlockRequest | CertificateRequest | JustifyRequest


@dataclass(slots=True)
class _Want:
    """Something asked for, whom it may be had from, and when it is asked for next."""

    request: Asked
    sources: tuple[Peer, ...]
    view: int
    is_certified: bool
    due_ms: int
    attempts: int = 0


class Catchup:
    """Requests under way, certificates to pass on, and where each peer was last seen."""

    def __init__(self, delta_ms: int, retry_ms: int) -> None:
        self._delta_ms = delta_ms
        self._retry_ms = retry_ms
        self._wants: dict[Hash | int, _Want] = {}
        self._put_off: dict[Hash | int, _Want] = {}
        """What finality left unasked; if it is missed still, it has waited already."""
        self._relays: list[tuple[int, Certificate]] = []
        self._helped: dict[tuple[Peer, int], tuple[int, int]] = {}
        """When, and for which epoch, a peer was told or asked something last."""
        self._served: dict[Peer, tuple[int, int]] = {}
        """Since when, and how often, a peer's requests were answered."""
        self.seen: dict[Peer, int] = {}
        """The highest view of the epoch in which a validator was seen."""

    def begin(self) -> None:
        """Forget everything about the epoch before."""
        self._wants.clear()
        self._put_off.clear()
        self._relays.clear()
        self.seen.clear()

    def saw(self, peer: Peer, view: int) -> None:
        """Note that a validator has shown something of a view."""
        if view > self.seen.get(peer, 0):
            self.seen[peer] = view

    # --- asking -----------------------------------------------------------------------------------

    def want(
        self,
        key: Hash | int,
        request: Asked,
        sources: tuple[Peer, ...],
        *,
        view: int,
        is_certified: bool,
        due_ms: int,
    ) -> None:
        """Ask for something from `due_ms` on until it is forgotten: the first source first.

        `view` is the one that needs it. What only a leader has named makes room for what a quorum
        has, and the older for the newer: else leaders who name nothing would stop all asking.
        """
        known = self._wants.get(key)
        if known is None:
            if not sources or not self._make_room(is_certified, view):
                return
            # What was put off is not asked for anew: blocks that come faster than a question waits
            # would put it off for ever.
            known = self._put_off.pop(key, None)
            if known is None:
                known = _Want(request, sources, view, is_certified, due_ms)
            known.view = view
            self._wants[key] = known
        # Whoever voted since may hold it, when those that were known first answer no more.
        new = [one for one in sources if one not in known.sources]
        known.sources = (*known.sources, *new)
        known.is_certified |= is_certified
        if _count(request) > _count(known.request):
            known.request, known.due_ms = request, min(due_ms, known.due_ms)

    def _make_room(self, is_certified: bool, view: int) -> bool:
        """Tell whether there is room for one more, and forget what is worth less."""
        if len(self._wants) < WANTS_MAX:
            return True
        worst = min(self._wants, key=self._rank)
        if self._rank(worst) >= (is_certified, view):
            return False
        del self._wants[worst]
        return True

    def _rank(self, key: Hash | int) -> tuple[bool, int]:
        want = self._wants[key]
        return want.is_certified, want.view

    def wants(self, key: Hash | int) -> bool:
        """Tell whether this is being asked for."""
        return key in self._wants

    def blocks_wanted(self, block_id: Hash) -> int:
        """Return how many blocks, from this one down, are asked for; 0 if it is not."""
        want = self._wants.get(block_id)
        return 0 if want is None else _count(want.request)

    def forget(self, key: Hash | int) -> None:
        """Stop asking: it has come, or is needed no more."""
        self._wants.pop(key, None)
        self._put_off.pop(key, None)

    def forget_views(self, view: int) -> None:
        """Stop asking for what views up to this one needed; its finality settles them.

        What the final block stands on is asked for again where it is found missing.
        """
        for key in [key for key, want in self._wants.items() if want.view <= view]:
            self._put_off[key] = self._wants.pop(key)
        while len(self._put_off) > WANTS_MAX:
            del self._put_off[next(iter(self._put_off))]

    def forget_uncertified(self, below: int) -> None:
        """Stop asking for what only the leaders of views long past have named."""
        for key in [
            key for key, want in self._wants.items() if not want.is_certified and want.view < below
        ]:
            del self._wants[key]

    def asking(self, now_ms: int) -> list[tuple[Peer, Message]]:
        """Return the requests that are due; each goes to the next source in turn."""
        found: list[tuple[Peer, Message]] = []
        for want in self._wants.values():
            if want.due_ms <= now_ms:
                source = want.sources[want.attempts % len(want.sources)]
                want.attempts += 1
                want.due_ms = now_ms + self._delta_ms
                found.append((source, want.request))
        return found

    # --- passing on -------------------------------------------------------------------------------

    def relay(self, certificate: Certificate, due_ms: int) -> None:
        """Pass a certificate on later, to those who seem to lack it by then (settled 13)."""
        if len(self._relays) < RELAYS_MAX:
            self._relays.append((due_ms, certificate))

    def forget_relays(self, view: int) -> None:
        """Pass nothing on that the finality of `view` settles."""
        self._relays = [one for one in self._relays if one[1].subject.view >= view]

    def relaying(self, now_ms: int, peers: list[Peer]) -> list[tuple[Peer, Message]]:
        """Return the certificates that are due, for each peer that showed nothing later."""
        due = [certificate for due_ms, certificate in self._relays if due_ms <= now_ms]
        self._relays = [one for one in self._relays if one[0] > now_ms]
        return [
            (peer, certificate)
            for certificate in due
            for peer in peers
            if self.seen.get(peer, 0) <= certificate.subject.view
        ]

    def next_ms(self) -> int | None:
        """Return when something is due next."""
        times = [want.due_ms for want in self._wants.values()]
        times.extend([due_ms for due_ms, _ in self._relays])
        return min(times, default=None)

    # --- helping ----------------------------------------------------------------------------------

    def may_help(self, peer: Peer, what: int, now_ms: int, epoch: int = 0) -> bool:
        """Tell whether a peer may be told again: one answer of a kind in half a retry.

        A later epoch than before is another matter, and counts as a request that is answered: short
        epochs are over sooner than that, and who is some behind must not fall behind further.
        """
        key = (peer, what)
        last = self._helped.get(key)
        is_soon = last is not None and now_ms < last[0] + self._retry_ms // 2
        is_later = last is not None and epoch > last[1]
        if is_soon and not (is_later and self.may_serve(peer, now_ms)):
            return False
        self._helped.pop(key, None)
        if len(self._helped) >= PEERS_REMEMBERED_MAX:
            del self._helped[next(iter(self._helped))]
        self._helped[key] = (now_ms, epoch)
        return True

    def may_serve(self, peer: Peer, now_ms: int) -> bool:
        """Tell whether one more request of a peer is answered: requests are short, replies long."""
        since_ms, count = self._served.get(peer, (now_ms, 0))
        if now_ms >= since_ms + self._retry_ms // 2:
            since_ms, count = now_ms, 0
        self._served.pop(peer, None)
        if len(self._served) >= PEERS_REMEMBERED_MAX:
            del self._served[next(iter(self._served))]
        self._served[peer] = (since_ms, count + 1)
        return count < SERVED_MAX


def _count(request: Asked) -> int:
    """Return how many blocks a request asks for."""
    return request.count if isinstance(request, BlockRequest) else 0
