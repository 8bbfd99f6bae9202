"""Rolling back: an earlier head to the byte, and forward again to equal roots; or one sentence."""

import shutil
from pathlib import Path

import pytest

from node.rollback import RollbackRefused, roll_back
from node.storage import rewind
from node.storage.chain_store import ChainStore
from node.storage.kv import LevelDb, MemoryStore
from node.storage.pruning import Pruner
from state.codec import encode, replace
from state.errors import NotFound
from state.types import ZERO_HASH
from tests.node.local import LocalChain
from tests.node.snapshot.test_restore import rows_of, taken
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, KEYS, Chain

HEIGHT = 3 * EPOCH_BLOCKS + 3


class Home:
    """A database with the rows it had at every height, and a folder of snapshots."""

    def __init__(self, folder: Path) -> None:
        self.data, self.snapshots = folder / "data", folder / "snapshots"
        store = LevelDb(self.data, create=True)
        self.chain = Chain(store)
        self.before: dict[int, dict[bytes, bytes]] = {}
        for height in range(1, HEIGHT + 1):
            self.chain.grow(1)
            self.before[height] = rows_of(store, b"sthbxoievm")
            if height == EPOCH_BLOCKS + 3:
                taken(store, self.snapshots)
        self.head = self.chain.application.head
        store.close()

    def roll_back(self, height: int, voter: bytes | None = None) -> list[int]:
        steps = roll_back(self.data, self.snapshots, GENESIS, height, voter)
        return [step.height for step in steps]

    def rows(self) -> dict[bytes, bytes]:
        store = LevelDb(self.data, create=False)
        found = rows_of(store, b"sthbxoievm")
        store.close()
        return found

    def prune(self, floor: int) -> None:
        store = LevelDb(self.data, create=False)
        pruner = Pruner(store, GENESIS)
        while pruner.step(floor):
            pass
        store.close()

    def refused(self, height: int, match: str, voter: bytes | None = None) -> None:
        before = self.rows()
        with pytest.raises(RollbackRefused, match=match) as caught:
            self.roll_back(height, voter)
        assert caught.value.sentence.endswith(".")
        assert self.rows() == before
        assert {entry.name for entry in self.data.parent.iterdir()} <= {"data", "snapshots"}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("grown"))


@pytest.fixture
def home(grown: Home, tmp_path: Path) -> Home:
    shutil.copytree(grown.data, tmp_path / "data")
    shutil.copytree(grown.snapshots, tmp_path / "snapshots")
    copy = object.__new__(Home)
    copy.data, copy.snapshots = tmp_path / "data", tmp_path / "snapshots"
    copy.chain, copy.before, copy.head = grown.chain, grown.before, grown.head
    return copy


@pytest.mark.parametrize("height", [1, 7, 8, 9, 11, 14, 16, 17, HEIGHT - 1])
def test_back_and_forward_again(home: Home, height: int) -> None:
    executed = home.roll_back(height)
    assert executed[-1] == height
    assert executed[0] == (EPOCH_BLOCKS + 3 if height >= EPOCH_BLOCKS + 3 else 0)
    assert home.rows() == home.before[height]
    store = LevelDb(home.data, create=False)
    whole = MemoryStore([*home.before[HEIGHT].items()])
    source = home.chain.store
    again = ChainStore(store, GENESIS)
    application = Chain(store).application
    for above in range(height + 1, HEIGHT + 1):
        header = ChainStore(whole, GENESIS).header(above)
        justify = again.finality.justify(header.header.justify_hash)
        assert justify is not None, "justifications stay"
        body = ChainStore(whole, GENESIS).body_data(above)
        application.execute(header.header, header.block_id, justify, body)
        application.commit(header.header, header.block_id, header.finalization)
    assert application.head == home.head
    assert rows_of(store, b"sthbxoievm") == home.before[HEIGHT]
    assert source.head == home.head
    store.close()


def test_what_cannot_be_reached_is_refused_and_nothing_changes(home: Home) -> None:
    home.refused(HEIGHT, "ends at height 27")
    home.refused(HEIGHT + 5, "ends at height 27")
    home.refused(0, "lead to is 1. ")
    home.refused(12, "give height 11")
    home.prune(EPOCH_BLOCKS + 2)
    home.refused(EPOCH_BLOCKS + 2, f"lead to is {EPOCH_BLOCKS + 3}. ")
    home.prune(EPOCH_BLOCKS + 6)
    home.refused(EPOCH_BLOCKS + 7, f"and no other: blocks are kept from {EPOCH_BLOCKS + 6} on")


def test_the_height_that_a_refusal_names_is_the_lowest_that_goes(home: Home) -> None:
    """The snapshot's own block is pruned, and the one above has no certificate of its own."""
    crown = EPOCH_BLOCKS + 3
    home.prune(crown + 1)
    for height in (crown - 1, crown, crown + 1):
        home.refused(height, f"lead to is {crown + 2}. ")
    assert home.roll_back(crown + 2)[-1] == crown + 2


def test_a_pruned_home_goes_back_to_its_snapshot_and_no_further(home: Home) -> None:
    home.prune(EPOCH_BLOCKS + 4)
    assert home.roll_back(EPOCH_BLOCKS + 5)[0] == EPOCH_BLOCKS + 3
    store = LevelDb(home.data, create=False)
    chain = ChainStore(store, GENESIS)
    assert chain.head is not None and chain.head.header.height == EPOCH_BLOCKS + 5
    assert chain.floor == EPOCH_BLOCKS + 4
    with pytest.raises(NotFound):
        chain.header(EPOCH_BLOCKS + 6)
    store.close()


def test_the_only_validator_is_refused(tmp_path: Path) -> None:
    """Its guard would let it make no other blocks, and nobody has those that it made."""
    local = LocalChain()
    store = LevelDb(tmp_path / "data", create=True)
    application = local.open(store)
    for _ in range(3):
        local.step(application)
    store.close()
    key = local.accounts[0].public_key
    with pytest.raises(RollbackRefused, match="only validator"):
        list(roll_back(tmp_path / "data", tmp_path, local.genesis, 2, key))
    steps = list(roll_back(tmp_path / "data", tmp_path, local.genesis, 2, None))
    assert [step.height for step in steps] == [0, 1, 2]


def test_one_of_several_validators_may(home: Home) -> None:
    assert home.roll_back(HEIGHT - 1, KEYS[0].public_key)


def test_a_block_that_gives_another_root_stops_it(home: Home) -> None:
    store = LevelDb(home.data, create=False)
    chain = ChainStore(store, GENESIS)
    assert chain.head is not None
    key = b"h" + (14).to_bytes(8, "big")
    data = store.get(key)
    assert data is not None
    row = chain.header(14)
    forged = replace(row, header=replace(row.header, state_root=ZERO_HASH))
    store.write([(key, encode(forged))], (), sync=True)
    store.close()
    home.refused(13, "another root")


def test_a_crash_before_the_batch_changes_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        """The process is gone."""

    def crash(*_: object) -> None:
        raise Crash

    before = home.rows()
    with monkeypatch.context() as patch:
        patch.setattr(rewind, "_drop_epochs", crash)
        patch.setattr(shutil, "rmtree", lambda *_given, **_named: None)
        with pytest.raises(Crash):
            home.roll_back(14)
    assert home.rows() == before
    assert (home.data.parent / "data.rolling-back").exists()
    home.roll_back(14)
    assert home.rows() == home.before[14]
    assert not (home.data.parent / "data.rolling-back").exists()
