"""The chain that snapshots are taken of, in chunks and pages small enough to be many."""

from pathlib import Path

import pytest

from node.snapshot import cutting, fetch, form, make, state_sync, steps
from node.storage.kv import KeyValueStore, MemoryStore
from tests.node.snapshot.test_restore import taken
from tests.node.snapshot.world import HEIGHT, World
from tests.node.sync.chains import Chain


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "CHUNK_BYTES", 600)
    monkeypatch.setattr(make, "STEPS_MAX", 2)
    monkeypatch.setattr(form, "STEPS_MAX", 2)
    monkeypatch.setattr(steps, "STEPS_MAX", 2)
    monkeypatch.setattr(fetch, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(state_sync, "SETTLE_MS", 100)
    monkeypatch.setattr(state_sync, "POLL_SECONDS", 0.01)


@pytest.fixture(scope="module")
def grown() -> KeyValueStore:
    return Chain().grow(HEIGHT).rows


@pytest.fixture
def world(grown: KeyValueStore, tmp_path: Path, quick: None) -> World:
    chain = Chain(MemoryStore(grown.scan(b"", None)))
    world = World(tmp_path, chain)
    taken(chain.rows, world.shelf)
    return world
