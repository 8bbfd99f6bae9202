"""The node under attack, one of four validators in processes of their own, and how it is watched.

While strangers do their worst it must keep its honest peers, go on finalizing, hold its memory
below a stated bound, and give every file handle back.
"""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.client import Account, SaharaClient, Unreachable
from node.devnet.process import NodeGroup, NodeProcess, NodeWishes, start_nodes
from node.home import NODE_KEY
from node.keystore import key_info
from p2p.addresses import Address
from state.genesis import Allocation

PAYER = Account.from_seed(b"p" * 32)
RSS_MB_MAX = 256
"""What a node may hold at its worst moment, whatever one attack does for seconds or minutes."""
HANDLES_SPARE = 12
"""Handles that a node may have more than before: files of the database, clients of this test."""
HANDLES = (1_024, 1_024)
"""What a system gives a process unless somebody asks for more."""
BLOCKS_AFTER = 3
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Wishes(NodeWishes):
    """The devnet's pace, with the seats for one address that a node on the internet has."""

    def settings(self) -> dict[str, object]:
        """The flags of every node."""
        return {**NodeWishes.settings(self), "--p2p-inbound-per-address-max": 4}


@dataclass(frozen=True, slots=True)
class Figures:
    """What an attack came to: blocks during it and afterwards, memory at its worst."""

    blocks_during: int
    blocks_per_s_after: float
    rss_mb_max: int
    handles: int


class Victim:
    """One node, and the network around it."""

    def __init__(self, group: NodeGroup, fallen: Sequence[NodeProcess] = ()) -> None:
        self.group = group
        self.node: NodeProcess = group.nodes[0]
        self.honest = {
            node_id_of(node) for node in group.nodes if node is not self.node and node not in fallen
        }
        """The nodes that it must keep as its peers, whatever others do."""
        self.genesis_hash: bytes = group.genesis_hash
        self.rpc = Address("127.0.0.1", int(self.node.url.rpartition(":")[2]))

    async def call(self, method: str, **arguments: Any) -> Any:
        """Ask the node by JSON-RPC."""
        async with SaharaClient(self.node.url, genesis_hash=self.genesis_hash) as client:
            return await client.call(method, **arguments)

    async def status(self) -> dict[str, Any]:
        """What it says of itself."""
        found: dict[str, Any] = await self.call("chain.status")
        return found

    async def is_reachable(self) -> bool:
        """Whether it has room for a client."""
        with suppress(Unreachable):
            return bool(await self.status())
        return False

    async def height(self) -> int:
        """Its last final height."""
        return int((await self.status())["finalized_height"])

    @property
    def p2p(self) -> Address:
        """Where its peers find it, from its own log."""
        lines = (self.node.home / "node.log").read_text().splitlines()
        told = next(line for line in lines if "listening" in line and "address=" in line)
        host, _, port = told.partition("address=")[2].split()[0].strip("\"'").rpartition(":")
        return Address(host, int(port))

    @property
    def node_id(self) -> bytes:
        """The name that it proves to its peers."""
        return bytes.fromhex(node_id_of(self.node))

    @property
    def handles(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.node.pid}/fd").iterdir()))

    @property
    def rss_mb_max(self) -> int:
        """Its resident memory at the worst moment since `forget_worst`."""
        lines = Path(f"/proc/{self.node.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1_024

    def forget_worst(self) -> None:
        """Measure the memory at the worst moment anew."""
        Path(f"/proc/{self.node.pid}/clear_refs").write_text("5")

    async def strangers(self) -> list[dict[str, Any]]:
        """Its peers that are not nodes of its own network."""
        return [one for one in await self.call("node.peers") if one["node_id"] not in self.honest]

    async def friends(self) -> list[dict[str, Any]]:
        """Its honest peers that it knows as validators."""
        peers = await self.call("node.peers")
        return [one for one in peers if one["node_id"] in self.honest and one["validator_key"]]

    async def until(self, is_so: Callable[[], Any], what: str) -> None:
        """Wait until something is so, and fail when it never is."""
        end = time.monotonic() + WAIT_S
        while not await is_so():
            assert time.monotonic() < end, what
            await asyncio.sleep(0.05)

    async def at_ease(self) -> None:
        """Wait until the honest nodes are its peers, each by a validator's announcement."""

        async def is_met() -> bool:
            return len(await self.friends()) == len(self.honest)

        await self.until(is_met, "the honest nodes never met")

    async def endures(self, attack: Callable[[], Awaitable[None]]) -> Figures:
        """Hold the node to everything that this file says, while it is attacked.

        The attack is repeated until a block has become final during it.
        """
        await self.at_ease()
        self.forget_worst()
        handles, height, began = self.handles, await self.height(), time.monotonic()
        during = 0
        while not during:
            await attack()
            await self.until(self.is_reachable, "its RPC server does not come back")
            during = await self.height() - height
            assert during or time.monotonic() < began + WAIT_S, "it stopped finalizing"
        friends = await self.friends()
        assert len(friends) == len(self.honest), "an honest peer is gone"
        lasted_ms = min(one["connected_ms"] for one in friends)
        assert lasted_ms >= (time.monotonic() - began) * 1_000 - 500, "an honest peer was dropped"
        goal, since = await self.height() + BLOCKS_AFTER, time.monotonic()

        async def is_there() -> bool:
            return await self.height() >= goal

        async def is_tidy() -> bool:
            return self.handles <= handles + HANDLES_SPARE and not await self.strangers()

        await self.until(is_there, "it does not go on")
        pace = round(BLOCKS_AFTER / (time.monotonic() - since), 1)
        await self.until(is_tidy, "strangers' handles or seats are not given back")
        assert self.rss_mb_max <= RSS_MB_MAX, f"{self.rss_mb_max} MB at the worst moment"
        return Figures(during, pace, self.rss_mb_max, self.handles - handles)


def node_id_of(node: NodeProcess) -> str:
    """The name that a node proves to its peers, as JSON has it."""
    return key_info(node.home, NODE_KEY).public_key.hex()


@asynccontextmanager
async def network(
    homes: Sequence[Path], flags: Mapping[str, object] | None = None
) -> AsyncIterator[NodeGroup]:
    """Validators in processes of their own, stopped at the end."""
    wishes = Wishes([Allocation(PAYER.address, 10**15)], flags=flags or {})
    group = await start_nodes(homes, wishes)
    for node in group.nodes:
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, HANDLES)
    try:
        yield group
    finally:
        await group.stop()


__all__ = ["PAYER", "Figures", "Unreachable", "Victim", "network"]
