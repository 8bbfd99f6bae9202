"""Replaying a chain: every stored block is executed anew from genesis, and every root compared.

Nothing of the stored state is used: what a block commits to must follow from genesis and the
blocks before it, under any hash seed and with either kind of kernels.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import msgspec

from node.application import Application, validators_of
from node.storage.chain_store import ChainStore
from node.storage.kv import KeyValueStore
from state.block import check_body
from state.errors import InvalidBlock
from state.execute import check_block
from state.finality import verify_certificate
from state.genesis import Genesis
from state.types import Hash


@dataclass(frozen=True, slots=True)
class Replayed:
    """The root after a height as it was computed again, and as the chain states it."""

    height: int
    state_root: Hash
    expected_root: Hash
    outcomes_root: Hash
    expected_outcomes_root: Hash

    @property
    def agrees(self) -> bool:
        """Whether both roots are those that the chain states."""
        return (self.state_root, self.outcomes_root) == (
            self.expected_root,
            self.expected_outcomes_root,
        )


def replay(store: ChainStore, genesis: Genesis, scratch: KeyValueStore) -> Iterator[Replayed]:
    """Yield every height from genesis to the head; `scratch` is an empty store to work in.

    Raises InvalidBlock when a block is not the one that its header, certificate or parent name,
    and NotFound when its body is not kept.
    """
    head = store.head
    if head is None:
        return
    fresh = ChainStore(scratch, genesis)
    application = Application(
        fresh, genesis, invariants_every_blocks=1, timed=lambda _: nullcontext()
    )
    for height in range(head.header.height + 1):
        if height:
            _execute(store, application, height)
        here = application.head
        if height < head.header.height:
            above = store.header(height + 1).header
            expected, outcomes = above.state_root, above.outcomes_root
        else:
            expected, outcomes = head.state_root, head.outcomes_root
        yield Replayed(height, here.state_root, expected, here.outcomes_root, outcomes)


def _execute(store: ChainStore, application: Application, height: int) -> None:
    """Check a stored block against its parent and certificate, then execute and commit it."""
    row = store.header(height)
    header, finalization, parent = row.header, row.finalization, application.head
    if header.height != height or header.parent_id != parent.block_id or header.id != row.block_id:
        raise InvalidBlock(
            f"Block {height} does not stand on block {height - 1}; restore a backup."
        )
    validators = validators_of(application.genesis)
    if (
        finalization is None
        or finalization.subject.block_id != row.block_id
        or not verify_certificate(application.genesis_hash, finalization, validators)
    ):
        raise InvalidBlock(f"Block {height} has no valid finalization; restore a backup.")
    try:
        body = store.body(height)
    except msgspec.DecodeError as error:
        raise InvalidBlock(f"The body of block {height} is damaged; restore a backup.") from error
    check_body(body, header)
    transactions = check_block(
        body.transactions, application.decoder, application.params.fees, frozenset()
    )
    application.execute(header, row.block_id, transactions)
    application.commit(header, row.block_id, finalization)
