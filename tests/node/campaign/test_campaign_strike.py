"""When a network has recovered, when it is late, and when it stands though it need not."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.campaign import strike
from node.campaign.findings import Findings
from node.campaign.ledger import Ledger
from node.campaign.plan import Blow, Kind
from node.campaign.strike import BEHIND_MAX, Striker
from node.campaign.watcher import Watcher


class Still:
    """A member that is up and does nothing."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.is_up = True
        self.seat = SimpleNamespace(home=Path(f"node-{index}"))
        self.client = None

    async def stop(self) -> None:
        """End, and be startable again at once."""

    async def start(self) -> None:
        """Start."""


class World:
    """Four members and what a watcher saw of them; a test moves them."""

    def __init__(self, recovery_seconds_max: float = 20.0) -> None:
        self.findings = Findings()
        self.members: list[Any] = [Still(index) for index in range(4)]
        self.watcher = Watcher(self.members, self.findings)
        ledger = Ledger(self.findings, 2)
        self.striker = Striker(
            self.members, self.watcher, ledger, self.findings, None, recovery_seconds_max
        )
        self.see([10, 10, 10, 10])

    def see(self, heights: list[int]) -> None:
        for index, height in enumerate(heights):
            sight = self.watcher.sights[index]
            sight.height, sight.seen_at = height, time.monotonic()
        self.watcher.top = max(heights)

    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings.found]


async def recovery(world: World, heights: list[int]) -> float | None:
    """Wait for a recovery while the watcher sees these heights."""
    waiting = asyncio.ensure_future(world.striker.recovered("test"))
    while not waiting.done():
        await asyncio.sleep(0.01)
        world.see(heights)
    return waiting.result()


async def test_recovered_is_who_is_close_to_the_highest_and_rises() -> None:
    world = World()
    assert await recovery(world, [20, 20, 20, 20 - BEHIND_MAX]) is not None
    assert world.codes() == []


@pytest.mark.parametrize("heights", [[20, 20, 20, 19 - BEHIND_MAX], [10, 10, 10, 10]])
async def test_who_stays_behind_or_stands_has_not_recovered(
    heights: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strike, "GIVE_UP_SECONDS", 0.5)
    world = World()
    assert await recovery(world, heights) is None
    assert world.codes() == ["campaign.not_recovered"]


async def test_late_is_told_from_never() -> None:
    world = World(recovery_seconds_max=0.0)
    assert await recovery(world, [20] * 4) is not None
    assert world.codes() == ["campaign.not_recovered"]


async def test_nobody_waits_for_a_node_that_has_ended_by_itself() -> None:
    world = World()
    world.members[2].is_up = False
    began = time.monotonic()
    assert await recovery(world, [10] * 4) is None
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(("nodes", "stalls"), [((1,), True), ((0, 1), False)])
async def test_a_chain_stands_only_while_a_quorum_is_away(
    nodes: tuple[int, ...], stalls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody_is_jailed(*_: object) -> None:
        return None

    monkeypatch.setattr(strike, "STALL_SECONDS_MAX", 0.01)
    monkeypatch.setattr(strike, "release", nobody_is_jailed)
    world = World()
    blow = Blow(Kind.RESTART, nodes, 0.02, 0.0)
    waiting = asyncio.ensure_future(world.striker.strike(blow))
    await asyncio.sleep(0.05)
    while not waiting.done():
        world.see([20] * 4)
        await asyncio.sleep(0.01)
    assert waiting.result()
    assert world.codes() == ["campaign.stalled"] * stalls
    assert [one.kind for one in world.striker.strikes] == ["restart"]
    assert world.striker.is_quiet
