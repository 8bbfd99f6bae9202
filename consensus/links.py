"""Links of the chain: why a proposal may stand where it stands, without asking anybody (R2).

A link is a proposal with its justification. The argument that every fork is provable walks along
links, so nobody accepts a proposal whose link does not hold (consensus 1, settled points 4 and 5).
"""

from state.finality import (
    Certificate,
    Finalization,
    Header,
    Justify,
    Notarization,
    Proposal,
)
from state.types import Hash


def normal_proposal(header: Header, block_id: Hash) -> Proposal:
    """Return the proposal under which a header was first proposed."""
    return Proposal(header.epoch, header.view, header.parent_view, block_id, header.justify_hash)


def justifies(justify: Justify, proposal: Proposal, parent_id: Hash, epoch: int) -> bool:
    """Tell whether certificates of exactly the parent and of every skipped view stand in it.

    `parent_id` is what must be certified at the parent view: the parent block, or in a re-proposal
    the block itself. Signatures are not looked at here.
    """
    parent = justify.parent
    if proposal.parent_view == 0:
        if epoch == 0:
            if parent is not None:  # settled 5: absent only over genesis
                return False
        elif not (
            isinstance(parent, Finalization)  # settled 5: the boundary's finalization
            and parent.subject.epoch == epoch - 1
            and parent.subject.block_id == parent_id
        ):
            return False
    elif not (
        parent is not None
        and (parent.subject.epoch, parent.subject.view) == (epoch, proposal.parent_view)
        and parent.subject.block_id == parent_id
    ):
        return False
    skipped = [(one.subject.epoch, one.subject.view) for one in justify.nullifications]
    gap = range(proposal.parent_view + 1, proposal.view)
    if len(skipped) != len(gap):  # before the range is walked: a view may be any number
        return False
    return skipped == [(epoch, view) for view in gap]


def certificates_in(justify: Justify) -> list[Certificate]:
    """Return every certificate that a justification holds."""
    parent: list[Notarization | Finalization] = [] if justify.parent is None else [justify.parent]
    return [*parent, *justify.nullifications]
