"""The address book: where other nodes may be, in buckets that no subnet can fill.

Addresses that were only heard of lie in buckets chosen by who told of them and by their subnet;
addresses that proved themselves in buckets chosen by their subnet alone. One subnet reaches few of
the first and fewer of the second, under a secret that strangers do not know, so it can push out at
most a fraction of the rest. A failure to connect is remembered to try others first; it never bans.
Sans-I/O: bytes for the caller to store, time and chance passed in.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from p2p.addresses import HOST_CHARACTERS_MAX, Address, PeerAddress, group_of
from p2p.codec import Bytes32, Count, Decoder, Struct, Tag, encode, hash_bytes
from p2p.errors import LocalError, Malformed, Oversize

HEARD_BUCKETS: Final = 64
PROVEN_BUCKETS: Final = 32
BUCKET_SIZE: Final = 32
SOURCE_BUCKETS: Final = 8
"""Heard-of buckets that one telling subnet reaches, of HEARD_BUCKETS."""
GROUP_BUCKETS: Final = 2
"""Proven buckets that one subnet reaches, of PROVEN_BUCKETS."""
ANCHORS_MAX: Final = 4
"""Peers that are dialled first after a restart, so that nobody can wait for one to take it over."""
ENTRIES_MAX: Final = (HEARD_BUCKETS + PROVEN_BUCKETS) * BUCKET_SIZE
ROW_BYTES_MAX: Final = 2 * 4 * HOST_CHARACTERS_MAX + 64
"""An address at rest whose host and source are the longest, of characters of four bytes."""
BOOK_BYTES_MAX: Final = (ENTRIES_MAX + ANCHORS_MAX) * ROW_BYTES_MAX + 64
"""Room for whatever was kept: a book that outgrew its bound would be lost at the next start."""


class CorruptBook(LocalError):
    """The stored address book is damaged; a new one takes its place."""

    code: ClassVar[str] = "p2p.corrupt_book"


class _Row(Struct):
    """An address at rest."""

    peer: PeerAddress
    source: Annotated[str, Meta(max_length=HOST_CHARACTERS_MAX)]
    is_proven: bool
    failures: Count


class _Stored(Struct):
    """The whole book at rest."""

    secret: Bytes32
    rows: Annotated[tuple[_Row, ...], Meta(max_length=ENTRIES_MAX)]
    anchors: Annotated[tuple[PeerAddress, ...], Meta(max_length=ANCHORS_MAX)]


_stored: Decoder[_Stored] = Decoder(_Stored, "address book", BOOK_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an address."""

    peer: PeerAddress
    source: str
    """The subnet of who told of it."""
    is_proven: bool
    """Whether that node was met at that address."""
    failures: int
    """Attempts since then that did not reach it."""


class PeerBook:
    """Addresses of other nodes; see the module for how they are kept apart.

    `secret` is 32 random bytes that decide the buckets.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._entries: dict[Address, Entry] = {}
        self._buckets: dict[tuple[bool, int], list[Address]] = {}
        self.anchors: tuple[PeerAddress, ...] = ()

    def __len__(self) -> int:
        """How many addresses are known."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Every address that is known."""
        return iter(self._entries.values())

    def get(self, address: Address) -> Entry | None:
        """Return what is known of an address."""
        return self._entries.get(address)

    def hear(self, peer: PeerAddress, source_host: str) -> bool:
        """A node at `source_host` told of an address; tell whether it is new and kept.

        What is known already stays as it is: nobody changes a book by telling it twice.
        """
        if peer.address in self._entries:
            return False
        self._put(Entry(peer, group_of(source_host), is_proven=False, failures=0))
        return True

    def prove(self, peer: PeerAddress) -> None:
        """The node was met at this address, by dialling it."""
        known = self._entries.get(peer.address)
        source = known.source if known else group_of(peer.address.host)
        self._remove(peer.address)
        self._put(Entry(peer, source, is_proven=True, failures=0))

    def fail(self, address: Address) -> None:
        """The address could not be reached, or somebody else was there."""
        known = self._entries.get(address)
        if known is not None:
            self._entries[address] = replace(known, failures=known.failures + 1)

    def pick(
        self, chance: random.Random, is_wanted: Callable[[Entry], bool], count: int
    ) -> list[Entry]:
        """Return up to `count` addresses to dial, proven and heard-of in turn, failures last.

        No two are of one subnet: buckets are drawn first, so that many addresses in one weigh no
        more than few in another.
        """
        chosen: list[Entry] = []
        pools = [self._shuffled(chance, proven, is_wanted) for proven in (True, False)]
        groups: set[str] = set()
        while len(chosen) < count and any(pools):
            for pool in pools:
                while pool and group_of(pool[-1].peer.address.host) in groups:
                    pool.pop()
                if pool and len(chosen) < count:
                    chosen.append(pool.pop())
                    groups.add(group_of(chosen[-1].peer.address.host))
        return chosen

    def tell(
        self, chance: random.Random, is_tellable: Callable[[Entry], bool], count: int
    ) -> tuple[PeerAddress, ...]:
        """Return up to `count` addresses to tell a peer of; only those that proved themselves."""
        known = [one for one in self if one.is_proven and not one.failures and is_tellable(one)]
        return tuple(entry.peer for entry in chance.sample(known, min(count, len(known))))

    def to_bytes(self) -> bytes:
        """Return the book with a checksum, to be stored."""
        rows = tuple(
            _Row(one.peer, one.source, one.is_proven, min(one.failures, 255)) for one in self
        )
        data = encode(_Stored(self._secret, rows, self.anchors))
        return hash_bytes(Tag.BOOK, data) + data

    @staticmethod
    def from_bytes(data: bytes, name: str) -> "PeerBook":
        """Return the stored book; raises CorruptBook, which says `name`, the file's."""
        if hash_bytes(Tag.BOOK, data[32:]) != data[:32]:
            raise CorruptBook(f"The address book {name} is damaged; a new one takes its place.")
        try:
            stored = _stored.decode(data[32:])
        except (Malformed, Oversize) as error:
            raise CorruptBook(f"The address book {name} is of another form: {error}") from error
        book = PeerBook(stored.secret)
        for row in stored.rows:
            book._put(Entry(row.peer, row.source, row.is_proven, row.failures))
        book.anchors = stored.anchors
        return book

    # --- buckets ----------------------------------------------------------------------------------

    def _bucket(self, entry: Entry) -> tuple[bool, int]:
        group = group_of(entry.peer.address.host)
        if entry.is_proven:
            place = self._number(str(entry.peer.address)) % GROUP_BUCKETS
            return True, self._number("proven", group, str(place)) % PROVEN_BUCKETS
        place = self._number(entry.source, group) % SOURCE_BUCKETS
        return False, self._number("heard", entry.source, str(place)) % HEARD_BUCKETS

    def _number(self, *parts: str) -> int:
        return int.from_bytes(hash_bytes(Tag.BUCKET, self._secret + encode(parts))[:8], "big")

    def _put(self, entry: Entry) -> None:
        """Put an entry into its bucket; a full one loses its worst: most failures, then oldest."""
        bucket = self._buckets.setdefault(self._bucket(entry), [])
        if len(bucket) >= BUCKET_SIZE:
            self._remove(max(bucket, key=lambda address: self._entries[address].failures))
        bucket.append(entry.peer.address)
        self._entries[entry.peer.address] = entry

    def _remove(self, address: Address) -> None:
        known = self._entries.pop(address, None)
        if known is not None:
            self._buckets[self._bucket(known)].remove(address)

    def _shuffled(
        self, chance: random.Random, proven: bool, is_wanted: Callable[[Entry], bool]
    ) -> list[Entry]:
        """Entries to pop from the end: few failures first, then bucket by bucket in turn."""
        drawn: list[tuple[int, int, float, Entry]] = []
        for (is_proven, _), bucket in sorted(self._buckets.items()):
            if is_proven is proven:
                entries = [self._entries[one] for one in bucket if is_wanted(self._entries[one])]
                chance.shuffle(entries)
                drawn += [
                    (entry.failures, turn, chance.random(), entry)
                    for turn, entry in enumerate(entries)
                ]
        drawn.sort(key=lambda row: row[:3], reverse=True)
        return [entry for *_, entry in drawn]
