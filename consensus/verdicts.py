"""Verdicts on the signatures of a batch of messages, all verified at once and none too many.

Whatever a message claims is verified in pieces; the first false one ends it. So a forger has a few
hundred signatures verified, whatever it sends, and a batch of honest messages costs one call.
"""

from collections.abc import Callable, Sequence

from consensus.inputs import Peer
from consensus.messages import Message, Propose
from consensus.votes import VOTES_MAX
from state.crypto import SignatureClaim
from state.finality import Finalization, Notarization, Nullification, Proposal

CLAIMS_AT_ONCE = 256
"""Claims of one message that are verified before the next of them: what is forged stops there."""
_WITH_MANY = Propose | Notarization | Nullification | Finalization
Waiting = tuple[Peer, Message, list[SignatureClaim]]
Verify = Callable[[Sequence[SignatureClaim]], list[bool]]


def verdicts_on(waiting: list[Waiting], verify: Verify) -> list[list[bool]]:
    """Return the verdicts on each message's claims, those of all messages verified at once.

    They end with the first piece that holds a false one: who forges has as little verified as can
    be. Of a certificate one vote is looked at first, which who has no key cannot forge. What a
    proposal stands on is looked at only once its leader's vote holds, and of a view only for as
    many proposals as count: of the others there is the verdict on the vote alone.
    """
    verdicts: list[list[bool]] = [[] for _ in waiting]
    sizes = [1 if isinstance(one, _WITH_MANY) else CLAIMS_AT_ONCE for _, one, _ in waiting]
    while True:
        pieces = [
            found[len(done) : len(done) + size] if all(done) else []
            for (_, _, found), done, size in zip(waiting, verdicts, sizes, strict=True)
        ]
        if not any(pieces):
            return verdicts
        is_first = not any(verdicts)
        for done, more in zip(verdicts, _verify_each(pieces, verify), strict=True):
            done += more
        if is_first:
            counted = _counted(waiting, verdicts)
            sizes = [CLAIMS_AT_ONCE if counts else 0 for counts in counted]


def _counted(waiting: list[Waiting], verdicts: list[list[bool]]) -> list[bool]:
    """Tell which messages go on: of a view as many proposals as a tally keeps, each of them once.

    A proposal may come with its justification and without it, where that is to be asked for.
    """
    counted: list[bool] = []
    seen: dict[int, dict[Proposal, set[bool]]] = {}
    for (_, message, _), done in zip(waiting, verdicts, strict=True):
        if not isinstance(message, Propose) or not all(done):
            counted.append(True)
            continue
        proposals = seen.setdefault(message.proposal.view, {})
        is_whole = message.justify is not None
        is_new = is_whole not in proposals.get(message.proposal, ())
        has_room = message.proposal in proposals or len(proposals) < VOTES_MAX
        counted.append(is_new and has_room)
        if has_room:
            proposals.setdefault(message.proposal, set()).add(is_whole)
    return counted


def _verify_each(claims: list[list[SignatureClaim]], verify: Verify) -> list[list[bool]]:
    joined = [claim for each in claims for claim in each]
    verdicts = iter(verify(joined) if joined else [])
    return [[next(verdicts) for _ in each] for each in claims]
