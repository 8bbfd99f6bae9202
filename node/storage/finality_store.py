"""What proves that blocks are final, and is kept for ever: by it others follow from epoch to epoch.

Key prefixes: i heights by block id, j justifications by their hash, l links by round, e boundaries
by the epoch that they begin, v validator sets by epoch, p evidence that is not on the chain yet.
"""

from collections.abc import Iterable, Iterator

from node.storage.kv import KeyValueStore, Reader, Row
from state.codec import Decoder, Struct, encode
from state.finality import Evidence, Finalization, Header, Justify, Proposal, ValidatorSet
from state.types import Hash

LINKS_WAITING_MAX = 64
"""So many links wait for the next block; more are written at once. The journal has them as well."""


class Head(Struct):
    """A final block and what executing it gave: the last one, or an epoch's boundary.

    A block that became final with a descendant need not have a finalization of its own.
    """

    header: Header
    block_id: Hash
    state_root: Hash
    outcomes_root: Hash
    changed: bool
    finalization: Finalization | None


_heads: Decoder[Head] = Decoder(Head)
_heights: Decoder[int] = Decoder(int)
_justifies: Decoder[Justify] = Decoder(Justify)
_proposals: Decoder[Proposal] = Decoder(Proposal)
_sets: Decoder[ValidatorSet] = Decoder(ValidatorSet)
_evidence: Decoder[Evidence] = Decoder(Evidence)


class FinalityView:
    """Certificates, justifications and validator sets, as a database or one view of it has them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def height_of(self, block_id: Hash) -> int | None:
        """Return the height of a final block, None for any other."""
        data = self._reader.get(b"i" + block_id)
        return None if data is None else _heights.trusted(data)

    def justify(self, digest: Hash) -> Justify | None:
        """Return a justification by its hash, None when it is not kept."""
        return self.stored_justify(digest)

    def stored_justify(self, digest: Hash) -> Justify | None:
        """Return a justification that waits for no block any more; may be called in a thread."""
        return self.sized_justify(digest)[0]

    def sized_justify(self, digest: Hash) -> tuple[Justify | None, int]:
        """Return a stored justification, and how many bytes it has; may be called in a thread."""
        data = self._reader.get(b"j" + digest)
        return (None, 0) if data is None else (_justifies.trusted(data), len(data))

    def links(self, epoch: int, view: int, limit: int) -> list[tuple[Proposal, Justify]]:
        """Return certified proposals of an epoch from a view on, each with its justification."""
        found: list[tuple[Proposal, Justify]] = []
        start = b"l" + _number(epoch) + _number(view)
        for _, data in self._reader.scan(start, b"l" + _number(epoch + 1)):
            proposal = _proposals.trusted(data)
            justify = self.justify(proposal.justify_hash)
            assert justify is not None, "a link is written with its justification"
            found.append((proposal, justify))
            if len(found) >= limit:
                break
        return found

    def boundary(self, epoch: int) -> Head | None:
        """Return the block before an epoch's first (genesis before epoch 0), None if not final."""
        data = self._reader.get(b"e" + _number(epoch))
        return None if data is None else _heads.trusted(data)

    def members(self, epoch: int) -> ValidatorSet | None:
        """Return the validator set of an epoch, None when it is not fixed yet."""
        data = self._reader.get(b"v" + _number(epoch))
        return None if data is None else _sets.trusted(data)


class FinalityStore(FinalityView):
    """The same over a whole store, with what is written, and links that wait to be."""

    def __init__(self, store: KeyValueStore) -> None:
        super().__init__(store)
        self._store = store
        self._waiting: dict[Proposal, Justify] = {}

    def take_rows(self, head: Head, justify: Justify | None) -> list[Row]:
        """Return what is to be written with a block that becomes final, waiting links included."""
        rows = {b"i" + head.block_id: encode(head.header.height)}
        if justify is not None:
            rows[b"j" + head.header.justify_hash] = encode(justify)
        for proposal, link in self._waiting.items():
            rows.update(_link_rows(proposal, link))
        self._waiting.clear()
        return list(rows.items())

    def epoch_rows(self, head: Head, sets: Iterable[tuple[int, ValidatorSet]]) -> list[Row]:
        """Return what is to be written with the block before an epoch: itself, and the sets."""
        epoch = head.header.epoch + 1 if head.header.height else 0
        return [(b"e" + _number(epoch), encode(head)), *self.set_rows(sets)]

    def set_rows(self, sets: Iterable[tuple[int, ValidatorSet]]) -> list[Row]:
        """Return what is to be written of validator sets by epoch."""
        return [(b"v" + _number(number), encode(members)) for number, members in sets]

    def keep_link(self, proposal: Proposal, justify: Justify) -> None:
        """Keep a certified proposal and its justification with the next block (settled 4)."""
        self._waiting[proposal] = justify
        if len(self._waiting) >= LINKS_WAITING_MAX:
            rows = [row for link in self._waiting.items() for row in _link_rows(*link)]
            self._store.write(rows, [], sync=False)
            self._waiting.clear()

    def justify(self, digest: Hash) -> Justify | None:
        """Return a justification by its hash, None when it is not kept."""
        for proposal, justify in self._waiting.items():
            if proposal.justify_hash == digest:
                return justify
        return self.stored_justify(digest)

    def links(self, epoch: int, view: int, limit: int) -> list[tuple[Proposal, Justify]]:
        """Return the same as of one moment: a thread may prune links while they are read."""
        with self._store.snapshot() as rows:
            return FinalityView(rows).links(epoch, view, limit)

    # --- evidence --------------------------------------------------------------------------------

    def evidence(self) -> Iterator[tuple[bytes, Evidence]]:
        """Yield the evidence that waits to be put on the chain, each with its key."""
        for key, data in self._store.scan(b"p", b"q"):
            yield key[1:], _evidence.trusted(data)

    def keep_evidence(self, key: bytes, evidence: Evidence) -> None:
        """Keep evidence until it is on the chain, durably."""
        self._store.write([(b"p" + key, encode(evidence))], [], sync=True)

    def drop_evidence(self, keys: Iterable[bytes]) -> None:
        """Forget evidence that is on the chain or of no use any more."""
        gone = [b"p" + key for key in keys]
        if gone:
            self._store.write([], gone, sync=False)


def _number(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _link_rows(proposal: Proposal, justify: Justify) -> list[Row]:
    key = b"l" + _number(proposal.epoch) + _number(proposal.view) + proposal.block_id
    return [(b"j" + proposal.justify_hash, encode(justify)), (key, encode(proposal))]
