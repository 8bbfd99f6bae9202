"""When a network has recovered, when it is late, and when it stands though it need not."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.campaign import strike
from node.campaign.findings import Findings
from node.campaign.ledger import Ledger
from node.campaign.member import SNAPSHOT_SURE_HEIGHT
from node.campaign.plan import Blow, Kind
from node.campaign.strike import BEHIND_MAX, Striker
from node.campaign.switch import Carried
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

    async def kill(self) -> None:
        """End as well."""

    def wipe(self) -> None:
        """Lose nothing, for there is nothing."""

    async def start(self) -> None:
        """Start."""


class Cutting:
    """A switch that holds some packets back while a cut lasts."""

    def __init__(self) -> None:
        self.held_back_each = 3
        self._carried = Carried(0, 0, 0)

    async def cut(self, pairs: Sequence[tuple[int, int]]) -> Carried:
        """Cut, or heal."""
        if not pairs:
            total = self._carried.lost_by_cuts + self.held_back_each
            self._carried = Carried(10, total, total)
        return self._carried


class World:
    """Four members and what a watcher saw of them; a test moves them."""

    def __init__(self, recovery_seconds_max: float = 20.0) -> None:
        self.findings = Findings()
        self.members: list[Any] = [Still(index) for index in range(4)]
        self.watcher = Watcher(self.members, self.findings)
        ledger = Ledger(self.findings, 2)
        self.switch: Any = Cutting()
        self.striker = Striker(
            self.members, self.watcher, ledger, self.findings, self.switch, recovery_seconds_max
        )
        self.see([10, 10, 10, 10])

    def see(self, heights: list[int]) -> None:
        for index, height in enumerate(heights):
            sight = self.watcher.sights[index]
            sight.height, sight.seen_at = height, time.monotonic()
        if max(heights) > self.watcher.top:
            self.watcher.rises.append(time.monotonic())
        self.watcher.top = max(heights)

    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings.found]


async def recovery(world: World, heights: list[int], *, grows: bool = True) -> float | None:
    """Wait for a recovery while the watcher sees these heights, and a block more with each look."""
    waiting = asyncio.ensure_future(world.striker.recovered("test"))
    blocks = 0
    while not waiting.done():
        await asyncio.sleep(0.01)
        world.see([height + blocks for height in heights])
        blocks += grows
    return waiting.result()


async def test_recovered_is_who_is_close_to_the_highest_and_rises() -> None:
    world = World()
    assert await recovery(world, [20, 20, 20, 20 - BEHIND_MAX]) is not None
    assert world.codes() == []


@pytest.mark.parametrize(
    ("heights", "grows"),
    [([20, 20, 20, 19 - BEHIND_MAX], True), ([10] * 4, False), ([11] * 4, False)],
)
async def test_who_stays_behind_or_stands_has_not_recovered(
    heights: list[int], grows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain that stands at 11 has not grown, though 10 was all that was seen of it before."""
    monkeypatch.setattr(strike, "GIVE_UP_SECONDS", 0.5)
    world = World()
    assert await recovery(world, heights, grows=grows) is None
    assert world.codes() == ["campaign.not_recovered"]


async def test_late_is_told_from_never() -> None:
    world = World(recovery_seconds_max=0.0)
    assert await recovery(world, [20] * 4) is not None
    assert world.codes() == ["campaign.not_recovered"]


@pytest.mark.parametrize(("behind", "late"), [(2, False), (0, True)])
async def test_only_who_was_wiped_may_take_longer(
    behind: int, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node stays behind for longer than others may, and not longer than a wiped one may."""
    world = World(recovery_seconds_max=1.0)
    monkeypatch.setattr(strike, "WIPED_TIMES", 100)
    monkeypatch.setattr(strike, "POLL_SECONDS", 0.01)
    waiting = asyncio.ensure_future(world.striker.recovered("test", [2]))
    began, height = time.monotonic(), 20
    while not waiting.done():
        height += 1
        heights = [height] * 4
        if time.monotonic() < began + 1.5:
            heights[behind] = 5
        world.see(heights)
        await asyncio.sleep(0.01)
    assert (waiting.result() or 0.0) >= 1.5
    assert world.codes() == ["campaign.not_recovered"] * late


async def test_nobody_waits_for_a_node_that_has_ended_by_itself() -> None:
    world = World()
    world.members[2].is_up = False
    began = time.monotonic()
    assert await recovery(world, [10] * 4) is None
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    ("nodes", "rises", "stalls"),
    [((1,), 0, True), ((1,), 1, True), ((1,), 99, False), ((0, 1), 0, False)],
)
async def test_a_chain_stands_only_while_a_quorum_is_away(
    nodes: tuple[int, ...], rises: int, stalls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last block that was under way when a failure began does not hide that no more came."""

    async def nobody_is_jailed(*_: object) -> None:
        return None

    monkeypatch.setattr(strike, "STALL_SECONDS_MAX", 0.5)
    monkeypatch.setattr(strike, "release", nobody_is_jailed)
    world = World()
    blow = Blow(Kind.RESTART, nodes, 0.8, 0.0)
    waiting = asyncio.ensure_future(world.striker.strike(blow))
    height, struck = 10, time.monotonic()
    while not waiting.done():
        await asyncio.sleep(0.01)
        is_over = time.monotonic() > struck + 0.85
        if is_over or height < 10 + rises:
            height += 1
        world.see([height] * 4)
    assert waiting.result()
    assert world.codes() == ["campaign.stalled"] * stalls
    assert [one.kind for one in world.striker.strikes] == ["restart"]
    assert world.striker.is_quiet


async def struck(world: World, blow: Blow) -> None:
    """Carry out a failure over a chain that goes on."""
    waiting = asyncio.ensure_future(world.striker.strike(blow))
    height = world.watcher.top
    while not waiting.done():
        await asyncio.sleep(0.01)
        height += 1
        world.see([height] * 4)
    assert waiting.result()


@pytest.mark.parametrize("held_back", [0, 3])
async def test_a_cut_that_cuts_nothing_is_found(
    held_back: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody_is_jailed(*_: object) -> None:
        return None

    monkeypatch.setattr(strike, "release", nobody_is_jailed)
    world = World()
    for each in (5, held_back):
        world.switch.held_back_each = each
        await struck(world, Blow(Kind.SPLIT, (0, 1), 0.02, 0.0, ((0, 2), (2, 0))))
    assert world.codes() == ["campaign.not_cut"] * (not held_back)


@pytest.mark.parametrize(
    ("height", "lowest", "found"),
    [
        (SNAPSHOT_SURE_HEIGHT, 1, ["campaign.no_snapshot"]),
        (SNAPSHOT_SURE_HEIGHT, 101, []),
        (SNAPSHOT_SURE_HEIGHT - 1, 1, []),
    ],
)
async def test_who_lost_its_disk_begins_with_a_snapshot_where_there_is_one(
    height: int, lowest: int, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody_is_jailed(*_: object) -> None:
        return None

    async def votes(*_: object) -> bool:
        return True

    monkeypatch.setattr(strike, "release", nobody_is_jailed)
    monkeypatch.setattr(Striker, "_votes", votes)
    world = World()
    world.see([height] * 4)
    status = SimpleNamespace(lowest_height=lowest)
    world.members[2].client = SimpleNamespace(status=lambda: told_later(status))
    await struck(world, Blow(Kind.WIPE, (2,), 0.02, 0.0))
    assert world.codes() == found


async def test_a_watcher_notes_when_the_highest_height_rises() -> None:
    world = World()
    watcher = Watcher(world.members, world.findings)
    began = time.monotonic()
    for index, height in ((0, 1), (1, 1), (2, 3), (0, 2)):
        status = SimpleNamespace(
            finalized_height=height, peers=3, block_id=bytes(32), state_root=bytes(32)
        )
        world.members[index].client = SimpleNamespace(status=lambda told=status: told_later(told))
        world.members[index].identity = None
        await watcher.look(world.members[index])
    assert watcher.top == 3 and len(watcher.rises) == 2
    watcher.rises = [began - 1.0, began + 1.0, began + 4.0, began + 9.0]
    assert watcher.stood_seconds(began, began + 5.0) == pytest.approx(3.0)
    assert watcher.stood_seconds(began + 4.5, began + 8.5) == pytest.approx(4.0)


async def told_later(status: Any) -> Any:
    return status
