"""A devnet at a glance, asked from any terminal: its processes, their chains, their last roots."""

import asyncio
from pathlib import Path

import msgspec

from node.client import ClientError, SaharaClient
from node.client.protocol import Call
from node.devnet.control import not_running
from node.devnet.state_file import DevnetState, NodeEntry, read_state
from node.rpc.backend import NodeStatus
from node.rpc.methods import HeaderView
from state.types import Hash

ROOTS_MAX = 16
ANSWER_SECONDS_MAX = 3.0


class NodeRow(msgspec.Struct, frozen=True):
    """One node; what it would have to tell itself is null while it does not answer."""

    index: int
    phase: str
    pid: int | None
    home: str
    rpc: str
    restarts: int
    rss_mb: float | None
    height: int | None = None
    finalized_height: int | None = None
    state_root: str | None = None
    """After the block at finalized_height."""
    roots: dict[str, str] = {}
    """State root by height, of the last final heights."""
    peers: int | None = None
    mode: str | None = None
    """How it takes part: see node.rpc.backend.NodeStatus."""


class Overview(msgspec.Struct, frozen=True):
    """The whole devnet."""

    supervisor_pid: int
    genesis_hash: str
    nodes: list[NodeRow]


def running_state(folder: Path) -> DevnetState:
    """Return what the supervisor of a folder wrote; raises DevnetNotRunning, DevnetMissing."""
    state = read_state(folder)
    if not state.supervisor.lives:
        raise not_running(folder)
    return state


async def overview(folder: Path) -> Overview:
    """Ask every node of a devnet; raises DevnetNotRunning, DevnetMissing."""
    state = running_state(folder)
    genesis_hash = bytes.fromhex(state.genesis_hash)
    rows = await asyncio.gather(*(row_of(node, genesis_hash) for node in state.nodes))
    return Overview(state.supervisor.pid, state.genesis_hash, list(rows))


async def row_of(node: NodeEntry, genesis_hash: Hash) -> NodeRow:
    """Ask one node."""
    lives = node.process is not None and node.process.lives
    row = NodeRow(
        index=node.index,
        phase=node.phase,
        pid=node.process.pid if lives and node.process is not None else None,
        home=node.home,
        rpc=node.rpc,
        restarts=node.restarts,
        rss_mb=None if node.process is None else node.process.rss_mb,
    )
    if not lives:
        return row
    try:
        async with SaharaClient(
            node.rpc, genesis_hash=genesis_hash, timeout_seconds=ANSWER_SECONDS_MAX
        ) as client:
            status = await client.status()
            roots = await roots_below(client, status)
    except ClientError:
        return row  # it starts, is stopped, or hangs: its process is there all the same
    return msgspec.structs.replace(
        row,
        height=status.height,
        finalized_height=status.finalized_height,
        state_root=status.state_root.hex(),
        roots=roots,
        peers=status.peers,
        mode=status.mode,
    )


async def roots_below(client: SaharaClient, status: NodeStatus) -> dict[str, str]:
    """Return the roots after the last final heights; the header above a block has its root."""
    last = status.finalized_height
    heights = range(max(0, last - ROOTS_MAX + 1), last)
    calls: list[Call] = [("chain.header", {"height": height + 1}) for height in heights]
    headers = await client.query_many(calls)
    roots = {
        str(height): view.header.state_root.hex()
        for height, view in zip(heights, headers, strict=True)
        if isinstance(view, HeaderView)
    }
    return {**roots, str(last): status.state_root.hex()}
