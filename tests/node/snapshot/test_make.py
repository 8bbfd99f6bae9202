"""Making snapshots and steps within their bounds, however long the chain went without finality."""

import os
from pathlib import Path
from typing import Any, cast

import pytest

from node.snapshot import folder, form, make
from node.snapshot.folder import MANIFEST, SnapshotFolder, remove_leftovers, snapshots_in
from node.snapshot.wire import StepsAnswer
from node.storage.finality_store import FinalityView
from p2p.topics import LIMITS, Topic
from state.codec import encode, replace
from state.finality import Justify, Nullification, Nullified, Proposal, Vote
from tests.node.sync.chains import EPOCH_BLOCKS, Chain


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain().grow(3 * EPOCH_BLOCKS + 3)


def nullified(views: int) -> Justify:
    """A justification over so many views that a hundred validators gave up."""
    votes = tuple([Vote(at, bytes(64)) for at in range(67)])
    gone = [Nullification(Nullified(1, view + 10**5), votes) for view in range(views)]
    return Justify(None, tuple(gone))


class Struggled:
    """A finality view of one epoch whose boundary was proposed again and again."""

    def __init__(self, chain: Chain, links: list[tuple[Proposal, Justify]]) -> None:
        self._finality = chain.store.finality
        self._links = links
        self.members = self._finality.members
        self.justify = self._finality.justify

    def boundary(self, epoch: int) -> Any:
        head = self._finality.boundary(epoch)
        if head is None or epoch != 2:
            return head
        final = replace(head.finalization, subject=self._links[-1][0])
        return replace(head, finalization=final)

    def links(self, epoch: int, view: int, limit: int) -> list[tuple[Proposal, Justify]]:
        return self._links


@pytest.mark.parametrize(("views", "is_told"), [(1, True), (1_024, False)])
def test_links_over_their_bound_are_left_out(chain: Chain, views: int, is_told: bool) -> None:
    """The finalization proves the block without them, and a page must fit into a message."""
    boundary = chain.store.finality.boundary(2)
    assert boundary is not None and boundary.finalization is not None
    justify, first = nullified(views), boundary.header.view
    links = []
    for at in range(7):
        subject = boundary.finalization.subject
        proposal = replace(subject, view=first + at + 1, parent_view=first + at)
        links.append((proposal, justify))
    steps = [*make.steps_from(cast(FinalityView, Struggled(chain, links)), 0, 3)]
    assert [len(step.links) for step in steps] == [0, 7 if is_told else 0, 0]
    assert len(encode(StepsAnswer(tuple(steps)))) < LIMITS[Topic.SYNC].message_bytes_max


def test_a_page_ends_before_the_step_that_would_pass_its_bound(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    finality = chain.store.finality
    sizes = [len(encode(step)) for step in make.steps_from(finality, 0, 3)]
    assert len(sizes) == 3
    for bytes_max, count in [(1, 1), (sum(sizes[:2]) - 1, 1), (sum(sizes[:2]), 2), (sum(sizes), 3)]:
        monkeypatch.setattr(make, "STEPS_BYTES", bytes_max)
        monkeypatch.setattr(form, "STEPS_BYTES", bytes_max)
        steps = [*make.steps_from(finality, 0, 3)]
        assert len(steps) == count
        pages = [len(page) for page in form.paged(make._step(finality, at) for at in range(3))]
        assert pages[0] == count and sum(pages) == 3


# --- folders -------------------------------------------------------------------------------------


def drafts_in(place: Path) -> None:
    """What a process left that was killed while it made three snapshots and fetched two."""
    for number, name in enumerate(
        ["5.fetching", "7.fetching", "steps.draft", "10.draft", "20.draft", "30"]
    ):
        draft = SnapshotFolder(place / name)
        draft.begin()
        draft.write(MANIFEST, b"m")
        os.utime(draft.path, (number, number))


def names_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_drafts_that_nobody_writes_go_and_one_that_was_fetched_stays(tmp_path: Path) -> None:
    drafts_in(tmp_path)
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["30", "7.fetching"]
    remove_leftovers(tmp_path / "none")


def test_a_crash_while_one_is_replaced_leaves_no_part_that_passes_for_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = SnapshotFolder(tmp_path / "50"), SnapshotFolder(tmp_path / "50.draft")
    for snapshot in (old, new):
        snapshot.begin()
        for name in ("chunk-00000", "chunk-00001", MANIFEST):
            snapshot.write(name, snapshot.path.name.encode())

    def crash(path: Path, **_: Any) -> None:
        (path / "chunk-00000").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder.shutil, "rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            new.finish(old.path)
    assert snapshots_in(tmp_path) == []
    assert new.finish(old.path) == old
    assert old.read("chunk-00000", 9) == b"50.draft"
    assert names_in(tmp_path) == ["50"]
