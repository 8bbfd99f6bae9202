"""The guard: nothing slashable is signed, and nothing that was signed is forgotten."""

import multiprocessing
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import signer as signer_module
from node.client import Account
from node.signer import (
    GuardCorrupt,
    GuardedSigner,
    GuardExists,
    GuardFailed,
    GuardLocked,
    GuardMissing,
    GuardOfAnother,
    GuardRefused,
    create_guard,
)
from state.crypto import Tag, verify
from state.finality import Nullified, Proposal, vote_digest

KEY = Account.from_seed(bytes(range(32)))
GENESIS = b"g" * 32
KINDS = (Tag.NOTARIZE, Tag.NULLIFY, Tag.FINALIZE)


def subject(kind: Tag, view: int, block: int = 0, epoch: int = 0) -> Proposal | Nullified:
    if kind is Tag.NULLIFY:
        return Nullified(epoch, view)
    return Proposal(epoch, view, view - 1, bytes([block]) * 32, bytes(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_guard(tmp_path / "guard", KEY.public_key, GENESIS)
    return tmp_path / "guard"


def reopened(guard: GuardedSigner, path: Path) -> GuardedSigner:
    guard.close()
    return GuardedSigner(KEY, path, GENESIS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_vote_gets_the_same_signature_also_after_a_restart(path: Path, kind: Tag) -> None:
    guard = GuardedSigner(KEY, path, GENESIS)
    vote = subject(kind, 7)
    signature = guard.sign_vote(kind, vote)
    assert verify(KEY.public_key, vote_digest(kind, GENESIS, vote), signature)
    size = path.stat().st_size
    assert guard.sign_vote(kind, vote) == signature
    guard = reopened(guard, path)
    assert guard.sign_vote(kind, vote) == signature
    assert path.stat().st_size == size
    assert guard.round_highest[1] == 7
    assert guard.parent_highest == (0, 6 if kind is Tag.FINALIZE else 0)
    guard.close()


ORDERED = [
    (first, second, same)
    for first, second, same in product(KINDS, KINDS, (True, False))
    if not (first is second and (same or first is Tag.NULLIFY))
]
ALLOWED = {
    (Tag.NOTARIZE, Tag.NULLIFY, True),
    (Tag.NOTARIZE, Tag.NULLIFY, False),
    (Tag.NOTARIZE, Tag.FINALIZE, True),
}


@pytest.mark.parametrize(("first", "second", "same"), ORDERED)
def test_every_pair_in_one_view(path: Path, first: Tag, second: Tag, same: bool) -> None:
    """Two votes in one view: all pairs of consensus 2.10 and of R3, R6, live and after restart."""
    guard = GuardedSigner(KEY, path, GENESIS)
    guard.sign_vote(first, subject(first, 3))
    guard = reopened(guard, path)
    wanted = subject(second, 3, 0 if same else 1)
    if (first, second, same) in ALLOWED:
        guard.sign_vote(second, wanted)
    else:
        size = path.stat().st_size
        with pytest.raises(GuardRefused, match="stay with that vote"):
            guard.sign_vote(second, wanted)
        assert path.stat().st_size == size
    guard.sign_vote(second, subject(second, 4, 1))
    guard.sign_vote(second, subject(second, 3, 1, epoch=1))
    guard.close()


def test_finalize_after_nullify_of_a_later_view(path: Path) -> None:
    """Slow execution: a guard that only goes up would refuse this (consensus 2.5)."""
    guard = GuardedSigner(KEY, path, GENESIS)
    guard.sign_vote(Tag.NULLIFY, subject(Tag.NULLIFY, 9))
    guard.sign_vote(Tag.FINALIZE, subject(Tag.FINALIZE, 8))
    assert guard.round_highest[1] == 9
    guard.close()


def test_the_floor_holds_and_never_falls(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer_module, "COMPACT_BYTES", 1_000)
    guard = GuardedSigner(KEY, path, GENESIS)
    signatures = {}
    for view in range(1, 40):
        for kind in (Tag.NOTARIZE, Tag.FINALIZE):
            signatures[view, kind] = guard.sign_vote(kind, subject(kind, view))
    full = path.stat().st_size
    guard.raise_floor(0, 38)
    guard.raise_floor(0, 5)
    assert path.stat().st_size < full // 4
    for _ in range(2):
        assert guard.floor == (0, 38)
        assert guard.round_passed == (0, 39)
        assert guard.round_highest == (0, 39)
        with pytest.raises(GuardRefused, match="below the floor"):
            guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, 37))
        for view, kind in product((38, 39), (Tag.NOTARIZE, Tag.FINALIZE)):
            assert guard.sign_vote(kind, subject(kind, view)) == signatures[view, kind]
        guard = reopened(guard, path)
    guard.raise_floor(0, 50)
    assert (guard.round_highest, guard.round_passed) == ((0, 50), (0, 49))
    guard.raise_floor(1, 0)
    assert guard.round_highest == guard.round_passed == (1, 0)
    with pytest.raises(GuardRefused):
        guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, 100))
    guard.close()


def test_what_a_crash_leaves_at_the_end_is_dropped(path: Path) -> None:
    """At every byte of the last record: cut off there, or grown to its size with zeros."""
    guard = GuardedSigner(KEY, path, GENESIS)
    kept = guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, 1))
    before = path.stat().st_size
    guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, 2))
    guard.close()
    whole = path.read_bytes()
    tails = [whole[:cut] for cut in range(before, len(whole))]
    for torn in (*tails, whole[:before] + bytes(len(whole) - before), whole + bytes(5)):
        path.write_bytes(torn)
        guard = GuardedSigner(KEY, path, GENESIS)
        assert guard.round_highest == (0, 2 if len(torn) > len(whole) else 1)
        assert guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, 1)) == kept
        guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, 2))
        guard.close()
        assert path.read_bytes() == whole


def test_every_other_damage_is_named(path: Path) -> None:
    guard = GuardedSigner(KEY, path, GENESIS)
    for view in (1, 2):
        guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, view))
    guard.close()
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(GuardCorrupt, match="damaged at byte"):
            GuardedSigner(KEY, path, GENESIS)
    path.write_bytes(b"")
    with pytest.raises(GuardCorrupt, match="not of version"):
        GuardedSigner(KEY, path, GENESIS)


def test_a_missing_record_is_noticed(path: Path) -> None:
    """Each record stands on the one before it."""
    guard = GuardedSigner(KEY, path, GENESIS)
    sizes = [path.stat().st_size]
    for view in (1, 2):
        guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, view))
        sizes.append(path.stat().st_size)
    guard.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: sizes[0]] + whole[sizes[1] :])
    with pytest.raises(GuardCorrupt):
        GuardedSigner(KEY, path, GENESIS)


def _try(path: Path, answers: "multiprocessing.Queue[str]") -> None:
    try:
        GuardedSigner(KEY, path, GENESIS).close()
    except GuardLocked as error:
        answers.put(error.code)
    else:
        answers.put("opened")


def test_two_processes_cannot_share_a_guard(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = context.Queue()
    guard = GuardedSigner(KEY, path, GENESIS)
    with pytest.raises(GuardLocked):
        GuardedSigner(KEY, path, GENESIS)
    for expected in ("guard.locked", "opened"):
        other = context.Process(target=_try, args=(path, answers))
        other.start()
        assert answers.get(timeout=60) == expected
        other.join(30)
        assert other.exitcode == 0
        guard.close()


def test_guards_of_others_and_missing_ones(path: Path) -> None:
    with pytest.raises(GuardOfAnother, match="guards the key"):
        GuardedSigner(Account.from_seed(bytes(32)), path, GENESIS)
    with pytest.raises(GuardOfAnother, match="network"):
        GuardedSigner(KEY, path, b"h" * 32)
    guard = GuardedSigner(KEY, path, GENESIS)
    with pytest.raises(GuardLocked):
        create_guard(path, KEY.public_key, GENESIS)
    guard.close()
    with pytest.raises(GuardExists):
        create_guard(path, KEY.public_key, GENESIS)
    path.unlink()
    with pytest.raises(GuardMissing, match="vote-after-loss"):
        GuardedSigner(KEY, path, GENESIS)
    create_guard(path, KEY.public_key, GENESIS, floor=(0, 51))
    guard = GuardedSigner(KEY, path, GENESIS)
    assert guard.round_highest[1] == 51
    guard.close()


def test_nothing_is_signed_after_the_disk_failed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = GuardedSigner(KEY, path, GENESIS)

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", refuse)
        with pytest.raises(GuardFailed, match="No space left"):
            guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, 1))
    with pytest.raises(GuardFailed, match="restart"):
        guard.sign_vote(Tag.NOTARIZE, subject(Tag.NOTARIZE, 1))
    guard.close()


class Model:
    """The rule told a second way: the set of votes signed may hold no slashable pair."""

    def __init__(self) -> None:
        self.signed: list[tuple[Tag, Proposal | Nullified]] = []

    def allows(self, kind: Tag, wanted: Proposal | Nullified) -> bool:
        here = [
            (other, held)
            for other, held in self.signed
            if (held.epoch, held.view) == (wanted.epoch, wanted.view)
        ]
        return all(self._fit(*earlier, kind, wanted) for earlier in here)

    def _fit(
        self, first: Tag, held: Proposal | Nullified, then: Tag, wanted: Proposal | Nullified
    ) -> bool:
        if first is then or (first, then) == (Tag.NOTARIZE, Tag.FINALIZE):
            return held == wanted
        return (first, then) == (Tag.NOTARIZE, Tag.NULLIFY)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(1, 3), st.integers(0, 1), st.booleans()),
        max_size=20,
    )
)
def test_any_sequence_with_restarts_agrees_with_the_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Tag, int, int, bool]]
) -> None:
    path = tmp_path_factory.mktemp("guard") / "guard"
    create_guard(path, KEY.public_key, GENESIS)
    guard, model = GuardedSigner(KEY, path, GENESIS), Model()
    for kind, view, block, restart in steps:
        wanted = subject(kind, view, block)
        if (kind, wanted) in model.signed or model.allows(kind, wanted):
            guard.sign_vote(kind, wanted)
            model.signed.append((kind, wanted))
        else:
            with pytest.raises(GuardRefused):
                guard.sign_vote(kind, wanted)
        if restart:
            guard = reopened(guard, path)
    guard.close()
