"""Restoring: what was taken comes back to the byte, and nothing that was changed is believed."""

import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from node.snapshot import cutting, make, restore, walk
from node.snapshot.errors import (
    SnapshotFailed,
    SnapshotMissing,
    SnapshotNotNow,
    SnapshotRefused,
)
from node.snapshot.folder import BLOCK, MANIFEST, SnapshotFolder, keep_newest, snapshots_in
from node.snapshot.form import Manifest, Step, Steps, read_manifest, read_steps
from node.snapshot.make import make_snapshot
from node.snapshot.walk import Checkpoint, read_checkpoint
from node.storage.kv import KeyValueStore, LevelDb, MemoryStore
from state.chunks import Chunk
from state.codec import encode, replace
from state.crypto import Tag
from state.genesis import Genesis
from state.tree import TreeCorrupt
from state.types import ZERO_HASH
from tests.node.local import LocalChain
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain

HEIGHT = 3 * EPOCH_BLOCKS + 3


def taken(store: KeyValueStore, folder: Path, genesis: Genesis = GENESIS) -> SnapshotFolder:
    found = [each for each in make_snapshot(store, genesis, folder) if each is not None]
    assert len(found) == 1
    return found[0]


def rows_of(store: KeyValueStore, prefixes: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for prefix in prefixes:
        found.update(store.scan(bytes([prefix]), bytes([prefix + 1])))
    return found


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain().grow(HEIGHT)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks, and several pages of steps."""
    monkeypatch.setattr(cutting, "CHUNK_BYTES", 600)
    monkeypatch.setattr(make, "STEPS_MAX", 2)


@pytest.fixture
def snapshot(chain: Chain, tmp_path: Path, small: None) -> SnapshotFolder:
    return taken(chain.rows, tmp_path / "snapshots")


@pytest.mark.parametrize("height", [1, 2, 7, 8, 9, 16, 17, 26, 33])
def test_a_restored_home_is_the_one_that_was_taken(
    height: int, tmp_path: Path, small: None
) -> None:
    """State, tree, head, sets, boundaries and their links; and both go on alike."""
    chain = Chain().grow(height)
    folder = taken(chain.rows, tmp_path)
    assert folder.path.name == str(height - 1)
    head = restore.restore(folder, tmp_path / "data", GENESIS)
    assert head == chain.application.head
    store = LevelDb(tmp_path / "data", create=False)
    expected = rows_of(chain.rows, b"stvm")
    found = rows_of(store, b"stvm")
    assert found.pop(b"mfloor") == encode(height)
    assert found == expected
    again = Chain(store)
    again.parent, again.view, again.nonce = chain.parent, chain.view, chain.nonce
    assert again.store.floor == height
    for epoch in range(head.header.height // EPOCH_BLOCKS + 1):
        here, there = chain.store.finality.boundary(epoch), again.store.finality.boundary(epoch)
        assert here is not None and there is not None
        assert (here.header, here.finalization) == (there.header, there.finalization)
        assert again.store.header(here.header.height).header == here.header
        steps = [make._step(each.store.finality, epoch) for each in (chain, again)]
        assert steps[0] == steps[1]
    for each in (chain, again):
        each.grow(2 * EPOCH_BLOCKS)
    assert again.application.head == chain.application.head
    assert rows_of(again.rows, b"s") == rows_of(chain.rows, b"s")
    store.close()


def test_what_was_restored_can_be_taken_again(
    chain: Chain, snapshot: SnapshotFolder, tmp_path: Path
) -> None:
    store = MemoryStore()
    restore.restore_into(snapshot, store, GENESIS)
    other = taken(store, tmp_path / "other")
    names = sorted(entry.name for entry in snapshot.path.iterdir())
    assert names == sorted(entry.name for entry in other.path.iterdir())
    assert len([name for name in names if name.startswith("chunk")]) > 3
    assert len([name for name in names if name.startswith("steps")]) == 2
    for name in names:
        assert (snapshot.path / name).read_bytes() == (other.path / name).read_bytes()


def test_nothing_is_taken_before_a_block_proves_a_state(tmp_path: Path) -> None:
    chain = Chain()
    with pytest.raises(SnapshotNotNow, match="no block"):
        taken(chain.rows, tmp_path)
    chain.grow(4)  # final with a descendant only
    with pytest.raises(SnapshotNotNow, match="descendant"):
        taken(chain.rows, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_database_that_contradicts_its_root_is_not_taken(chain: Chain, tmp_path: Path) -> None:
    rows = MemoryStore(chain.rows.scan(b"", None))
    key, value = next(iter(rows.scan(b"s", b"t")))
    rows.write([(key, value[:-1] + bytes([value[-1] ^ 1]))], (), sync=False)
    with pytest.raises(TreeCorrupt, match="root"):
        taken(rows, tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_moment_counts_whatever_is_made_final_meanwhile(tmp_path: Path, small: None) -> None:
    chain = Chain().grow(EPOCH_BLOCKS + 1)
    head = chain.application.head
    making = make_snapshot(chain.rows, GENESIS, tmp_path)
    found = []
    for piece in making:
        found.append(piece)
        chain.grow(1)
    assert found[-1] is not None and len(found) > 5
    assert restore.restore_into(found[-1], MemoryStore(), GENESIS) == head


def test_a_draft_that_is_given_up_leaves_nothing(chain: Chain, tmp_path: Path, small: None) -> None:
    making = make_snapshot(chain.rows, GENESIS, tmp_path)
    for _ in range(3):
        next(making)
    assert any(tmp_path.iterdir())
    assert isinstance(making, Generator)
    making.close()
    assert not any(tmp_path.iterdir())


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    chain = Chain().grow(1)
    for _ in range(3):
        taken(chain.rows, tmp_path)
        chain.grow(2 if chain.height % 4 == 3 else 1)
    heights = [folder.path.name for folder in snapshots_in(tmp_path)]
    assert len(heights) == 3 and heights == sorted(heights, key=int, reverse=True)
    keep_newest(tmp_path, 2)
    assert [folder.path.name for folder in snapshots_in(tmp_path)] == heights[:2]
    assert snapshots_in(tmp_path / "none") == []


# --- what is not true ----------------------------------------------------------------------------


def rewrite(folder: SnapshotFolder, name: str, change: Callable[[Any], Any], read: Any) -> None:
    path = folder.path / name
    path.write_bytes(encode(change(read(path.read_bytes()))))


def chunk_names(folder: SnapshotFolder) -> list[str]:
    return sorted(path.name for path in folder.path.glob("chunk-*"))


def refused(folder: SnapshotFolder, match: str, checkpoint: Checkpoint | None = None) -> None:
    with pytest.raises(SnapshotRefused, match=match) as caught:
        restore.restore_into(folder, MemoryStore(), GENESIS, checkpoint)
    assert caught.value.sentence.endswith(".")


def test_chunks_of_others_or_changed_ones_are_refused(snapshot: SnapshotFolder) -> None:
    names = chunk_names(snapshot)
    manifest = snapshot.manifest(GENESIS.hash)
    rows = [*snapshot.rows(manifest)]
    first, second = (snapshot.path / name for name in names[:2])
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    refused(snapshot, "another place")
    for wrong in (rows[0][1:], (*rows[0], rows[1][0]), rows[0][::-1]):
        first.write_bytes(encode(Chunk(tuple(wrong))))
        refused(snapshot, "chunk")
    first.write_bytes(bytes(2**22 + 1))
    refused(snapshot, "longer")
    first.write_bytes(whole[:-1])
    refused(snapshot, "no Chunk")
    first.unlink()
    with pytest.raises(SnapshotMissing, match=names[0]):
        restore.restore_into(snapshot, MemoryStore(), GENESIS)


def test_manifests_that_prove_nothing_are_refused(snapshot: SnapshotFolder) -> None:
    def with_manifest(change: Callable[[Manifest], Manifest], match: str) -> None:
        path = snapshot.path / MANIFEST
        before = path.read_bytes()
        rewrite(snapshot, MANIFEST, change, lambda data: read_manifest(data, GENESIS.hash))
        refused(snapshot, match)
        path.write_bytes(before)

    with_manifest(lambda m: replace(m, form=2), "form 2")
    with_manifest(lambda m: replace(m, genesis_hash=ZERO_HASH), "another network")
    with_manifest(lambda m: replace(m, marks=m.marks[:-1]), "tile|end")
    with_manifest(
        lambda m: replace(m, marks=(replace(m.marks[0], digest=ZERO_HASH), *m.marks[1:])), "root"
    )
    with_manifest(lambda m: replace(m, crown=replace(m.crown, state_root=ZERO_HASH)), "root")
    with_manifest(lambda m: replace(m, crown=replace(m.crown, height=0)), "block stands on")
    with_manifest(
        lambda m: replace(m, crown=replace(m.crown, time_ms=m.crown.time_ms + 1)), "another block"
    )
    with_manifest(
        lambda m: replace(m, finalization=replace(m.finalization, votes=m.finalization.votes[:2])),
        "quorum",
    )
    (snapshot.path / MANIFEST).write_bytes(b"\x95" + b"\xc4" * 40)
    refused(snapshot, "no Manifest")


def test_steps_that_do_not_lead_to_the_crown_are_refused(snapshot: SnapshotFolder) -> None:
    pages = sorted(path.name for path in snapshot.path.glob("steps-*"))

    def with_step(number: int, change: Callable[[Step], Step], match: str) -> None:
        name = pages[number // 2]
        before = (snapshot.path / name).read_bytes()
        steps = [*read_steps(before)]
        steps[number % 2] = change(steps[number % 2])
        (snapshot.path / name).write_bytes(encode(Steps(tuple(steps))))
        refused(snapshot, match)
        (snapshot.path / name).write_bytes(before)

    steps = [*snapshot.steps()]
    assert [len(step.links) for step in steps] == [0, 1, 0]
    with_step(0, lambda _: steps[1], "Epoch 0 does not end so")
    with_step(1, lambda step: replace(step, validators=step.validators[::-1]), "another set")
    with_step(1, lambda step: replace(step, validators=()), "another set")
    with_step(0, lambda step: replace(step, justify=steps[1].justify), "another justification")
    with_step(
        0,
        lambda step: replace(
            step, finalization=replace(step.finalization, votes=step.finalization.votes[1:2])
        ),
        "quorum",
    )
    with_step(1, lambda step: replace(step, links=step.links * 2), "from proposal to proposal")
    (proposal, justify) = steps[1].links[0]
    forged = replace(justify, nullifications=())
    for link in [
        (proposal, forged),
        (replace(proposal, view=proposal.view + 1), justify),
        (replace(proposal, block_id=ZERO_HASH), justify),
    ]:
        with_step(1, lambda step, link=link: replace(step, links=(link,)), "proposal to proposal")
    last = snapshot.path / pages[-1]
    last.unlink()
    refused(snapshot, "how every epoch ended")
    (snapshot.path / pages[0]).write_bytes(encode(Steps(tuple([*steps, steps[-1]]))))
    refused(snapshot, "epochs after its own")


def test_links_to_another_proposal_than_the_final_one_are_refused(chain: Chain) -> None:
    step = make._step(chain.store.finality, 1)
    assert step is not None and step.links
    walked = walk.Walk(GENESIS, None)
    first = make._step(chain.store.finality, 0)
    assert first is not None
    walked.take(first)
    members = walked.trust.validators
    proposal = replace(step.finalization.subject, view=step.finalization.subject.view + 1)
    votes = chain.sign(Tag.FINALIZE, proposal, members)
    with pytest.raises(SnapshotRefused, match="do not end"):
        walked.take(
            replace(step, finalization=replace(step.finalization, subject=proposal, votes=votes))
        )
    assert walked.epoch == 1
    walked.take(step)
    assert walked.epoch == 2


def test_a_block_that_is_not_the_crowns_is_refused(
    snapshot: SnapshotFolder, tmp_path: Path
) -> None:
    block = snapshot.block()
    for wrong, match in [
        (replace(block, body=block.body[:-1]), "cannot stand"),
        (replace(block, body=b""), "cannot stand"),
        (replace(block, justify=replace(block.justify, nullifications=())), "not its head's"),
        (replace(block, header=replace(block.header, time_ms=1)), "not its head's"),
    ]:
        if wrong == block:
            continue
        (snapshot.path / BLOCK).write_bytes(encode(wrong))
        refused(snapshot, match)
    (snapshot.path / BLOCK).write_bytes(b"\x00")
    refused(snapshot, "no Block")


def test_a_trusted_block_pins_the_history(chain: Chain, snapshot: SnapshotFolder) -> None:
    boundary = chain.store.finality.boundary(2)
    assert boundary is not None
    text = f"2:{boundary.block_id.hex()}"
    checkpoint = read_checkpoint(text)
    assert checkpoint == Checkpoint(2, boundary.block_id)
    assert restore.restore_into(snapshot, MemoryStore(), GENESIS, checkpoint)
    refused(snapshot, "not the chain you trust", Checkpoint(2, ZERO_HASH))
    refused(snapshot, "take a newer one", Checkpoint(9, ZERO_HASH))
    assert read_checkpoint("") is None
    for wrong in ("2", "2:", text[:-1], "x" + text, text + "\n"):
        with pytest.raises(SnapshotRefused, match="trusted block"):
            read_checkpoint(wrong)


def test_a_database_is_never_replaced(snapshot: SnapshotFolder, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(SnapshotFailed, match="already"):
        restore.restore(snapshot, tmp_path / "data", GENESIS)


# --- crashes -------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone: nothing that stands after it is run."""


def crashing(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let the process end before its at-th write, sync or rename, and leave the disk as it is."""
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                monkeypatch.setattr(shutil, "rmtree", lambda *_given, **_named: None)
                raise Crash
            return real(*given, **named)

        return call

    monkeypatch.setattr(LevelDb, "write", counted(LevelDb.write))
    monkeypatch.setattr(restore, "sync_folder", counted(restore.sync_folder))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))


def test_a_crash_at_any_step_leaves_none_or_all_of_it(
    chain: Chain, snapshot: SnapshotFolder, tmp_path: Path
) -> None:
    seen = set()
    for at in range(1, 100):
        database = tmp_path / f"home-{at}" / "data"
        database.parent.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            crashing(patch, at)
            try:
                restore.restore(snapshot, database, GENESIS)
                break
            except Crash:
                seen.add(database.exists())
        if not database.exists():
            restore.restore(snapshot, database, GENESIS)
        store = LevelDb(database, create=False)
        assert Chain(store).application.head == chain.application.head
        store.close()
        assert [entry.name for entry in database.parent.iterdir()] == ["data"]
    assert at > 10
    assert seen == {False, True}


def test_every_file_is_on_disk_before_the_database_is_in_its_place(
    snapshot: SnapshotFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its own log has not synced is lost with the power, and nobody would notice."""
    synced: dict[int, int] = {}
    real = os.fsync

    def noted(descriptor: int) -> None:
        real(descriptor)
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size

    rename = Path.rename

    def checked(path: Path, target: Path) -> Path:
        if target.name == "data":
            files = {entry.stat().st_ino: entry.stat().st_size for entry in path.iterdir()}
            assert len(files) > 3 and files.items() <= synced.items()
            synced[0] = 0
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "rename", checked)
    restore.restore(snapshot, tmp_path / "data", GENESIS)
    assert 0 in synced


def test_a_state_of_one_validator_comes_back(tmp_path: Path) -> None:
    """Without transactions, and with a set that never changes."""
    local = LocalChain()
    store = MemoryStore()
    application = local.open(store)
    local.step(application)
    folder = taken(store, tmp_path, local.genesis)
    head = restore.restore(folder, tmp_path / "data", local.genesis)
    assert head == application.head


def test_a_crown_that_ends_its_epoch_tells_how(tmp_path: Path, small: None) -> None:
    chain = Chain().grow(2 * EPOCH_BLOCKS)
    folder = taken(chain.rows, tmp_path)
    steps = [*folder.steps()]
    assert steps[-1].boundary == folder.manifest(GENESIS.hash).crown and steps[-1].links
    page = folder.path / "steps-00000"
    for wrong, match in [
        (steps[:1], "how every epoch ended"),
        ([*steps, steps[-1]], "epochs after its own"),
        ([steps[0], replace(steps[1], links=steps[1].links * 2)], "proposal to proposal"),
        ([steps[0], replace(steps[1], boundary=steps[0].boundary)], "epochs after its own"),
    ]:
        page.write_bytes(encode(Steps(tuple(wrong))))
        refused(folder, match)
