"""The state tree over the node's database: what one batch wrote is what a restart reads."""

import random
from pathlib import Path

import pytest

from node.storage.kv import KeyValueStore, LevelDb, MemoryStore
from state.tree import EMPTY_ROOT, Change, Tree, rebuild, verify_proof


def opened(kind: str, path: Path, memory: MemoryStore) -> KeyValueStore:
    return memory if kind == "memory" else LevelDb(path, create=True)


@pytest.mark.parametrize("kind", ["leveldb", "memory"])
def test_every_block_survives_a_restart(kind: str, tmp_path: Path) -> None:
    chance = random.Random(7)
    memory, model = MemoryStore(), dict[bytes, bytes]()
    root, version = EMPTY_ROOT, b"genesis"
    for block in range(12):
        store = opened(kind, tmp_path / "db", memory)
        tree = Tree(store, root, version, prefix=b"t", cached_pages_max=64)
        changes: list[Change] = [
            (b"%d" % key, None if chance.random() < 0.3 else chance.randbytes(9))
            for key in chance.sample(range(2000), 400)
        ]
        parent, version = version, b"block %d" % block
        root = tree.update(parent, version, changes)
        puts, deletes = tree.commit(version)
        flat = [(b"s" + key, value) for key, value in changes if value is not None]
        gone = [b"s" + key for key, value in changes if value is None]
        store.write([*puts, *flat], [*deletes, *gone], sync=False)
        model.update((key, value) for key, value in changes if value is not None)
        for key, value in changes:
            if value is None:
                model.pop(key, None)
        assert root == rebuild((key[1:], value) for key, value in store.scan(b"s", b"t"))
        for key in (b"1", b"1999", b"absent"):
            assert verify_proof(root, key, model.get(key), tree.prove(version, key))
        store.close()
    pages = list(opened(kind, tmp_path / "db", memory).scan(b"t", b"u"))
    fresh = Tree({}, EMPTY_ROOT, b"", prefix=b"t")
    fresh.update(b"", b"all", list(model.items()))
    assert dict(pages) == dict(fresh.commit(b"all")[0])  # no page was left behind
