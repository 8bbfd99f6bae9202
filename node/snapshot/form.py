"""What a snapshot is made of, on disk and on the wire alike, and the bounds of each piece.

A snapshot at height h is the state after block h, whose root stands in header h + 1, its *crown*.
The manifest holds crown, finalization and marks; beside it are the crown's block, whose execution
gives the head to go on from, and a step for each epoch that has ended with it or before: they lead
from genesis to the set that finalized the crown.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final

from msgspec import Meta

from consensus.messages import MESSAGE_BYTES_MAX, Block
from node.snapshot.errors import FormUnknown, SnapshotRefused
from state.chunks import CHUNKS_MAX, Mark, fold
from state.codec import Decoder, Struct, encode
from state.errors import Malformed
from state.finality import (
    VALIDATORS_MAX,
    Finalization,
    Header,
    Justify,
    Proposal,
    Validator,
)
from state.types import Hash, Height

FORM: Final = 1
"""Raised when a snapshot changes its form; another one is refused, not converted."""
MANIFEST_BYTES_MAX: Final = 2**23
"""Room for CHUNKS_MAX marks, and a certificate of the largest set."""
STEPS_MAX: Final = 64
"""Steps in one page."""
STEPS_BYTES: Final = 2**22
"""A page ends before the step that would pass this; the first of a page may be longer than that."""
STEPS_BYTES_MAX: Final = 2**25
LINKS_MAX: Final = 64
"""Proposals of one boundary block that a step tells of; with more it tells of none."""


LINKS_BYTES_MAX: Final = 2**23
"""The same for their bytes. The boundary's own justification has up to 10 MiB, of the largest set
over NULLIFICATIONS_MAX views, and all of it must fit into a page."""


class Manifest(Struct):
    """What a snapshot holds; everything else of it is checked against this."""

    form: Annotated[int, Meta(ge=0, le=2**16)]
    genesis_hash: Hash
    crown: Header
    finalization: Finalization
    marks: Annotated[tuple[Mark, ...], Meta(min_length=1, max_length=CHUNKS_MAX)]

    @property
    def height(self) -> int:
        """The height after which the state was taken."""
        return self.crown.height - 1


class Step(Struct):
    """How an epoch ends: its boundary block, directly final, and the set that comes after it.

    `validators` is empty where the set stays the same. Where it was proposed again, `links` are
    the later proposals up to the finalized one (consensus settled point 4).
    """

    boundary: Header
    justify: Justify
    finalization: Finalization
    validators: Annotated[tuple[Validator, ...], Meta(max_length=VALIDATORS_MAX)]
    links: Annotated[tuple[tuple[Proposal, Justify], ...], Meta(max_length=LINKS_MAX)]


class Steps(Struct):
    """A page of steps, one for each epoch in a row."""

    steps: Annotated[tuple[Step, ...], Meta(max_length=STEPS_MAX)]


def paged(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Yield steps in pages: each of STEPS_MAX at most, and of about STEPS_BYTES."""
    page: list[Step] = []
    size = 0
    for step in steps:
        bytes_more = len(encode(step))
        if page and (len(page) == STEPS_MAX or size + bytes_more > STEPS_BYTES):
            yield page
            page, size = [], 0
        page.append(step)
        size += bytes_more
    if page:
        yield page


class Offer(Struct):
    """That a node has a snapshot: its height, and the id of its crown."""

    height: Height
    crown_id: Hash


manifests: Decoder[Manifest] = Decoder(Manifest)
_blocks: Decoder[Block] = Decoder(Block)
_steps: Decoder[Steps] = Decoder(Steps)


def read_manifest(data: bytes, genesis_hash: Hash) -> Manifest:
    """Return a manifest that was checked; raises Malformed or SnapshotRefused."""
    manifest = manifests.decode(data, bytes_max=MANIFEST_BYTES_MAX)
    check_manifest(manifest, genesis_hash)
    return manifest


def check_form(form: int) -> None:
    """Raise FormUnknown for a form that this version does not read."""
    if form != FORM:
        raise FormUnknown(
            f"The snapshot has form {form} and this version reads form {FORM}; take one that a "
            "node of this version made."
        )


def check_manifest(manifest: Manifest, genesis_hash: Hash) -> None:
    """Check that a manifest's marks fold to the root that its crown states.

    That its crown is final is for node/snapshot/walk.py to show. Raises Malformed or
    SnapshotRefused.
    """
    check_form(manifest.form)
    if manifest.genesis_hash != genesis_hash:
        raise SnapshotRefused(
            "The snapshot is of another network; take one of the network whose genesis this is."
        )
    if manifest.crown.height < 1:
        raise Malformed("A snapshot is of a state that a block stands on; take another.")
    if fold(manifest.marks) != manifest.crown.state_root:
        raise Malformed("The marks do not lead to the root of the state; take another.")


def read_block(data: bytes) -> Block:
    """Return the crown's block; raises Malformed."""
    return _blocks.decode(data, bytes_max=MESSAGE_BYTES_MAX)


def read_steps(data: bytes) -> tuple[Step, ...]:
    """Return a page of steps; raises Malformed."""
    return _steps.decode(data, bytes_max=STEPS_BYTES_MAX).steps
