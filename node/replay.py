"""Replaying a chain: every stored block is executed anew, and every root compared.

Nothing of the stored state is used: what a block commits to must follow from genesis, or from a
snapshot that proves itself, and the blocks after it, under any hash seed and with either kind of
kernels. Nor are stored validator sets
believed: each epoch's set is that of the state which was computed here, and by it every leader,
justification and certificate is judged as any honest validator would (R2, settled 6 to 9).
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

from consensus.inputs import EpochInfo
from consensus.links import certificates_in, justifies, normal_proposal
from consensus.validators import Validators
from node.application import Application
from node.storage.chain_store import ChainStore, HeaderRow
from node.storage.kv import KeyValueStore
from state.errors import InvalidBlock, Malformed
from state.finality import Finalization, Justify, fits, justify_hash, set_hash, verify_certificate
from state.genesis import Genesis
from state.types import Hash

INVARIANTS_EVERY_BLOCKS = 100
"""So often, and at the end, all of them are checked: whole tables are read for some."""


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


def replay(
    store: ChainStore, genesis: Genesis, scratch: KeyValueStore, to_height: int | None = None
) -> Iterator[Replayed]:
    """Yield every height from the head of `scratch` to that of the store, or to one below it.

    `scratch` is an empty store to work in, which begins with genesis, or one that was restored.
    Raises InvalidBlock when a block is not the one that its header, certificate, leader or parent
    name, and NotFound when its body is not kept.
    """
    head = store.head
    if head is None:
        return
    application = Application(
        ChainStore(scratch, genesis),
        genesis,
        invariants_every_blocks=INVARIANTS_EVERY_BLOCKS,
        timed=lambda _: nullcontext(),
    )
    judge = _Judge(application)
    first = application.head.header.height
    last = head.header.height if to_height is None else to_height
    for height in range(first, last + 1):
        if height == last:
            application.invariants_every_blocks = 1
        if height > first:
            judge.execute(store, height)
        here = application.head
        if height < head.header.height:
            above = store.header(height + 1).header
            expected, outcomes = above.state_root, above.outcomes_root
        else:
            expected, outcomes = head.state_root, head.outcomes_root
        yield Replayed(height, here.state_root, expected, here.outcomes_root, outcomes)
    if judge.unproven:
        raise InvalidBlock(
            f"No certificate stands behind block {last}; start the node once, or restore a backup."
        )


def check_kept(store: ChainStore, genesis: Genesis) -> None:
    """Check the headers that are kept above the floor, where no state leads through their blocks.

    Each stands on the one before, has the justification and body it names, and its certificate is
    of its epoch's set; that set is checked where the walk from genesis leads to it. Raises
    InvalidBlock.
    """
    head = store.head
    assert head is not None, "what has a floor has a head"
    parent = store.header(store.floor)
    for height in range(store.floor, head.header.height + 1):
        row = store.header(height)
        header, members = row.header, store.finality.members(row.header.epoch)
        justify = store.finality.justify(header.justify_hash)
        if header.id != row.block_id or header.height != height:
            raise _refused(height, "is another than its header")
        if height > store.floor and header.parent_id != parent.block_id:
            raise _refused(height, f"does not stand on block {height - 1}")
        if justify is None or justify_hash(justify) != header.justify_hash:
            raise _refused(height, "has no justification")
        if store.body(height).root != header.tx_root:
            raise _refused(height, "has another body")
        if members is None or set_hash(members) != header.validators_hash:
            raise _refused(height, "names other validators than its epoch has")
        final = row.finalization
        if final is not None and not (
            final.subject.block_id == row.block_id
            and fits(final.subject, header, genesis.params.staking.epoch_blocks)
            and verify_certificate(genesis.hash, final, members)
        ):
            raise _refused(height, "has no valid finalization")
        parent = row


class _Judge:
    """Judges stored blocks over the chain that was computed here."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._info = application.epoch_info()
        self._validators = Validators(self._info.validators, self._info.boundary.block_id)
        self.unproven = False
        """Whether the last block waits for the certificate of a descendant."""

    def execute(self, store: ChainStore, height: int) -> None:
        """Check a stored block against its parent and certificates, then execute and commit it."""
        application = self._application
        row = store.header(height)
        header, parent = row.header, application.head
        if (
            header.height != height
            or header.parent_id != parent.block_id
            or header.id != row.block_id
        ):
            raise _refused(height, f"does not stand on block {height - 1}")
        if parent.header.height % application.epoch_blocks == 0:
            self._begin_epoch()
        justify = store.finality.justify(header.justify_hash)
        if justify is None:
            raise _refused(height, "has no justification")
        self._check_place(row, justify)
        self._check_final(row)
        try:
            application.execute(header, row.block_id, justify, store.body_data(height))
        except Malformed as error:
            raise _refused(height, "has a body that is none") from error
        application.commit(header, row.block_id, row.finalization)

    def _begin_epoch(self) -> None:
        if self.unproven:  # settled 7: only its own finalization ends an epoch
            raise _refused(self._application.head.header.height, "ends an epoch uncertified")
        self._info = self._application.epoch_info()
        self._validators = Validators(self._info.validators, self._info.boundary.block_id)

    def _check_place(self, row: HeaderRow, justify: Justify) -> None:
        """Check that the set's leader proposed it, and that certificates let it stand there."""
        info, header = self._info, row.header
        proposal = normal_proposal(header, row.block_id)
        parent = self._application.head.header
        if not fits(proposal, header, self._application.epoch_blocks):
            raise _refused(header.height, "lies outside its epoch")
        if header.epoch != info.epoch or header.time_ms <= parent.time_ms:
            raise _refused(header.height, "does not follow its parent in epoch and time")
        if (header.validators_hash, header.next_validators_hash) != (
            self._validators.hash,
            set_hash(info.next_validators),
        ):
            raise _refused(header.height, "names other validators than the state")
        if header.proposer != self._validators.leader_of(header.view).account:
            raise _refused(header.height, "is not of the leader of its view")
        if justify_hash(justify) != header.justify_hash or not justifies(
            justify, proposal, header.parent_id, header.epoch
        ):
            raise _refused(header.height, "is not justified by its certificates")
        genesis_hash = self._application.genesis_hash
        for certificate in certificates_in(justify):
            ours = certificate.subject.epoch == info.epoch
            members = info.validators if ours else info.previous_validators
            if not verify_certificate(genesis_hash, certificate, members):
                raise _refused(header.height, "has a certificate without a quorum")

    def _check_final(self, row: HeaderRow) -> None:
        """Check the block's certificate, or that a descendant of its epoch must have one."""
        final = row.finalization
        self.unproven = final is None
        if final is not None and not self._is_final(row, final, self._info):
            raise _refused(row.header.height, "has no valid finalization")

    def _is_final(self, row: HeaderRow, final: Finalization, info: EpochInfo) -> bool:
        application = self._application
        return (
            final.subject.block_id == row.block_id
            and fits(final.subject, row.header, application.epoch_blocks)
            and verify_certificate(application.genesis_hash, final, info.validators)
        )


def _refused(height: int, what: str) -> InvalidBlock:
    return InvalidBlock(f"Block {height} {what}; restore a backup.")
