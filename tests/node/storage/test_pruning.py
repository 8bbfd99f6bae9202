"""Pruning: exactly what lies below the window goes, what proves the chain stays, disks shrink."""

import random
from pathlib import Path

import pytest

from consensus.messages import Block
from node.replay import replay
from node.snapshot.make import steps_from
from node.storage import pruning
from node.storage.chain_store import ChainStore
from node.storage.kv import KeyValueStore, LevelDb, MemoryStore
from node.storage.pruning import Pruner, window_blocks
from node.sync.archive import blocks_of, final_of, headers_of
from node.sync.messages import BlocksRequest, FinalRequest, HeadersRequest
from state.errors import NotFound
from state.params import StakingParams
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain

HEIGHT = 4 * EPOCH_BLOCKS + 3


def prune(store: KeyValueStore, floor: int) -> int:
    """Prune below a floor and return how many steps that took."""
    pruner = Pruner(store, GENESIS)
    steps = 1
    while pruner.step(floor):
        steps += 1
    return steps


def keys(store: KeyValueStore, prefix: bytes) -> set[bytes]:
    return {key for key, _ in store.scan(prefix, bytes([prefix[0] + 1]))}


def test_the_window_is_never_shorter_than_evidence_reaches() -> None:
    staking = StakingParams(epoch_blocks=10, evidence_blocks=80, unbonding_blocks=100)
    assert window_blocks(0, staking) == window_blocks(89, staking) == 90
    assert window_blocks(91, staking) == 91


@pytest.mark.parametrize("floor", [1, 2, 8, 9, 16, 17, 20, HEIGHT])
def test_what_lies_below_the_floor_goes_and_nothing_else(floor: int) -> None:
    whole = Chain().grow(HEIGHT)
    rows = MemoryStore(whole.rows.scan(b"", None))
    prune(rows, floor)
    store = ChainStore(rows, GENESIS)
    assert store.floor == floor
    for height in range(1, HEIGHT + 1):
        row = whole.store.header(height)
        is_boundary = height % EPOCH_BLOCKS == 0
        digest = row.header.justify_hash
        if height >= floor:
            assert store.body_data(height) == whole.store.body_data(height)
            assert store.result(height) == whole.store.result(height)
            for outcome in store.result(height).outcomes:
                place = store.place(outcome.tx_id)
                assert place is not None and place.height == height
        else:
            with pytest.raises(NotFound, match=r"kept here\. Ask an archive node, .* --node"):
                store.body_data(height)
            with pytest.raises(NotFound, match=f"blocks from {floor} on are kept here"):
                store.result(height)
            for outcome in whole.store.result(height).outcomes:
                assert store.place(outcome.tx_id) is None
        if height >= floor or is_boundary:
            assert store.header(height) == row
            assert store.finality.height_of(row.block_id) == height
            assert store.finality.justify(digest) is not None
        else:
            with pytest.raises(NotFound, match="archive"):
                store.header(height)
            assert store.finality.height_of(row.block_id) is None
            assert store.finality.justify(digest) is None
    for prefix in (b"s", b"t", b"e", b"v"):
        assert keys(rows, prefix) == keys(whole.rows, prefix)
    steps = HEIGHT // EPOCH_BLOCKS
    assert [*steps_from(store.finality, 0, steps)] == [*steps_from(whole.store.finality, 0, steps)]


def linked_chain() -> Chain:
    """A chain over two epochs that kept a link of every block that is directly final."""
    chain = Chain()
    finality = chain.store.finality
    for _ in range(2 * EPOCH_BLOCKS + 4):
        chain.grow(1)
        head = chain.application.head
        assert head.finalization is not None or chain.height % 4 == 0
        if head.finalization is not None and chain.height % EPOCH_BLOCKS:
            justify = finality.justify(head.header.justify_hash)
            assert justify is not None
            finality.keep_link(head.finalization.subject, justify)
    return chain.grow(1)


def test_links_that_are_no_boundarys_go_with_their_views() -> None:
    chain = linked_chain()
    finality = chain.store.finality
    before = keys(chain.rows, b"l")
    prune(chain.rows, 2 * EPOCH_BLOCKS + 3)
    left = [each for epoch in range(3) for each in finality.links(epoch, 0, 99)]
    boundaries = [chain.store.header(height).block_id for height in (8, 16)]
    recent = [chain.store.header(height).block_id for height in (19, 20)]
    ids = {proposal.block_id for proposal, _ in left}
    assert ids == {*boundaries, recent[0]} and len(before) > len(left)


def test_links_are_read_as_of_one_moment_while_another_thread_prunes() -> None:
    class Racing(MemoryStore):
        """Is pruned between the scan of the links and the first look for a justification."""

        is_pruned = False

        def get(self, key: bytes) -> bytes | None:
            if key.startswith(b"j") and not self.is_pruned:
                self.is_pruned = True
                prune(self, 2 * EPOCH_BLOCKS + 3)
            return super().get(key)

    chain = linked_chain()
    whole = chain.store.finality.links(1, 0, 99)
    rows = Racing(chain.rows.scan(b"", None))
    assert ChainStore(rows, GENESIS).finality.links(1, 0, 99) == whole
    prune(rows, 2 * EPOCH_BLOCKS + 3)
    assert len(ChainStore(rows, GENESIS).finality.links(1, 0, 99)) < len(whole)


def test_a_pruned_home_serves_what_it_has_and_goes_on() -> None:
    chain = Chain().grow(HEIGHT)
    floor = 2 * EPOCH_BLOCKS + 4
    prune(chain.rows, floor)
    store = chain.store
    at_floor = store.header(floor).block_id
    served, _ = store.blocks_from(at_floor, 9, 2**20)
    assert [block.header.height for block in served] == [floor]
    boundary = store.header(2 * EPOCH_BLOCKS).block_id
    assert store.blocks_from(boundary, 9, 2**20) == ((), 0)
    assert blocks_of(store, BlocksRequest(floor - 1, 9)) is None
    found = blocks_of(store, BlocksRequest(floor, 2))
    assert found is not None and all(isinstance(block, Block) for block in found.blocks)
    headers = headers_of(store, HeadersRequest(at_floor, 9))
    assert headers is not None and [header.height for header in headers.headers] == [floor]
    for epoch in range(5):
        assert final_of(store, FinalRequest(epoch)) is not None
    again = Chain(chain.rows)
    assert again.application.head == chain.application.head
    chain.grow(EPOCH_BLOCKS)
    with pytest.raises(NotFound):
        list(replay(store, GENESIS, MemoryStore()))


def test_steps_are_bounded_and_go_on_where_the_last_one_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruning, "STEP_BLOCKS", 5)
    chain = Chain().grow(HEIGHT)
    expected = MemoryStore(chain.rows.scan(b"", None))
    monkeypatch.setattr(pruning, "STEP_BYTES", 1)
    assert prune(chain.rows, 12) == 11
    monkeypatch.setattr(pruning, "STEP_BYTES", 2**20)
    assert prune(expected, 12) == 3
    assert dict(expected.scan(b"", None)) == dict(chain.rows.scan(b"", None))
    assert not Pruner(chain.rows, GENESIS).step(3)
    assert chain.store.floor == 12


def test_a_transaction_that_stands_again_above_keeps_its_place() -> None:
    chain = Chain().grow(HEIGHT)
    tx_id = chain.store.result(2).outcomes[0].tx_id
    later = chain.store.result(30).outcomes[0].tx_id
    data = chain.rows.get(b"x" + later)
    assert data is not None
    chain.rows.write([(b"x" + tx_id, data)], (), sync=False)  # refused in 2, or once more in 30
    prune(chain.rows, 9)
    place = chain.store.place(tx_id)
    assert place is not None and place.height == 30


def disk_bytes(folder: Path) -> int:
    return sum([path.stat().st_size for path in folder.iterdir()])


def test_a_small_database_gets_its_room_back_too(tmp_path: Path) -> None:
    """Outcomes of 64 kB: nothing near what a large one is pruned of between two compactions."""
    store = LevelDb(tmp_path / "data", create=True)
    Chain(store).grow(HEIGHT)
    chance = random.Random(3)
    for height in range(1, HEIGHT):
        store.write([(b"o" + height.to_bytes(8, "big"), chance.randbytes(2**16))], (), sync=False)
    store.compact(b"", b"\xff")
    before = disk_bytes(tmp_path / "data")
    pruner = Pruner(store, GENESIS)
    floors = []
    for floor in range(2, HEIGHT - 4):
        pruner.step(floor)
        if pruner.compaction_due:
            floors.append(floor)
            assert len([*pruner.compact()]) == 6
    assert 1 <= len(floors) <= 2, "a mebibyte at least lies between two of them"
    assert disk_bytes(tmp_path / "data") < before - (floors[-1] - 1) * 2**16 + 2**17
    store.close()


def test_a_large_one_is_not_compacted_for_little(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain().grow(HEIGHT)
    monkeypatch.setattr(pruning, "COMPACT_BYTES_MIN", 1)
    pruner = Pruner(chain.rows, GENESIS)
    pruner.step(3)
    assert not pruner.compaction_due, "two of 35 blocks"
    pruner.step(HEIGHT // 2)
    assert pruner.compaction_due
    monkeypatch.setattr(pruning, "COMPACT_SHARE", 1)
    assert not Pruner(chain.rows, GENESIS).compaction_due


def test_the_slices_are_as_many_as_the_rows_are_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain().grow(HEIGHT)
    ranges: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(chain.rows, "compact", lambda *given: ranges.append(given))
    monkeypatch.setattr(pruning, "SLICE_BYTES", 1)
    pruner = Pruner(chain.rows, GENESIS)
    for _ in range(65):
        assert len([*pruner.compact()]) == 6
    by_id = [(start[1], stop[1]) for start, stop in ranges if start.startswith(b"x")]
    assert by_id == [(4 * at, 4 * at + 3) for at in (*range(64), 0)]
    monkeypatch.setattr(pruning, "SLICE_BYTES", 2**30)
    assert len([*pruner.compact()]) == 6
    assert (ranges[-1][0][1], ranges[-1][1][1]) == (4, 255), "the rest, at once"


def test_the_size_on_disk_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes of half a megabyte each, of which four stay."""
    store = LevelDb(tmp_path / "data", create=True)
    chain = Chain(store).grow(HEIGHT)
    chance = random.Random(3)
    for height in range(1, HEIGHT):  # nobody reads what they say
        store.write([(b"o" + height.to_bytes(8, "big"), chance.randbytes(2**19))], (), sync=False)
    store.compact(b"", b"\xff")
    before = disk_bytes(tmp_path / "data")
    assert before > (HEIGHT - 1) * 2**19
    pruner = Pruner(store, GENESIS)
    assert not pruner.compaction_due
    monkeypatch.setattr(pruning, "COMPACT_BYTES", 2**23)
    while pruner.step(HEIGHT - 4):
        pass
    assert pruner.compaction_due
    for _ in range(4):
        assert len([*pruner.compact()]) == 6
    assert not pruner.compaction_due
    after = disk_bytes(tmp_path / "data")
    assert after < 6 * 2**19 + 2**20 < before // 4
    assert Chain(store).application.head == chain.application.head
    store.close()
