"""What a node must not forget: its journal and its guard, and the order in which they are synced.

One step of the engine fills both in memory. Then the journal is synced, so that no vote is
remembered whose block is not; then the guard, so that no vote is used or told that it does not
know; and only then are blocks made final and messages sent (settled points 1 and 11). So a block
waits for the disk three times: here for each file, and for the database.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from consensus.inputs import VoteRefused, VoteSigned
from consensus.journal import Record
from consensus.messages import Block, Propose
from node.guard_file import GuardRefused
from node.storage.journal import Journal
from node.storage.kv import Written, untimed
from state.crypto import Tag
from state.finality import (
    Finalize,
    Justify,
    Notarize,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
    kind_of,
)
from state.types import Hash, Signature

FLOOR_VIEWS = 100
"""The guard's floor follows finality in steps of so many views; each step is a record."""

log = logging.getLogger("sahara.keeper")


class VoteSigner(Protocol):
    """The guarded signer, as the keeper sees it."""

    def votes(self, validator: int) -> tuple[SignedVote, ...]:
        """Return the votes that the guard remembers."""
        ...

    def sign_vote(self, kind: Tag, subject: Proposal | Nullified, *, sync: bool) -> Signature:
        """Return a signature that the guard remembers, or raise GuardRefused."""
        ...

    def sync(self) -> None:
        """Make the guard's memory durable."""
        ...

    def raise_floor(self, epoch: int, view: int) -> None:
        """Sign nothing below this round any more, so that the guard stays small."""
        ...


class Keeper:
    """Journal and guard of one node."""

    def __init__(self, journal: Journal, signer: VoteSigner) -> None:
        self._journal = journal
        self._signer = signer
        self._floor = (0, 0)
        self._has_signed = False
        self.written: Written = untimed
        """Times what waits for the disk."""

    @property
    def journal(self) -> Journal:
        """What the node remembers of its own doing."""
        return self._journal

    def guarded(self) -> tuple[SignedVote, ...]:
        """Return the votes that the guard remembers, for the start; teach it those it lacks.

        A crash between the two syncs leaves votes in the journal that the guard does not know.
        Nobody has heard of them yet; they are told only once it does.
        """
        for record in self._journal.records:
            vote: SignedVote
            match record:
                case Propose(proposal, own):
                    vote = Notarize(proposal, own)
                case Notarize() | Nullify() | Finalize():
                    vote = record
                case _:
                    continue
            try:
                self._signer.sign_vote(kind_of(vote), vote.subject, sync=False)
            except GuardRefused as error:
                log.warning("vote below floor", extra={"reason": error.sentence})
            self._has_signed = True
        return self._signer.votes(0)

    def sign(
        self, now_ms: int, kind: Tag, subject: Proposal | Nullified
    ) -> VoteSigned | VoteRefused:
        """Sign a vote, which may be told after the next `sync`; what is refused stays refused."""
        try:
            signature = self._signer.sign_vote(kind, subject, sync=False)
        except GuardRefused:
            return VoteRefused(now_ms, kind, subject)
        self._has_signed = True
        return VoteSigned(now_ms, kind, subject, signature)

    def keep(self, records: Sequence[Record]) -> None:
        """Add records to the journal."""
        self._journal.append(records)

    def keep_block(self, block_id: Hash, block: Block) -> None:
        """Add a block that is not final yet to the journal."""
        self._journal.store_block(block_id, block)

    def keep_link(self, proposal: Proposal, justify: Justify) -> None:
        """Add a certified proposal's justification to the journal."""
        self._journal.store_link(proposal, justify)

    def sync(self) -> None:
        """Make everything durable: the journal first, then the guard."""
        if not self._journal.is_synced:
            with self.written("journal", sync=True):
                self._journal.sync()
        if self._has_signed:
            with self.written("guard", sync=True):
                self._signer.sync()
            self._has_signed = False

    def raise_floor(self, epoch: int, view: int) -> None:
        """Forget rounds up to this one; whatever they made final is durable by now.

        The guard forgets less than the journal, never more (consensus 2.5).
        """
        self._journal.raise_floor(epoch, view)
        if epoch > self._floor[0] or view >= self._floor[1] + FLOOR_VIEWS:
            self._floor = (epoch, view)
            self._signer.raise_floor(epoch, view + 1)

    def regain(self, epoch: int, view: int) -> None:
        """Note, durably, that nothing is lost any more of what lies above this round.

        First the guard, which alone would know of it beside an older copy of the database.
        """
        self._signer.raise_floor(epoch, view + 1)
        self._signer.sync()
        self._journal.mark(lost=False)

    def pass_over(self, epoch: int, view: int) -> None:
        """Forget rounds up to this one, durably, before they become final without this journal.

        Others finalized them. Else a journal that ends before the head would look like an old one,
        and its node like one that has lost votes; the guard still knows every vote.
        """
        self._journal.raise_floor(epoch, view)
        self._journal.tell_floor()

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()
