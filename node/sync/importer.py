"""The importer: executes proven blocks and makes them final; what is final must hold here as well.

A block that breaks a rule, or roots that differ, halt the node: it cannot be a peer's fault, for
every hash leads to a verified finalization (consensus 2.3).
"""

from consensus.links import normal_proposal
from consensus.validators import Validators
from node.application import Application
from node.errors import ConsensusHalted
from node.ledger import Ledger
from node.storage.chain_store import ChainStore
from node.sync.checks import ProvenBlock, is_sound
from state.errors import InvalidBlock
from state.finality import boundary_height, set_hash
from state.types import Hash


class Importer:
    """Takes proven blocks in their order."""

    def __init__(self, application: Application, store: ChainStore, ledger: Ledger) -> None:
        self._application = application
        self._store = store
        self._ledger = ledger
        self._epoch = -1
        self._validators: Validators | None = None
        self._next_hash = b""

    def take(self, one: ProvenBlock) -> None:
        """Execute a block over the head and make it final; raises ConsensusHalted."""
        application, block = self._application, one.block
        header, epoch_blocks = block.header, application.epoch_blocks
        if one.checked is not None:
            application.bodies.keep((header.tx_root, header.evidence_root), one.checked)
        if not is_sound(
            application.tip(),
            one,
            *self._sets(),
            epoch_blocks,
            application.judge_over_parent,
        ):
            raise _broken(header.height, "It does not follow from the block below it.")
        try:
            application.execute(header, one.block_id, block.justify, block.body)
        except InvalidBlock as error:
            raise _broken(header.height, error.sentence) from error
        if one.finalization is not None and header.height == boundary_height(
            header.epoch, epoch_blocks
        ):  # settled 4: the end of the links that lead to its finalization, or the only one
            proposal = normal_proposal(header, one.block_id)
            self._store.finality.keep_link(proposal, block.justify)
        self._ledger.commit(header, one.block_id, one.finalization)

    def _sets(self) -> tuple[Validators, Hash]:
        """Return the epoch's validators, and the hash of the next epoch's set."""
        info = self._application.epoch_info()
        if self._validators is None or self._epoch != info.epoch:
            self._epoch = info.epoch
            self._validators = Validators(info.validators, info.boundary.block_id)
            self._next_hash = set_hash(info.next_validators)
        return self._validators, self._next_hash


def _broken(height: int, why: str) -> ConsensusHalted:
    return ConsensusHalted(
        f"Block {height} is final and breaks a rule of this node. {why} Keep this home as it is, "
        "and compare its version with that of other validators."
    )
