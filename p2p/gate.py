"""The gate: who may open a connection to us at all, before a byte of theirs is read.

A stranger is known by its address alone until the handshake ends, so the limits here are per
address: connections at once, handshakes at once, and new ones a second. Hosts of the operator's own
list are held to handshakes at once and nothing else, lest who shares such a host take all handles;
a peer that turns out to be exempt stops counting once the handshake says so. Each validator has
places for handshakes from the hosts it announces, so that strangers at the door keep none out. When
all the strangers' places are taken, the subnet that holds the most loses its oldest one to a subnet
that holds fewer, so that nobody who has one subnet keeps out the rest of the world. Sans-I/O.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from p2p.addresses import group_of, holder_of
from p2p.limits import TokenBucket

PENDING_MAX: Final = 64
"""Handshakes of strangers at once."""
PENDING_PER_HOLDER_MAX: Final = 4
PENDING_PER_TRUSTED_MAX: Final = 32
"""Handshakes at once of a host on the operator's list; they do not count among the strangers'."""
PENDING_PER_VALIDATOR_MAX: Final = 4
"""Handshakes at once of a validator's hosts, all together; nor do these count there."""
OPENED_PER_S: Final = 4
OPENED_BURST: Final = 16
HOLDERS_MAX: Final = 1_024
"""Addresses whose pace is remembered; a forgotten one starts afresh."""


Name = TypeVar("Name")


@dataclass(slots=True, eq=False)
class Place:
    """One connection's place in the counts, from its first byte to its last."""

    holder: str
    is_pending: bool
    is_counted: bool
    is_trusted: bool = False
    validator: bytes | None = None
    """Whose place for a handshake it takes, if it is no stranger's."""
    group: str | None = None
    """The subnet in which it counts as a stranger's handshake."""


class Gate:
    """Counts inbound connections by address; `trusted_hosts` are those of the operator's list."""

    def __init__(self, per_holder_max: int, trusted_hosts: frozenset[str] = frozenset()) -> None:
        self._per_holder_max = per_holder_max
        self._trusted = frozenset(holder_of(host) for host in trusted_hosts)
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._counted: dict[str, int] = {}
        self._pending: dict[str, int] = {}
        self._pending_total = 0
        self._groups: dict[str, OrderedDict[Place, None]] = {}
        """Handshakes of strangers by subnet, the oldest first."""
        self._displaced: list[Place] = []
        self._validators: dict[str, list[bytes]] = {}
        self._pending_validators: dict[bytes, int] = {}

    def expect(self, announced: Iterable[tuple[bytes, str]]) -> None:
        """Take note of validators and the hosts that they announce now."""
        self._validators = {}
        for validator, host in announced:
            self._validators.setdefault(holder_of(host), []).append(validator)

    def enter(self, host: str, now_ms: int) -> Place | None:
        """Return the place of a new connection, or None when it is to be dropped unread."""
        holder = holder_of(host)
        if holder in self._trusted:
            if self._pending.get(holder, 0) >= PENDING_PER_TRUSTED_MAX:
                return None
            _add(self._pending, holder, 1)
            return Place(holder, is_pending=True, is_counted=False, is_trusted=True)
        if not self._has_pace(holder, now_ms):
            return None
        if (
            self._counted.get(holder, 0) >= self._per_holder_max
            or self._pending.get(holder, 0) >= PENDING_PER_HOLDER_MAX
        ):
            return None
        place = Place(holder, is_pending=True, is_counted=True)
        place.validator = self._validator_with_room(holder)
        if place.validator is not None:
            _add(self._pending_validators, place.validator, 1)
        elif self._has_room(group_of(host)):
            place.group = group_of(host)
            self._groups.setdefault(place.group, OrderedDict())[place] = None
            self._pending_total += 1
        else:
            return None
        _add(self._counted, holder, 1)
        _add(self._pending, holder, 1)
        return place

    def take_displaced(self) -> list[Place]:
        """Return whose places went to others since the last time; they are to be dropped."""
        displaced, self._displaced = self._displaced, []
        return displaced

    def introduce(self, place: Place, *, is_exempt: bool) -> None:
        """The handshake is over: the peer has a name, and may be exempt by it."""
        if place.is_pending:
            place.is_pending = False
            _add(self._pending, place.holder, -1)
            if place.validator is not None:
                _add(self._pending_validators, place.validator, -1)
            elif place.group is not None:
                self._pending_total -= 1
                group = self._groups[place.group]
                del group[place]
                if not group:
                    del self._groups[place.group]
        if is_exempt and place.is_counted:
            place.is_counted = False
            _add(self._counted, place.holder, -1)

    def leave(self, place: Place) -> None:
        """The connection is closed."""
        self.introduce(place, is_exempt=True)

    def _has_room(self, group: str) -> bool:
        """Whether a stranger of this subnet has a place, if need be that of a larger one."""
        if self._pending_total < PENDING_MAX:
            return True
        most = max(self._groups.values(), key=len)
        if len(most) <= len(self._groups.get(group, ())) + 1:
            return False
        oldest = next(iter(most))
        self.leave(oldest)
        self._displaced.append(oldest)
        return True

    def _validator_with_room(self, holder: str) -> bytes | None:
        """Return one that announces this host and has a place left; several may announce it."""
        for validator in self._validators.get(holder, ()):
            if self._pending_validators.get(validator, 0) < PENDING_PER_VALIDATOR_MAX:
                return validator
        return None

    def _has_pace(self, holder: str, now_ms: int) -> bool:
        bucket = self._buckets.get(holder)
        if bucket is None:
            bucket = self._buckets[holder] = TokenBucket(OPENED_PER_S, OPENED_BURST, now_ms)
            if len(self._buckets) > HOLDERS_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(holder)
        return bucket.take(1, now_ms)


def _add(counts: dict[Name, int], name: Name, change: int) -> None:
    counts[name] = counts.get(name, 0) + change
    if not counts[name]:
        del counts[name]
