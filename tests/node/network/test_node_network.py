"""A node's network as one thing, over sockets: found, announced, kept, and told what is wrong."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from node.clock import SystemClock
from node.config import NodeConfig
from node.network import node_network
from node.network.identity import announcement
from node.network.node_network import BOOK_FILE, AddressUnusable, NodeNetwork
from node.network.overlay import Overlay
from node.storage.kv import MemoryStore
from p2p.addresses import Address
from p2p.handshake import NodeKey
from p2p.peerbook import PeerBook

SECONDS_MAX = 20.0


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


@pytest.fixture
def make(tmp_path: Path, local_chain: Any) -> Callable[..., NodeNetwork]:
    """Make nodes of one network by number; whoever is given a key runs its validator."""

    def node(number: int, *, key: Any = None, **settings: Any) -> NodeNetwork:
        home = tmp_path / str(number)
        home.mkdir(exist_ok=True)
        config = NodeConfig(
            home=home,
            p2p_port=settings.pop("p2p_port", 0),
            p2p_allow_private_hosts=True,
            **settings,
        )
        overlay = Overlay()
        found = NodeNetwork(
            config,
            NodeKey(bytes([number + 1]) * 32),
            local_chain.open(MemoryStore()),
            overlay,
            SystemClock(),
            None if key is None else (key.public_key, key.sign),
        )
        return found

    return node


@asynccontextmanager
async def running(network: NodeNetwork) -> AsyncIterator[NodeNetwork]:
    failures: list[BaseException] = []
    await network.start(failures.append)
    try:
        yield network
    finally:
        began = time.monotonic()
        await network.stop()
        assert time.monotonic() - began < 2.0
    assert failures == []


def target_of(network: NodeNetwork) -> str:
    return f"{network.sockets.node_id.hex()}@127.0.0.1:{network.sockets.port}"


async def test_a_validator_is_found_by_who_follows(make: Any, local_chain: Any) -> None:
    key = local_chain.accounts[0]
    async with running(make(0, key=key)) as validator:
        follower = make(1, p2p_persistent_peers=target_of(validator))
        async with running(follower):
            await until(lambda: follower.sockets.node_of(key.public_key) is not None)
            assert follower.sockets.node_of(key.public_key) == validator.sockets.node_id
            assert [peer.is_outbound for peer in follower.sockets.peers()] == [True]
            await until(lambda: [one.is_outbound for one in validator.sockets.peers()] == [False])


async def test_a_record_of_a_clock_that_was_ahead_is_gone_beyond(
    make: Any, local_chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made by another node; this one has the key now, and its clock was set right."""
    monkeypatch.setattr(node_network, "RENEWAL_MS", 100)
    key, year_ms = local_chain.accounts[0], 365 * 86_400_000
    genesis_hash = local_chain.open(MemoryStore()).genesis_hash
    address = Address("127.0.0.1", 1)
    ahead = time.time_ns() // 1_000_000 + year_ms
    old = announcement(
        key.public_key, key.sign, NodeKey(b"o" * 32), genesis_hash, (address,), ahead
    )
    async with running(make(1)) as follower:
        follower.sockets.announce(old)
        async with running(make(0, key=key, p2p_persistent_peers=target_of(follower))) as network:
            await until(lambda: follower.sockets.node_of(key.public_key) == network.sockets.node_id)
            mine = network.sockets.record_of(key.public_key)
            assert mine is not None
            assert mine.announcement.sequence == ahead + 1
            await asyncio.sleep(0.3)
            assert network.sockets.record_of(key.public_key) == mine, "once is enough"


async def test_whoever_is_no_validator_announces_nothing(make: Any, local_chain: Any) -> None:
    stranger = local_chain.accounts[1]
    async with running(make(0, key=stranger)) as network:
        assert network.sockets.node_of(stranger.public_key) is None


async def test_the_book_is_kept_over_a_restart(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "1" / BOOK_FILE
    async with running(make(0)) as other:
        node_id = other.sockets.node_id
        async with running(make(1, p2p_persistent_peers=target_of(other))) as network:
            await until(lambda: len(network.sockets.peers()) == 1)
        kept = PeerBook.from_bytes(path.read_bytes(), str(path))
        assert [(one.peer.node_id, one.is_proven) for one in kept] == [(node_id, True)]
    assert [one.peer.node_id for one in make(1).sockets.book] == [node_id]


async def test_a_damaged_book_is_replaced_and_told_of(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0").mkdir()
    path = tmp_path / "0" / BOOK_FILE
    path.write_bytes(b"not a book")
    with caplog.at_level(logging.WARNING):
        network = make(0)
    assert [record.message for record in caplog.records] == ["address book replaced"]
    async with running(network):
        assert len(list(network.sockets.book)) == 0
    PeerBook.from_bytes(path.read_bytes(), str(path))


async def test_an_address_that_is_taken_is_told(make: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        network = make(0, p2p_port=taken.getsockname()[1])
        with pytest.raises(AddressUnusable) as refused:
            await network.start(lambda _: None)
        await network.stop()
    assert refused.value.code == "p2p.address_unusable"
    assert "p2p_port" in refused.value.sentence
