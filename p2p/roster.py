"""The roster: who has a seat, and which of two connections to the same node stays. Sans-I/O.

One node has one seat. When a second connection to it comes up:
- opened by the same side as the first, or more than SIMULTANEOUS_MS later: the new one stays,
  because who opens another has lost the first; so a node that restarts is not locked out by its
  own ghost, and of two machines with one key the later one stays until the other backs off;
- otherwise both sides dialled at once: the one opened by the node with the lower id stays.

Persistent and unconditional peers and validators always have a seat. When the others' inbound seats
are full, the four most useful and the four oldest keep theirs; of the rest, the worst gives way if
its score is below zero, or else the youngest of the subnet with the most seats, if it has two.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2p.addresses import group_of

SIMULTANEOUS_MS: Final = 5_000
SHELTERED: Final = 4
"""Seats kept for usefulness, and as many again for age."""
DUPLICATE: Final = "p2p.duplicate"
REPLACED: Final = "p2p.replaced"
FULL: Final = "p2p.full"
EVICTED: Final = "p2p.evicted"


@dataclass(frozen=True, slots=True)
class Seat:
    """One peer's connection."""

    peer_id: bytes
    host: str
    is_outbound: bool
    is_exempt: bool
    since_ms: int


@dataclass(frozen=True, slots=True)
class Admission:
    """What to do with a new connection: close it with `refusal`, or seat it and close `removed`."""

    refusal: str | None = None
    removed: bytes | None = None
    removal: str = ""


class Roster:
    """The seats of one node."""

    def __init__(self, own_id: bytes, inbound_max: int, outbound_max: int) -> None:
        self._own_id = own_id
        self._inbound_max = inbound_max
        self._outbound_max = outbound_max
        self.seats: dict[bytes, Seat] = {}

    def count(self, *, is_outbound: bool) -> int:
        """How many seats without exemption are taken in a direction."""
        return sum(
            seat.is_outbound is is_outbound and not seat.is_exempt for seat in self.seats.values()
        )

    def admit(self, seat: Seat, score: Callable[[bytes], int]) -> Admission:
        """Seat a new connection or refuse it; at most one other gives way."""
        known = self.seats.get(seat.peer_id)
        if known is not None:
            if not self._wins(seat, known):
                return Admission(refusal=DUPLICATE)
            admission = Admission(removed=seat.peer_id, removal=REPLACED)
        else:
            admission = self._find_room(seat, score)
        if admission.refusal is None:
            if admission.removed is not None:
                del self.seats[admission.removed]
            self.seats[seat.peer_id] = seat
        return admission

    def leave(self, seat: Seat) -> None:
        """A connection ended; its seat is free unless another one has taken it."""
        if self.seats.get(seat.peer_id) is seat:
            del self.seats[seat.peer_id]

    def _wins(self, seat: Seat, known: Seat) -> bool:
        """Whether a second connection to a node stays instead of the first."""
        if seat.is_outbound is known.is_outbound:
            return True
        if seat.since_ms - known.since_ms > SIMULTANEOUS_MS:
            return True
        return seat.is_outbound is (self._own_id < seat.peer_id)

    def _find_room(self, seat: Seat, score: Callable[[bytes], int]) -> Admission:
        if seat.is_exempt:
            return Admission()
        if seat.is_outbound:
            full = self.count(is_outbound=True) >= self._outbound_max
            return Admission(refusal=FULL) if full else Admission()
        if self.count(is_outbound=False) < self._inbound_max:
            return Admission()
        removed = self._weakest(score)
        if removed is None:
            return Admission(refusal=FULL)
        return Admission(removed=removed, removal=EVICTED)

    def _weakest(self, score: Callable[[bytes], int]) -> bytes | None:
        inbound = [one for one in self.seats.values() if not (one.is_outbound or one.is_exempt)]
        by_use = sorted(inbound, key=lambda one: -score(one.peer_id))
        useful = {one.peer_id for one in by_use[:SHELTERED] if score(one.peer_id) > 0}
        by_age = sorted(inbound, key=lambda one: one.since_ms)
        old = {one.peer_id for one in by_age[:SHELTERED]}
        exposed = [one for one in by_age if one.peer_id not in useful | old]
        groups = Counter(group_of(one.host) for one in exposed)
        if not groups:
            return None
        group, size = groups.most_common(1)[0]
        youngest = [one for one in exposed if group_of(one.host) == group][-1]
        worst = min(exposed, key=lambda one: score(one.peer_id))
        if score(worst.peer_id) < 0:
            return worst.peer_id
        return youngest.peer_id if size > 1 else None
