"""What a node still knows of its own votes: guard, journal and database, held against each other.

Whoever has lost guard or journal, or has older ones than the chain, may have sent votes that it
does not know. Among others such a node follows until finality has passed them; alone, or where not
all others answer, it votes only where its operator says so (settled point 10).

A node without a validator's key has no votes, so it has no guard and nothing to regain. It keeps a
journal all the same: blocks that are not final yet, with which it goes on at once after a crash,
and justifications of certified proposals, of which a snapshot's walk from genesis may need one that
nobody sends again.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from node.application import Application
from node.errors import NodeError, StorageCorrupt
from node.home import Home
from node.keeper import Keeper, VoteSigner
from node.signer import GuardedSigner, GuardExists, GuardRefused, Round, Signer, create_guard
from node.storage.finality_store import Head
from node.storage.journal import Journal, create_journal
from state.crypto import Tag
from state.finality import Nullified, Proposal, SignedVote, vote_digest
from state.types import Hash, PublicKey, Signature

log = logging.getLogger("sahara.standing")


class VotesLost(NodeError):
    """Guard or journal are older than the chain: votes were sent that they do not know."""

    code: ClassVar[str] = "node.votes_lost"


class RoundUnfit(NodeError):
    """The round of --vote-after-loss is not one from which this node can go on."""

    code: ClassVar[str] = "node.round_unfit"


@dataclass(frozen=True, slots=True)
class Standing:
    """A node's signer and keeper, and above which round an operator lets it vote."""

    signer: GuardedSigner | None
    """None without a validator's key."""

    keeper: Keeper
    vote_after: Round | None

    def close(self) -> None:
        """Let go of guard and journal."""
        self.keeper.close()
        if self.signer is not None:
            self.signer.close()


class _NoVotes(VoteSigner):
    """Who signs for a node without a validator's key: the engine asks it for no vote."""

    def votes(self, validator: int) -> tuple[SignedVote, ...]:
        """Return that there are none."""
        return ()

    def sign_vote(self, kind: Tag, subject: Proposal | Nullified, *, sync: bool) -> Signature:
        """Refuse."""
        raise GuardRefused("This node has no validator's key; it casts no vote.")

    def sync(self) -> None:
        """Do nothing: there is nothing to remember."""

    def raise_floor(self, epoch: int, view: int) -> None:
        """Do nothing, as above."""


def follow(
    home: Home, node_id: PublicKey, application: Application, vote_after: Round | None
) -> Standing:
    """Open the journal of a node without a validator's key, kept under its node id.

    Raises JournalError, and RoundUnfit for whoever wants it to vote.
    """
    if vote_after is not None:
        raise RoundUnfit(
            "This node has no validator's key, so it has lost no votes. Leave --vote-after-loss "
            "out, or set `key_name`."
        )
    head, genesis_hash = application.head.header, application.genesis_hash
    if not home.journal_file.exists():
        create_journal(home.journal_file, node_id, genesis_hash)
    journal = Journal(home.journal_file, node_id, genesis_hash)
    if journal.round_highest < (head.epoch, head.view):  # the head came by a snapshot or a backup
        journal.raise_floor(head.epoch, head.view)
    if journal.is_lost:
        journal.mark(lost=False)
    return Standing(None, Keeper(journal, _NoVotes()), None)


def take_stock(
    home: Home, key: Signer, application: Application, vote_after: Round | None
) -> Standing:
    """Open guard and journal as far as they can be trusted beside the head of the chain.

    Raises GuardError, JournalError, VotesLost or RoundUnfit, and StorageCorrupt when the database
    has lost blocks that only this node had.
    """
    head, genesis_hash = application.head, application.genesis_hash
    members = application.epoch_info().validators
    is_alone = [member.public_key for member in members] == [key.public_key]
    at = _next_round(application)
    if vote_after is not None and is_alone and vote_after != at:
        # alone it can skip no view: each would need its Nullify, which is what it must not sign
        raise RoundUnfit(
            f"The only validator goes on right above round {at[0]}:{at[1]}, that of the head, and "
            f"not above {vote_after[0]}:{vote_after[1]}. Give that one, if nobody can have seen a "
            "later block; and nothing if guard and journal exists."
        )
    guard_is_missing = not home.guard_file.exists()
    journal_is_missing = not home.journal_file.exists()
    if guard_is_missing and (vote_after is not None or not is_alone):
        # first, for a crash between the two must not leave an empty guard that passes for whole
        _mark_lost(home, key, genesis_hash)
        create_guard(home.guard_file, key.public_key, genesis_hash)
    with ExitStack() as on_error:
        signer = GuardedSigner(key, home.guard_file, genesis_hash)
        on_error.callback(signer.close)
        is_first = head.header.height == 0 and signer.round_highest == (0, 0)
        is_lost = guard_is_missing or (journal_is_missing and not is_first)
        is_wanted = is_first or vote_after is not None or not is_alone
        if is_wanted and not home.journal_file.exists():
            create_journal(home.journal_file, key.public_key, genesis_hash)
        journal = Journal(home.journal_file, key.public_key, genesis_hash)
        on_error.callback(journal.close)
        reason = "guard or journal were missing" if is_lost else _older(journal, signer, key, head)
        if vote_after is not None:
            # alone it may know more, and goes on from the head all the same: the guard remembers
            known = at if is_alone else max(at, signer.round_passed, journal.round_highest)
            is_needed = bool(reason) or journal.is_lost
            _require_fit(journal, vote_after, known, is_needed=is_needed)
            _begin_above(journal, signer, head, vote_after)
        elif reason and is_alone:
            raise VotesLost(
                f"This node may have sent votes that it does not know: {reason}. Restore the "
                "newest copies of guard and journal; or, if nobody can have seen a block above "
                f"the head, start once with --vote-after-loss {at[0]}:{at[1]}."
            )
        elif reason:
            journal.raise_floor(head.header.epoch, head.header.view)
            journal.mark(lost=True)
            log.warning("follows without a vote", extra={"reason": reason})
        if is_alone:
            _require_whole(head, at, signer.parent_highest)
        on_error.pop_all()
    return Standing(signer, Keeper(journal, signer), vote_after)


def after_sync(standing: Standing, application: Application, vote_after: Round) -> Round | None:
    """Hold the operator's word against the head that a sync has brought, as at a start.

    Return it while it stands; else the node follows without a vote, for it may have voted above it.
    Once a vote went on it, it stands: the guard knows what was signed since.
    """
    at, signer = _next_round(application), standing.signer
    if vote_after >= at or (signer is not None and signer.votes(0)):
        return vote_after  # no vote that the guard knew before is left: its floor is above the word
    standing.keeper.journal.mark(lost=True)
    log.error(
        "follows without a vote",
        extra={
            "code": RoundUnfit.code,
            "reason": f"the network has come to round {at[0]}:{at[1]}, and --vote-after-loss is "
            f"only {vote_after[0]}:{vote_after[1]}; if it does not vote again by itself, start it "
            "once with a round above every vote that its key can have sent",
        },
    )
    return None


def _mark_lost(home: Home, key: Signer, genesis_hash: Hash) -> None:
    """Note in the journal, made where there is none, that votes were lost."""
    if not home.journal_file.exists():
        create_journal(home.journal_file, key.public_key, genesis_hash)
    journal = Journal(home.journal_file, key.public_key, genesis_hash)
    try:
        journal.mark(lost=True)
    finally:
        journal.close()


def _next_round(application: Application) -> Round:
    """Return the round on which the next block stands: view 0 of an epoch is its boundary."""
    header = application.head.header
    if header.height % application.epoch_blocks == 0:
        return header.height // application.epoch_blocks, 0
    return header.epoch, header.view


def _older(journal: Journal, signer: GuardedSigner, key: Signer, head: Head) -> str:
    """Return why guard or journal cannot be those of the last run, nothing if they can."""
    at = (head.header.epoch, head.header.view)
    if journal.round_highest < at:
        return f"the journal ends before round {at[0]}:{at[1]} of the head"
    final = head.finalization
    if final is None or signer.round_highest >= (final.subject.epoch, final.subject.view):
        return ""
    mine = key.sign(vote_digest(Tag.FINALIZE, signer.genesis_hash, final.subject))
    if any(vote.signature == mine for vote in final.votes):
        return f"the guard ends before round {at[0]}:{at[1]}, which this key finalized"
    return ""


def _require_fit(journal: Journal, vote_after: Round, known: Round, *, is_needed: bool) -> None:
    """Refuse the operator's word where nothing is lost, or where what is left contradicts it.

    `known` is the highest round that head, guard or journal tell of. Raises GuardExists or
    RoundUnfit.
    """
    if not is_needed:
        raise GuardExists(
            "The guard exists and so does the journal, and both know every vote: --vote-after-loss "
            "is for the one start after a loss. Leave it out."
        )
    if vote_after < known:
        # what was made anew for this start must not pass for whole in the next one
        journal.mark(lost=True)
        raise RoundUnfit(
            f"This node knows of round {known[0]}:{known[1]}, where it may have voted: it cannot "
            f"vote right above {vote_after[0]}:{vote_after[1]}. Give {known[0]}:{known[1]} at "
            "least, and a round above every vote that this key can have sent."
        )


def _begin_above(journal: Journal, signer: GuardedSigner, head: Head, vote_after: Round) -> None:
    """Let the operator's word stand for what is lost: nothing is signed up to that round."""
    signer.raise_floor(vote_after[0], vote_after[1] + 1)
    signer.sync()
    journal.raise_floor(head.header.epoch, head.header.view)
    journal.mark(lost=False)
    log.warning("votes again after loss", extra={"above": f"{vote_after[0]}:{vote_after[1]}"})


def _require_whole(head: Head, at: Round, parent_highest: Round) -> None:
    """Refuse a database that lost blocks which nobody else has (n = 1).

    A single validator votes on a block only once its parent is committed. Among others it may vote
    while its database lags, and catches up.
    """
    if parent_highest > at:
        raise StorageCorrupt(
            f"The database ends at height {head.header.height}, round {at[0]}:{at[1]}, but this "
            f"node has finalized a block on round {parent_highest[0]}:{parent_highest[1]}: blocks "
            "were lost. Restore the newest backup of the home's data; never one that is older than "
            "the last vote."
        )
