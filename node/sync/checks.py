"""Judging answers: each function takes an answer's bytes and what they must fit; run in threads.

Whoever gave an answer that raises Unfit is to blame: it is not what was asked for, its signatures
are no quorum's, or its hashes are not those that a verified finalization commits to. What fits all
of that and still breaks a rule was made final by a quorum, and is no peer's fault.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consensus.blocks import Blocks
from consensus.inputs import Tip
from consensus.links import justifies
from consensus.messages import Block
from consensus.settings import Judgement
from consensus.validators import Validators
from node.bodies import Bodies, CheckedBody
from node.sync.errors import Unfit
from node.sync.messages import (
    RANGE_BYTES_MAX,
    BlocksAnswer,
    FinalAnswer,
    HeadersAnswer,
    LinkAnswer,
    decode_answer,
)
from state.block import bodies, check_body
from state.errors import InvalidBlock, Malformed
from state.finality import (
    Finalization,
    Header,
    Justify,
    Proposal,
    ValidatorSet,
    fits,
    justify_hash,
    set_hash,
    verify_certificate,
)
from state.types import Hash


@dataclass(frozen=True, slots=True)
class Quorum:
    """Whose finalizations are believed in an epoch, on which network."""

    genesis_hash: Hash
    epoch_blocks: int
    epoch: int
    members: ValidatorSet


@dataclass(frozen=True, slots=True)
class ProvenBlock:
    """A block that stands under a verified finalization, and its own finalization if it is known.

    `checked` is its body once the static rules and all signatures were checked.
    """

    block_id: Hash
    block: Block
    finalization: Finalization | None
    checked: CheckedBody | None = None

    @property
    def size_bytes(self) -> int:
        """The length of its body."""
        return len(self.block.body)


def check_final(data: bytes, quorum: Quorum) -> FinalAnswer:
    """Return a finalization that this quorum made; raises Unfit."""
    match _decoded(data):
        case FinalAnswer(header, finalization) as answer:
            _check_final(header, finalization, quorum)
            return answer
    raise Unfit("The answer is of another kind than the request.")


def _check_final(header: Header, finalization: Finalization, quorum: Quorum) -> None:
    subject = finalization.subject
    if subject.block_id != header.id or header.epoch != quorum.epoch:
        raise Unfit("The finalization is not of this header, or of another epoch.")
    if not fits(subject, header, quorum.epoch_blocks):  # settled 6: nobody believes these
        raise Unfit("The finalized proposal contradicts the header.")
    if header.validators_hash != set_hash(quorum.members):
        raise Unfit("The header names another validator set than that of its epoch.")
    if not verify_certificate(quorum.genesis_hash, finalization, quorum.members):
        raise Unfit("The votes are no quorum of the epoch's set.")


def check_headers(data: bytes, block_id: Hash, count: int) -> tuple[Header, ...]:
    """Return headers, the first under its proven id and each followed by its parent."""
    match _decoded(data):
        case HeadersAnswer(headers) if len(headers) <= count:
            for header in headers:
                if header.id != block_id:
                    raise Unfit("A header is not the one that its child names.")
                block_id = header.parent_id
            return headers
    raise Unfit("The answer holds more than was asked for, or is of another kind.")


def check_blocks(data: bytes, ids: Sequence[Hash], quorum: Quorum) -> tuple[ProvenBlock, ...]:
    """Return the first of the blocks of these ids, every part of each held against its header."""
    match _decoded(data):
        case BlocksAnswer(blocks, finalization) if len(blocks) <= len(ids):
            if len(blocks) > 1 and len(data) > 2 * RANGE_BYTES_MAX:
                raise Unfit("The answer holds more bytes than a range may.")
            found: dict[Hash, ProvenBlock] = {}
            for block_id, block in zip(ids, blocks, strict=False):
                _check_block(block_id, block)
                found[block_id] = ProvenBlock(block_id, block, None)
            if finalization is not None:
                block_id = finalization.subject.block_id
                if block_id not in found:
                    raise Unfit("The finalization is of none of the blocks.")
                block = found[block_id].block
                _check_final(block.header, finalization, quorum)
                found[block_id] = ProvenBlock(block_id, block, finalization)
            return tuple(found.values())
    raise Unfit("The answer holds more than was asked for, or is of another kind.")


def _check_block(block_id: Hash, block: Block) -> None:
    if block.header.id != block_id:
        raise Unfit("A block is not the one that is final at its height.")
    if justify_hash(block.justify) != block.header.justify_hash:
        raise Unfit("A justification is not the one that its header commits to.")
    try:
        check_body(bodies.decode(block.body), block.header)
    except (Malformed, InvalidBlock) as error:
        raise Unfit("A body is not the one that its header commits to.") from error


def check_link(data: bytes, proposal: Proposal) -> Justify:
    """Return the justification under which a boundary was proposed again (settled point 4)."""
    match _decoded(data):
        case LinkAnswer(justify) if justify_hash(justify) == proposal.justify_hash:
            return justify
    raise Unfit("The justification is not the one that the proposal commits to.")


def check_bodies(judge: Bodies, blocks: Sequence[ProvenBlock]) -> tuple[ProvenBlock, ...]:
    """Return the blocks with their bodies judged by the static rules; raises InvalidBlock.

    A block that fails here was made final by a quorum against the rules.
    """
    return tuple(
        [
            ProvenBlock(
                one.block_id,
                one.block,
                one.finalization,
                judge.examine(one.block.header, one.block.body),
            )
            for one in blocks
        ]
    )


def is_sound(
    tip: Tip,
    one: ProvenBlock,
    validators: Validators,
    next_hash: Hash,
    epoch_blocks: int,
    judge_over_parent: Callable[[Header, Hash, bytes], bool],
) -> bool:
    """Tell whether a block may stand on the tip, by the engine's own rule: all roots agree."""
    tree = Blocks(tip, epoch_blocks, judge_over_parent)
    tree.add(one.block_id, one.block, Judgement.VALID)
    return tree.advance(one.block_id, validators, next_hash) == [one.block_id]


def is_again(proposal: Proposal, justify: Justify) -> bool:
    """Tell whether a justification lets a boundary block be proposed once more (settled 9)."""
    return justifies(justify, proposal, proposal.block_id, proposal.epoch)


def _decoded(data: bytes) -> object:
    try:
        return decode_answer(data)
    except Malformed as error:
        raise Unfit(error.sentence) from error
