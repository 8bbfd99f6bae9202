"""Guard, journal and database held against each other: who may vote, and who may not."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from consensus.inputs import VoteRefused
from node.application import Application
from node.errors import StorageCorrupt
from node.home import Home
from node.signer import GuardedSigner, GuardExists, GuardMissing, GuardRefused, create_guard
from node.standing import RoundUnfit, VotesLost, after_sync, follow, take_stock
from node.storage.journal import JournalMissing
from node.storage.kv import MemoryStore
from state.codec import replace
from state.crypto import Tag
from state.finality import Header, Notarize, Nullified, Nullify, Proposal, Vote
from state.genesis import GenesisValidator


class Validator:
    """A validator of some network, its home, and what it did."""

    def __init__(self, chain: Any, path: Path) -> None:
        self.chain = chain
        self.key = chain.accounts[0]
        self.home = Home(path)
        path.mkdir()
        create_guard(self.home.guard_file, self.key.public_key, chain.genesis.hash)
        self.rows = MemoryStore()

    def stock(self, vote_after: tuple[int, int] | None = None) -> Any:
        return take_stock(self.home, self.key, self.open(), vote_after)

    def open(self) -> Application:
        opened: Application = self.chain.open(self.rows)
        return opened

    def make(self, blocks: int) -> None:
        """Make blocks as the host does: votes, journal, database."""
        application = self.open()
        standing = self.stock()
        for _ in range(blocks):
            header: Header = self.chain.step(application).header
            subject = self.chain.finalize(header).subject
            signature = standing.signer.sign_vote(Tag.NOTARIZE, subject)
            standing.signer.sign_vote(Tag.FINALIZE, subject)
            standing.keeper.keep((Notarize(subject, Vote(0, signature)),))
            standing.keeper.keep((self.chain.finalize(header),))
            standing.keeper.sync()
        standing.close()


@pytest.fixture
def alone(local_chain: Any, tmp_path: Path) -> Validator:
    return Validator(local_chain, tmp_path / "home")


@pytest.fixture
def among(local_chain: Any, tmp_path: Path) -> Validator:
    """A validator that is not alone; the other one's votes are not needed here."""
    members = [
        GenesisValidator(account.public_key, account.address, 10**9)
        for account in local_chain.accounts[:2]
    ]
    local_chain.genesis = replace(local_chain.genesis, validators=tuple(members))
    return Validator(local_chain, tmp_path / "home")


def test_a_new_home_and_one_that_ran(alone: Validator) -> None:
    alone.make(0)
    alone.make(3)
    standing = alone.stock()
    assert standing.vote_after is None
    assert not standing.keeper.journal.is_lost
    assert len(standing.keeper.guarded()) == 6
    standing.close()


def test_the_guard_learns_what_only_the_journal_knows(alone: Validator) -> None:
    """The power failed between the two syncs: nobody has heard of the vote, but it was signed."""
    alone.make(1)
    standing = alone.stock()
    subject = Proposal(0, 2, 1, b"b" * 32, bytes(32))
    signature = standing.signer.sign_vote(Tag.NOTARIZE, subject, sync=False)
    standing.keeper.keep((Notarize(subject, Vote(0, signature)),))
    standing.keeper.journal.sync()
    standing.close()
    guard = GuardedSigner(alone.key, alone.home.guard_file, alone.chain.genesis.hash)
    assert guard.round_highest == (0, 1)
    guard.close()
    standing = alone.stock()
    assert Notarize(subject, Vote(0, signature)) in standing.keeper.guarded()
    with pytest.raises(GuardRefused):
        standing.signer.sign_vote(Tag.NOTARIZE, Proposal(0, 2, 1, b"c" * 32, bytes(32)))
    standing.keeper.sync()
    standing.close()
    guard = GuardedSigner(alone.key, alone.home.guard_file, alone.chain.genesis.hash)
    assert guard.round_highest == (0, 2)
    guard.close()


@pytest.mark.parametrize("grew", [False, True])
def test_a_guard_that_a_power_cut_tore_at_a_pages_edge_learns_its_vote_again(
    alone: Validator, grew: bool
) -> None:
    """The file ends at the edge, or grew before the page beyond it reached the disk."""
    standing = alone.stock()
    path, view, edge, size = alone.home.guard_file, 0, 4_096, 0
    while size <= edge:
        view += 1
        subject = Proposal(0, view, view - 1, b"b" * 32, bytes(32))
        signature = standing.signer.sign_vote(Tag.NOTARIZE, subject)
        standing.keeper.keep((Notarize(subject, Vote(0, signature)),))
        standing.keeper.sync()
        size = path.stat().st_size
    standing.close()
    torn = path.read_bytes()[:edge]
    path.write_bytes(torn + bytes(size - edge) if grew else torn)
    standing = alone.stock()
    assert standing.signer.round_highest == (0, view - 1)
    assert Notarize(subject, Vote(0, signature)) in standing.keeper.guarded()
    with pytest.raises(GuardRefused):
        standing.signer.sign_vote(Tag.NOTARIZE, replace(subject, block_id=b"c" * 32))
    standing.close()


def test_what_is_missing_is_named_and_the_operator_decides(alone: Validator) -> None:
    alone.make(3)
    for file, error in (
        (alone.home.journal_file, JournalMissing),
        (alone.home.guard_file, GuardMissing),
    ):
        file.unlink()
        with pytest.raises(error, match="vote-after-loss"):
            alone.stock()
        with pytest.raises(RoundUnfit, match="0:3"):
            alone.stock((0, 9))
        standing = alone.stock((0, 3))
        assert standing.vote_after == (0, 3)
        with pytest.raises(GuardRefused, match="below the floor"):
            standing.signer.sign_vote(Tag.NULLIFY, Nullified(0, 3))
        standing.close()
        with pytest.raises(GuardExists):
            alone.stock((0, 3))


def test_what_is_older_than_the_chain_is_noticed(alone: Validator) -> None:
    alone.make(2)
    old = {path: path.read_bytes() for path in (alone.home.journal_file, alone.home.guard_file)}
    alone.make(2)
    for path, before in old.items():
        now = path.read_bytes()
        path.write_bytes(before)
        with pytest.raises(VotesLost, match="ends before round 0:4"):
            alone.stock()
        path.write_bytes(now)
    alone.stock().close()


@pytest.mark.parametrize("lost", ["guard_file", "journal_file"])
def test_among_others_no_round_below_what_is_known_is_taken(among: Validator, lost: str) -> None:
    among.make(3)
    getattr(among.home, lost).unlink()
    for below in ((0, 0), (0, 2)):
        with pytest.raises(RoundUnfit, match="Give 0:3 at least"):
            among.stock(below)
    standing = among.stock()
    assert standing.keeper.journal.is_lost, "what was refused has let nothing through"
    standing.close()
    standing = among.stock((0, 3))
    assert not standing.keeper.journal.is_lost
    with pytest.raises(GuardRefused, match="below the floor"):
        standing.signer.sign_vote(Tag.NULLIFY, Nullified(0, 3))
    standing.signer.sign_vote(Tag.NULLIFY, Nullified(0, 4))
    standing.close()


def test_what_a_sync_brings_refutes_a_word_that_is_too_low(among: Validator) -> None:
    """In a wiped home nothing contradicts it at the start; what the network has does later."""
    among.home.guard_file.unlink()
    standing = among.stock((0, 2))
    journal, application = standing.keeper.journal, among.open()
    for _ in range(3):
        among.chain.step(application)
    assert after_sync(standing, application, (0, 3)) == (0, 3)
    assert not journal.is_lost
    assert after_sync(standing, application, (0, 2)) is None
    assert journal.is_lost
    standing.close()
    standing = among.stock()
    assert standing.keeper.journal.is_lost, "durably"
    standing.close()


def test_a_word_on_which_it_has_voted_stands(among: Validator) -> None:
    """Blocks alone say nothing of it, from whom ever they come: only a vote does."""
    among.home.guard_file.unlink()
    standing = among.stock((0, 2))
    application = among.open()
    for _ in range(4):
        among.chain.step(application)
    standing.signer.sign_vote(Tag.NULLIFY, Nullified(0, 3))
    assert after_sync(standing, application, (0, 2)) == (0, 2)
    assert not standing.keeper.journal.is_lost
    standing.close()


def test_what_is_regained_leaves_a_floor_beside_an_older_database(among: Validator) -> None:
    among.make(3)
    rows = deepcopy(among.rows)
    among.make(3)
    among.home.guard_file.unlink()
    among.home.journal_file.unlink()
    standing = among.stock()
    assert standing.keeper.journal.is_lost
    standing.keeper.regain(0, 8)
    assert not standing.keeper.journal.is_lost
    standing.signer.sign_vote(Tag.NULLIFY, Nullified(0, 9))
    standing.close()
    among.rows = rows
    standing = among.stock()
    with pytest.raises(GuardRefused):
        standing.signer.sign_vote(Tag.NULLIFY, Nullified(0, 4))
    standing.close()


@pytest.mark.parametrize("lost", ["guard_file", "journal_file"])
@pytest.mark.parametrize("blocks", [0, 2])
def test_what_is_left_tells_of_rounds_above_the_head(
    among: Validator, lost: str, blocks: int
) -> None:
    """Guard and journal know of a vote; the one that is left still does."""
    among.make(blocks)
    standing = among.stock()
    subject = Nullified(0, 5)
    signature = standing.signer.sign_vote(Tag.NULLIFY, subject)
    standing.keeper.keep((Nullify(subject, Vote(0, signature)),))
    standing.keeper.sync()
    standing.close()
    getattr(among.home, lost).unlink()
    with pytest.raises(RoundUnfit, match="Give 0:5 at least"):
        among.stock((0, 4))
    standing = among.stock()
    assert standing.keeper.journal.is_lost, "a fresh file does not pass for the lost one"
    standing.close()
    among.stock((0, 5)).close()


@pytest.mark.parametrize("blocks", [0, 2])
@pytest.mark.parametrize("both", [False, True])
def test_a_crash_right_after_a_guard_was_made_anew_does_not_make_it_whole(
    among: Validator, monkeypatch: pytest.MonkeyPatch, blocks: int, both: bool
) -> None:
    class Crash(Exception):
        pass

    def made_and_crashed(*given: Any) -> None:
        create_guard(*given)
        raise Crash

    among.make(blocks)
    among.home.guard_file.unlink()
    if both:
        among.home.journal_file.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("node.standing.create_guard", made_and_crashed)
        with pytest.raises(Crash):
            among.stock()
    standing = among.stock()
    assert standing.keeper.journal.is_lost
    standing.close()


def test_an_operators_word_binds_the_next(among: Validator) -> None:
    among.make(2)
    among.home.journal_file.unlink()
    among.stock((0, 9)).close()
    among.home.journal_file.unlink()
    with pytest.raises(RoundUnfit, match="Give 0:9 at least"):
        among.stock((0, 8))
    among.stock((0, 9)).close()
    with pytest.raises(GuardExists):
        among.stock((0, 0))


def test_without_a_validators_key_nothing_is_lost_and_nothing_guarded(
    among: Validator, caplog: pytest.LogCaptureFixture
) -> None:
    """Its database may come from a snapshot or a backup, beside no journal or an old one."""
    among.make(3)
    node_id = among.chain.accounts[2].public_key
    home = Home(among.home.path.with_name("follower"))
    home.path.mkdir()
    for _ in range(2):
        standing = follow(home, node_id, among.open(), None)
        assert not standing.keeper.journal.is_lost
        assert standing.keeper.guarded() == ()
        subject = Nullified(0, 4)
        assert isinstance(standing.keeper.sign(0, Tag.NULLIFY, subject), VoteRefused)
        standing.keeper.raise_floor(0, 4)
        standing.keeper.sync()
        standing.keeper.journal.mark(lost=True)  # as one was marked that passed for a voter's
        standing.close()
    assert {path.name for path in home.path.iterdir()} == {"journal"}
    assert not caplog.records
    with pytest.raises(RoundUnfit, match="no validator's key"):
        follow(home, node_id, among.open(), (0, 3))


def test_a_database_that_lost_blocks_is_refused(alone: Validator) -> None:
    alone.make(2)
    before = dict(alone.rows.scan(b"", None))
    alone.make(2)
    alone.rows = MemoryStore(before.items())
    with pytest.raises(StorageCorrupt, match="blocks were lost"):
        alone.stock()
