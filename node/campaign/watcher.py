"""Follows every node while the campaign runs: its height over time, its headers, its memory."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from node.campaign.chain_record import ChainRecord
from node.campaign.findings import Findings
from node.campaign.member import Member
from node.client import ClientError, Refused
from node.client.protocol import Call
from node.rpc.backend import NodeStatus
from node.rpc.methods import HeaderView
from state.errors import NotFound

LOOK_SECONDS = 0.25
HEADERS_AT_ONCE = 128
FRESH_SECONDS = 1.5
STAND_SECONDS_MAX = 60.0
"""So long a block may take until nobody waits for the next one."""


@dataclass(slots=True)
class Sight:
    """What was seen of one node."""

    heights: list[tuple[float, int | None]] = field(default_factory=list)
    """Seconds since the beginning, and the final height; None where it did not answer."""
    rss_mb_first: float = 0.0
    rss_mb_max: float = 0.0
    peers: int = 0
    height: int = 0
    seen_at: float = 0.0


class Watcher:
    """Looks at all nodes a few times a second, until cancelled."""

    def __init__(self, members: Sequence[Member], findings: Findings) -> None:
        self.chain = ChainRecord(findings)
        self.sights = {member.index: Sight() for member in members}
        self.lag_seconds_max = 0.0
        """How late this process itself woke up at worst: what the machine's load costs."""
        self.top = 0
        self.rises: list[float] = []
        """When the highest height rose, by the monotonic clock."""
        self._risen = asyncio.Event()
        self._members = members
        self._findings = findings

    async def run(self) -> None:
        """Follow all nodes until cancelled."""
        await asyncio.gather(*[self._follow(member) for member in self._members], self._feel_lag())

    async def reach(self, height: int) -> bool:
        """Wait until some node has a block of this height final; False when the chain stands."""
        while self.top < height:
            self._risen.clear()
            try:
                await asyncio.wait_for(self._risen.wait(), STAND_SECONDS_MAX)
            except TimeoutError:
                return False
        return True

    def stood_seconds(self, since: float, until: float) -> float:
        """Return the longest that the highest height stood still between two moments."""
        rises = [rise for rise in self.rises if since < rise < until]
        return max([later - before for before, later in pairwise([since, *rises, until])])

    async def look(self, member: Member) -> NodeStatus | None:
        """Ask a node where it is, and hold what it says against all others."""
        sight = self.sights[member.index]
        try:
            status = await member.client.status()
        except ClientError:
            sight.heights.append((self._findings.now(), None))
            return None
        height = status.finalized_height
        sight.height, sight.peers, sight.seen_at = height, status.peers, time.monotonic()
        sight.heights.append((self._findings.now(), height))
        memory = member.identity.rss_mb if member.identity is not None else None
        if memory is not None:
            sight.rss_mb_first = sight.rss_mb_first or memory
            sight.rss_mb_max = max(sight.rss_mb_max, memory)
        if height > self.top:
            self.top = height
            self.rises.append(time.monotonic())
            self._risen.set()
        self.chain.head(member.index, height, status.block_id, status.state_root)
        return status

    async def read_headers(self, member: Member, height: int) -> None:
        """Read the headers of a node that it has not told yet, some at once.

        Those that it does not have are passed over; raises ClientError for any other refusal.
        """
        first = self.chain.next_of(member.index)
        wanted = range(first, min(height, first + HEADERS_AT_ONCE - 1) + 1)
        calls: list[Call] = [("chain.header", {"height": each}) for each in wanted]
        for each, view in zip(wanted, await member.client.query_many(calls), strict=True):
            if isinstance(view, HeaderView):
                header = view.header
                self.chain.header(
                    member.index, each, view.block_id, header.time_ms, header.state_root
                )
                continue
            assert isinstance(view, Refused), "a header or a refusal"
            if view.code != NotFound.code:
                raise view
            self.chain.skip(member.index, each)

    async def _follow(self, member: Member) -> None:
        while True:
            status = await self.look(member) if member.is_up else None
            if not member.is_up:
                self.sights[member.index].heights.append((self._findings.now(), None))
            if status is not None:
                await self._catch_up(member, status.finalized_height)
            await asyncio.sleep(LOOK_SECONDS)

    async def _catch_up(self, member: Member, height: int) -> None:
        try:
            while self.chain.next_of(member.index) <= height:
                await self.read_headers(member, height)
        except ClientError:
            return  # it was ended meanwhile, or hangs: the next look tells

    async def _feel_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOK_SECONDS)
            late = time.monotonic() - before - LOOK_SECONDS
            self.lag_seconds_max = max(self.lag_seconds_max, late)
