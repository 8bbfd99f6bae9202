"""A light client: from one trusted epoch to any final header, by certificates alone (2.11).

It keeps one validator set and walks epoch by epoch; nothing is skipped, for one header and one
certificate an epoch are cheap. Whatever it is shown is checked against the same rules by which
honest validators vote, so a finalization of a misfit convinces nobody (settled points 6 and 19).

LightError                     SaharaError
├── NotFinal                   light.not_final    no quorum of the trusted set stands behind it
├── OutsideTrust               light.outside      another epoch, a time beyond the trust period
└── BrokenPath                 light.path         headers that do not lead from one to the other
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from state.errors import SaharaError
from state.finality import (
    Finalization,
    Header,
    ValidatorSet,
    boundary_height,
    fits,
    set_hash,
    verify_certificate,
)
from state.types import Hash


class LightError(SaharaError):
    """What was shown proves nothing."""

    code: ClassVar[str] = "light.error"


class NotFinal(LightError):
    """No quorum of the trusted set has finalized this header."""

    code: ClassVar[str] = "light.not_final"


class OutsideTrust(LightError):
    """The header lies outside what is trusted."""

    code: ClassVar[str] = "light.outside"


class BrokenPath(LightError):
    """The headers do not lead from one to the other."""

    code: ClassVar[str] = "light.path"


@dataclass(frozen=True, slots=True)
class Trust:
    """What a light client believes: an epoch's set, and when it was known to be in force."""

    genesis_hash: Hash
    epoch_blocks: int
    epoch: int
    validators: ValidatorSet
    time_ms: int
    """The time of the header that named the set."""
    period_ms: int
    """For so long after that time the set's stake can still be slashed, so it is believed."""
    drift_ms: int
    """A header's time may lie so far ahead of the client's clock."""


def check_final(trust: Trust, header: Header, finalization: Finalization, now_ms: int) -> None:
    """Raise LightError unless the trusted epoch's set has finalized exactly this header."""
    subject = finalization.subject
    if header.epoch != trust.epoch:
        raise OutsideTrust(
            f"The header is of epoch {header.epoch} and epoch {trust.epoch} is trusted; walk from "
            "boundary to boundary."
        )
    if now_ms >= trust.time_ms + trust.period_ms:
        raise OutsideTrust(
            f"The trusted set is older than {trust.period_ms} ms; begin anew from a header that "
            "you have from somebody you trust."
        )
    if header.time_ms >= now_ms + trust.drift_ms:
        raise OutsideTrust("The header's time lies in the future; check the clock.")
    if subject.block_id != header.id:
        raise NotFinal("The finalization is of another block; ask for the one that belongs here.")
    if not fits(subject, header, trust.epoch_blocks):  # settled 6 and 19
        raise NotFinal("The finalized proposal contradicts the header; show it to a validator.")
    if header.validators_hash != set_hash(trust.validators):
        raise NotFinal("The header names another validator set than the trusted one.")
    if not verify_certificate(trust.genesis_hash, finalization, trust.validators):
        raise NotFinal("The votes are no quorum of the trusted set; ask another node.")


def next_epoch(
    trust: Trust,
    boundary: Header,
    finalization: Finalization,
    next_validators: ValidatorSet,
    now_ms: int,
) -> Trust:
    """Return the trust in the next epoch's set, which the final boundary header names."""
    check_final(trust, boundary, finalization, now_ms)
    if boundary.height != boundary_height(trust.epoch, trust.epoch_blocks):
        raise OutsideTrust(
            f"Height {boundary.height} is not the last of epoch {trust.epoch}; only that block "
            "hands over to the next set."
        )
    if boundary.next_validators_hash != set_hash(next_validators):
        raise NotFinal("The final boundary header names another set for the next epoch.")
    return Trust(
        trust.genesis_hash,
        trust.epoch_blocks,
        trust.epoch + 1,
        next_validators,
        boundary.time_ms,
        trust.period_ms,
        trust.drift_ms,
    )


def check_path(header: Header, descendants: Sequence[Header]) -> None:
    """Raise BrokenPath unless each header is the parent of the next one.

    A height without a finalization of its own is final with the last of its descendants, once
    `check_final` has accepted that one.
    """
    parent = header
    for child in descendants:
        if child.parent_id != parent.id or child.height != parent.height + 1:
            raise BrokenPath(
                f"The header of height {child.height} does not stand on that of height "
                f"{parent.height}; ask for the headers in between."
            )
        parent = child
