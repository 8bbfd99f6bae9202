"""What a node believes, held against what validators have really signed."""

from consensus.evidence import votes_in
from consensus.links import certificates_in
from state.finality import Certificate, SignedVote, kind_of, vote_digest
from tests.consensus.network import GENESIS, Node, key_of, sign


def unsigned(node: Node) -> list[SignedVote]:
    """Return every vote that the node believes, alone or in a certificate, and nobody cast."""
    core, records = node.core, node.disk.records
    views = list(core.epoch.views.values())
    held = [one for view in views for one in (view.notarization, view.other_notarization)]
    held += [one for view in views for one in (view.nullification, view.finalization)]
    held += [core.epoch.final, core.epoch.entry, node.disk.chain[-1].finalization]
    held += [one for _, justify in core.links.values() for one in certificates_in(justify)]
    held += [one for one in records if isinstance(one, Certificate)]
    votes = [vote for view in views for some in view.tally._votes.values() for vote in some]
    votes += [one for one in records if isinstance(one, SignedVote)]
    votes += [vote for one in held if one is not None for vote in votes_in(one)]
    return [vote for vote in votes if not is_signed(vote)]


def is_signed(vote: SignedVote) -> bool:
    """Tell whether the vote's validator has signed it."""
    message = vote_digest(kind_of(vote), GENESIS, vote.subject)
    return vote.vote.signature == sign(key_of(vote.vote.validator), message)
