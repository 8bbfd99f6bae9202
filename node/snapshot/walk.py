"""The walk from genesis to a crown: epoch by epoch, by each boundary's direct finalization.

Whoever trusts more than the genesis names one boundary block that the walk must pass: a history
that forked off before it, whoever signed it, is refused (consensus 2.11, settled 7 and 19).
"""

import re
from collections import deque
from dataclasses import dataclass
from typing import Final

from consensus.light import LightError, Trust, check_final, next_epoch
from consensus.links import certificates_in, justifies, normal_proposal
from node.client.trust import FOREVER_MS, trust_in
from node.snapshot.errors import NotTrusted, OtherHistory, SnapshotRefused
from node.snapshot.form import Step
from state.finality import (
    Certificate,
    Finalization,
    Header,
    ValidatorSet,
    fits,
    justify_hash,
    verify_certificate,
)
from state.genesis import Genesis
from state.types import Hash

_ANYTIME_MS: Final = FOREVER_MS // 2
"""A clock is of no use here: who walks from genesis asks for every epoch there is."""

_CHECKPOINT = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The block before an epoch, as somebody trusted has told it."""

    epoch: int
    block_id: Hash


def read_checkpoint(text: str) -> Checkpoint | None:
    """Return the checkpoint EPOCH:BLOCKID, None for empty text; raises SnapshotRefused."""
    if not text:
        return None
    found = _CHECKPOINT.fullmatch(text)
    if found is None:
        raise SnapshotRefused(
            f"'{text}' is no trusted block; give EPOCH:BLOCKID with the id of the block before "
            "that epoch, 64 hexadecimal digits."
        )
    return Checkpoint(int(found[1]), bytes.fromhex(found[2]))


class Walk:
    """Epochs that were walked so far, from genesis on; crowns of the last ones can be checked."""

    def __init__(
        self, genesis: Genesis, checkpoint: Checkpoint | None, epochs_kept: int = 1
    ) -> None:
        self._genesis_hash = genesis.hash
        self._checkpoint = checkpoint
        self.trust: Trust = trust_in(genesis)
        self._trusts = deque([self.trust], maxlen=epochs_kept)

    @property
    def epoch(self) -> int:
        """The newest epoch that was reached."""
        return self.trust.epoch

    @property
    def epoch_min(self) -> int:
        """The oldest epoch whose crowns can still be checked."""
        return self._trusts[0].epoch

    def take(self, step: Step) -> ValidatorSet:
        """Enter the next epoch and return its set; raises SnapshotRefused, and changes nothing.

        It is OtherHistory where the step is true, and its block another than the trusted one.
        """
        members = self.trust.validators
        following = step.validators or members
        wanted = self._checkpoint
        try:
            trust = next_epoch(self.trust, step.boundary, step.finalization, following, _ANYTIME_MS)
        except LightError as error:
            raise SnapshotRefused(
                f"Epoch {self.epoch} does not end so. {error.sentence}"
            ) from error
        is_there = wanted is not None and wanted.epoch == trust.epoch
        if is_there and wanted != Checkpoint(trust.epoch, step.boundary.id):
            raise OtherHistory(
                f"Epoch {trust.epoch} begins with another block than the trusted one: this is not "
                "the chain you trust. Take another snapshot, or ask whoever told you the block."
            )
        self._check_links(step)
        self.trust = trust
        self._trusts.append(trust)
        return following

    def check_crown(self, crown: Header, finalization: Finalization) -> None:
        """Raise SnapshotRefused unless its epoch, one of those kept, has finalized a header."""
        wanted = self._checkpoint
        trust = next((one for one in self._trusts if one.epoch == crown.epoch), self.trust)
        if wanted is not None and wanted.epoch > trust.epoch:
            raise NotTrusted(
                f"The snapshot is of epoch {trust.epoch}, before the trusted block of epoch "
                f"{wanted.epoch}; take a newer one."
            )
        try:
            check_final(trust, crown, finalization, _ANYTIME_MS)
        except LightError as error:
            raise SnapshotRefused(f"The snapshot's head is not final. {error.sentence}") from error

    def _check_links(self, step: Step) -> None:
        """Check that a step's justification is the header's, and that its links are one chain."""
        boundary, final = step.boundary, step.finalization.subject
        if justify_hash(step.justify) != boundary.justify_hash:
            raise SnapshotRefused("A step holds another justification than its boundary names.")
        if not step.links:
            return
        last = normal_proposal(boundary, final.block_id)
        for proposal, justify in step.links:  # each a re-proposal: the block stands on itself
            if (
                (proposal.block_id, proposal.parent_view) != (final.block_id, last.view)
                or not fits(proposal, boundary, self.trust.epoch_blocks)
                or justify_hash(justify) != proposal.justify_hash
                or not justifies(justify, proposal, final.block_id, self.epoch)
                or not all(self._is_certified(each) for each in certificates_in(justify))
            ):
                raise SnapshotRefused("A step's links do not lead from proposal to proposal.")
            last = proposal
        if last != final:
            raise SnapshotRefused("A step's links do not end at what was finalized.")

    def _is_certified(self, certificate: Certificate) -> bool:
        trust = self.trust  # all of them are of this epoch: `justifies` has looked
        return verify_certificate(trust.genesis_hash, certificate, trust.validators)
