"""The journal: a step is there whole or not at all, and nothing at or below the floor stays."""

from pathlib import Path

import pytest

from consensus.messages import Block, Propose
from node.storage import journal as journal_module
from node.storage.journal import (
    Journal,
    JournalCorrupt,
    JournalExists,
    JournalFailed,
    JournalMissing,
    JournalOfAnother,
    create_journal,
)
from state.finality import (
    Header,
    Justify,
    Notarize,
    Nullified,
    Nullify,
    Proposal,
    Vote,
    justify_hash,
)
from state.types import ZERO_ADDRESS, ZERO_HASH

KEY, GENESIS = b"k" * 32, b"g" * 32
VOTE = Vote(0, b"s" * 64)
JUSTIFY = Justify(None, ())


def nullify(view: int) -> Nullify:
    return Nullify(Nullified(0, view), VOTE)


def block(view: int, body: bytes = b"body") -> Block:
    roots = [ZERO_HASH] * 2 + [justify_hash(JUSTIFY)] + [ZERO_HASH] * 5
    return Block(Header(view, 0, view, 0, ZERO_HASH, view, ZERO_ADDRESS, *roots), JUSTIFY, body)


def proposal(of: Block, view: int) -> Proposal:
    return Proposal(0, view, 0, of.header.id, of.header.justify_hash)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_journal(tmp_path / "journal", KEY, GENESIS)
    return tmp_path / "journal"


def opened(path: Path) -> Journal:
    return Journal(path, KEY, GENESIS)


def test_what_was_synced_is_there_again_in_its_order(path: Path) -> None:
    journal = opened(path)
    one, other = block(1), block(2, b"other")
    journal.append((nullify(1), nullify(2)))
    journal.store_block(one.header.id, one)
    journal.sync()
    journal.store_link(proposal(other, 3), Justify(None, ()))
    journal.append((nullify(3),))
    assert not journal.is_synced
    journal.sync()
    journal.append((nullify(4),))
    journal.close()
    journal = opened(path)
    assert journal.records == (nullify(1), nullify(2), nullify(3)), "4 was not synced"
    assert journal.blocks == (one,)
    assert journal.links == (), "the stored block holds the same justification"
    assert journal.round_highest == (0, 3)
    journal.close()


def test_an_own_proposal_holds_its_block_and_its_link(path: Path) -> None:
    journal = opened(path)
    mine = block(1)
    journal.append((Propose(proposal(mine, 1), VOTE, mine.header, mine.justify, mine.body),))
    journal.sync()
    size = journal.size_bytes
    journal.store_block(mine.header.id, mine)
    journal.store_link(proposal(mine, 1), mine.justify)
    journal.sync()
    assert journal.size_bytes == size
    again = Propose(proposal(block(2), 5), VOTE, block(2).header, JUSTIFY, b"")
    journal.append((again,))
    journal.store_block(block(2).header.id, block(2))
    assert journal.blocks == (block(2),), "a re-proposal carries no body"
    journal.close()


def test_the_floor_forgets_and_never_falls(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_BYTES", 2_000)
    journal = opened(path)
    for view in range(1, 21):
        journal.append((nullify(view),))
        journal.store_block(block(view).header.id, block(view))
        journal.sync()
    full = path.stat().st_size
    journal.raise_floor(0, 18)
    journal.raise_floor(0, 3)
    assert path.stat().st_size < full // 4
    for _ in range(2):
        assert journal.records == (nullify(19), nullify(20))
        assert journal.blocks == (block(19), block(20))
        journal.close()
        journal = opened(path)
    journal.raise_floor(1, 0)
    assert journal.round_highest == (1, 0)
    journal.append((Notarize(Proposal(1, 1, 0, ZERO_HASH, ZERO_HASH), VOTE),))
    journal.sync()
    journal.close()
    journal = opened(path)
    assert (journal.round_highest, journal.blocks) == ((1, 1), ())
    journal.close()


def test_a_floor_may_be_told_before_any_later_step(path: Path) -> None:
    """Blocks that others made final are kept only once the journal says that it is beyond them."""
    journal = opened(path)
    journal.append([nullify(3)])
    journal.sync()
    journal.raise_floor(2, 7)
    journal.tell_floor()
    size = journal.size_bytes
    journal.tell_floor()
    assert journal.size_bytes == size, "it is told once"
    journal.close()
    again = opened(path)
    assert again.round_highest == (2, 7) and not again.records
    again.close()


def test_a_step_that_a_crash_cuts_anywhere_is_gone_whole(path: Path) -> None:
    journal = opened(path)
    journal.append((nullify(1),))
    journal.sync()
    before = path.stat().st_size
    journal.append((nullify(2), nullify(3)))
    journal.store_block(block(3).header.id, block(3))
    journal.sync()
    journal.close()
    whole = path.read_bytes()
    torn = [whole[:cut] for cut in range(before, len(whole))]
    zeroed = [whole[:cut] + bytes(len(whole) - cut) for cut in range(before + 8, len(whole) - 16)]
    for left in (*torn, *zeroed):
        path.write_bytes(left)
        journal = opened(path)
        assert (journal.records, journal.blocks) == ((nullify(1),), ())
        journal.append((nullify(2), nullify(3)))
        journal.store_block(block(3).header.id, block(3))
        journal.sync()
        journal.close()
        assert path.read_bytes() == whole


def grown(path: Path, *sizes: int) -> list[int]:
    """Append steps with bodies of these sizes; return where each begins, and the end."""
    journal, starts = opened(path), [path.stat().st_size]
    for view, size in enumerate(sizes, 1):
        one = block(view, bytes([view]) * size)
        journal.store_block(one.header.id, one)
        journal.sync()
        starts.append(path.stat().st_size)
    journal.close()
    return starts


def emptied(data: bytes, start: int, stop: int) -> bytes:
    return data[:start] + bytes(stop - start) + data[stop:]


@pytest.mark.parametrize("page", [512, 4_096])
def test_a_step_whose_first_page_never_reached_the_disk_is_gone(path: Path, page: int) -> None:
    """Its later pages may have: what is synced is synced as a whole, in no order."""
    _, start, end = grown(path, 700, 20_000)
    whole = path.read_bytes()
    boundary = (start // page + 1) * page
    assert boundary < end
    path.write_bytes(emptied(whole, start, boundary))
    journal = opened(path)
    assert [one.header.view for one in journal.blocks] == [1]
    again = block(2, bytes([2]) * 20_000)
    journal.store_block(again.header.id, again)
    journal.sync()
    journal.close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("inside", range(1, 8))
def test_a_head_on_the_edge_of_two_sectors_may_lose_either(path: Path, inside: int) -> None:
    start = 2_048 - inside
    _, length = grown(path, 1_000)
    path.unlink()
    create_journal(path, KEY, GENESIS)
    assert grown(path, 1_000 + start - length, 20_000)[1] == start
    whole = path.read_bytes()
    for left in (emptied(whole, start, 2_048), emptied(whole, 2_048, 2_560)):
        path.write_bytes(left)
        journal = opened(path)
        kept = [1] if left != whole else [1, 2]  # a length begins with zeros
        assert [one.header.view for one in journal.blocks] == kept
        journal.close()
        assert path.stat().st_size == (start if left != whole else len(whole))


def test_an_empty_head_before_a_later_step_is_damage(path: Path) -> None:
    """What stands behind it was synced after it, so this step was synced as well."""
    _, start, _, _ = grown(path, 700, 5_000, 600)
    whole = path.read_bytes()
    for stop in ((start // 512 + 1) * 512, (start // 4_096 + 1) * 4_096):
        path.write_bytes(emptied(whole, start, stop))
        with pytest.raises(JournalCorrupt, match=f"damaged at byte {start}"):
            opened(path)
    path.write_bytes(emptied(whole, start, start + 8))
    with pytest.raises(JournalCorrupt, match=f"damaged at byte {start}"):
        opened(path)


def test_a_head_that_is_changed_and_not_empty_is_damage(path: Path) -> None:
    _, start, _ = grown(path, 700, 5_000)
    whole = path.read_bytes()
    path.write_bytes(emptied(whole, start, start + 8))
    with pytest.raises(JournalCorrupt, match=f"damaged at byte {start}"):
        opened(path)


def test_damage_before_the_last_step_is_named(path: Path) -> None:
    journal = opened(path)
    for view in (1, 2):
        journal.append((nullify(view),))
        journal.sync()
        if view == 1:
            end = path.stat().st_size
    journal.close()
    whole = path.read_bytes()
    for at in range(end):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(JournalCorrupt, match="damaged at byte"):
            opened(path)
    path.write_bytes(b"")
    with pytest.raises(JournalCorrupt):
        opened(path)


def test_journals_of_others_and_missing_ones(path: Path) -> None:
    with pytest.raises(JournalExists):
        create_journal(path, KEY, GENESIS)
    for key, genesis in ((b"o" * 32, GENESIS), (KEY, b"o" * 32)):
        with pytest.raises(JournalOfAnother, match="home of its own"):
            Journal(path, key, genesis)
    path.unlink()
    with pytest.raises(JournalMissing, match="vote-after-loss"):
        opened(path)


def test_a_lost_vote_is_remembered_until_it_is_regained(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_BYTES", 1)
    for lost in (True, False, True):
        journal = opened(path)
        journal.mark(lost=lost)
        journal.close()
        journal = opened(path)
        assert journal.is_lost is lost
        journal.append((nullify(1),))
        journal.sync()
        journal.raise_floor(*journal.round_highest)
        journal.close()
        journal = opened(path)
        assert journal.is_lost is lost, "also after the file was written anew"
        journal.close()


def test_nothing_is_written_after_the_disk_failed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(path)

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    journal.append((nullify(1),))
    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", refuse)
        with pytest.raises(JournalFailed, match="No space left"):
            journal.sync()
    with pytest.raises(JournalFailed, match="restart"):
        journal.sync()
    journal.close()
