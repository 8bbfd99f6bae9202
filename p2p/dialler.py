"""Whom to dial now: the operator's peers, validators, anchors, then the book. Sans-I/O.

Every address has a pace of its own: after each failure the next attempt waits twice as long, up to
a cap that is short for peers we must reach, and times a chance between a half and one, so that
nodes that fell together do not rise together. A failure costs nothing else, for ever.

Peers we must reach take turns: who was tried longest ago is next, whatever its place in the list
and however many addresses it has, for some of them may have announced where nobody answers.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import Final

from p2p.addresses import Address, PeerAddress, group_of
from p2p.peerbook import Entry, PeerBook

DIALS_MAX: Final = 16
"""Attempts at once."""
FRESH_DIALS_MIN: Final = 4
"""Of them, those that peers which failed the last time may not have."""
DRAW_MS: Final = 1_000
"""How often the book, which may be long, is looked through."""
PAUSE_MS: Final = 500
PAUSE_MUST_MS_MAX: Final = 4_000
PAUSE_MAY_MS_MAX: Final = 300_000
LASTING_MS: Final = 30_000
PACED_MAX: Final = 4_096


class Dialler:
    """Chooses addresses to dial, and remembers when each may be tried again."""

    def __init__(self, chance: random.Random, book: PeerBook, outbound_max: int) -> None:
        self._chance = chance
        self._book = book
        self._outbound_max = outbound_max
        self._paces: OrderedDict[Address, tuple[int, int]] = OrderedDict()
        self._dialling: dict[Address, PeerAddress] = {}
        self._musts: set[bytes] = set()
        self._line: dict[bytes, None] = {}
        """The same by whose turn is next: who is new or was tried goes to the end."""
        self._draw_ms = 0

    @property
    def dialling(self) -> int:
        """Attempts under way."""
        return len(self._dialling)

    def due(
        self,
        now_ms: int,
        *,
        musts: Iterable[PeerAddress],
        connected: Collection[bytes],
        outbound: int,
        groups: Collection[str],
        is_allowed: Callable[[bytes], bool],
    ) -> list[PeerAddress]:
        """Return whom to dial now, and count each as being dialled.

        `musts` are peers we want whatever it takes; `outbound` seats are taken by the others, from
        the subnets `groups`.
        """
        busy = {*connected, *(peer.node_id for peer in self._dialling.values())}
        musts = list(musts)
        self._musts = {peer.node_id for peer in musts}
        chosen = self._musts_in_turn(musts, busy, now_ms)
        taken = busy | self._musts

        def is_wanted(entry: Entry) -> bool:
            peer = entry.peer
            return (
                peer.node_id not in taken
                and group_of(peer.address.host) not in groups
                and self._is_due(peer.address, now_ms)
                and is_allowed(peer.node_id)
            )

        under_way = sum(one.node_id not in self._musts for one in self._dialling.values())
        free = self._outbound_max - outbound - under_way
        for entry in self._anchored(is_wanted, free):
            chosen.append(entry)
            taken.add(entry.node_id)
            free -= 1
        if free > 0 and now_ms >= self._draw_ms:
            self._draw_ms = now_ms + DRAW_MS
            chosen += [one.peer for one in self._book.pick(self._chance, is_wanted, free)]
        chosen = chosen[: max(0, DIALS_MAX - len(self._dialling))]
        self._dialling |= {peer.address: peer for peer in chosen}
        for peer in chosen:
            if peer.node_id in self._musts:
                del self._line[peer.node_id]
                self._line[peer.node_id] = None
        return chosen

    def _musts_in_turn(
        self, musts: list[PeerAddress], busy: set[bytes], now_ms: int
    ) -> list[PeerAddress]:
        """Return whom of those we must reach to dial, one address each, who waits longest first."""
        waiting = [node_id for node_id in self._line if node_id in self._musts]
        self._line = dict.fromkeys([*waiting, *(peer.node_id for peer in musts)])
        turns = {node_id: turn for turn, node_id in enumerate(self._line)}
        under_way = sum(
            one.node_id in self._musts and self._has_failed(one.address)
            for one in self._dialling.values()
        )
        failed_free = DIALS_MAX - FRESH_DIALS_MIN - under_way
        due = [
            (turns[peer.node_id], self._paces.get(peer.address, (0, 0))[1], peer)
            for peer in musts
            if peer.node_id not in busy and self._is_due(peer.address, now_ms)
        ]
        due.sort(key=lambda row: row[:2])
        chosen: list[PeerAddress] = []
        names: set[bytes] = set()
        places: set[Address] = set()
        for _, _, peer in due:
            has_failed = self._has_failed(peer.address)
            if (has_failed and failed_free <= 0) or peer.node_id in names or peer.address in places:
                continue
            failed_free -= has_failed
            names.add(peer.node_id)
            places.add(peer.address)
            chosen.append(peer)
        return chosen

    def _anchored(self, is_wanted: Callable[[Entry], bool], free: int) -> list[PeerAddress]:
        found = [
            anchor
            for anchor in self._book.anchors
            if is_wanted(Entry(anchor, "", is_proven=True, failures=0))
        ]
        return found[: max(0, free)]

    def succeeded(self, address: Address, node_id: bytes) -> None:
        """The address was reached and the node was there."""
        self._dialling.pop(address, None)
        self._book.prove(PeerAddress(node_id, address))

    def failed(self, peer: PeerAddress, now_ms: int) -> None:
        """The attempt led nowhere, whoever is to blame: the next one waits longer."""
        self._dialling.pop(peer.address, None)
        self._book.fail(peer.address)
        self._pause(peer, now_ms)

    def ended(self, peer: PeerAddress, lasted_ms: int, now_ms: int) -> None:
        """A connection that we opened is over; one that did not last waits like a failure."""
        if lasted_ms >= LASTING_MS:
            self._paces.pop(peer.address, None)
        self._pause(peer, now_ms)

    def _pause(self, peer: PeerAddress, now_ms: int) -> None:
        address = peer.address
        failures, _ = self._paces.pop(address, (0, 0))
        is_must = peer.node_id in self._musts
        cap_ms = PAUSE_MUST_MS_MAX if is_must else PAUSE_MAY_MS_MAX
        pause_ms = min(PAUSE_MS << min(failures, 16), cap_ms)
        wait_ms = self._chance.randint(pause_ms // 2, pause_ms)
        self._paces[address] = (failures + 1, now_ms + wait_ms)
        if len(self._paces) > PACED_MAX:
            self._paces.popitem(last=False)

    def _has_failed(self, address: Address) -> bool:
        return address in self._paces

    def _is_due(self, address: Address, now_ms: int) -> bool:
        return address not in self._dialling and now_ms >= self._paces.get(address, (0, 0))[1]
