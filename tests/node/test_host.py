"""The host: effects are carried out in order, and blocks come when they are due."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from consensus.inputs import ClockSet
from node import keeper as keeper_module
from node.application import CANDIDATES_KEPT
from node.client import trust_in, verify_finalization
from node.storage.kv import MemoryStore
from state.errors import InvariantBroken, Malformed
from state.modules import bank
from state.registry import Invariant

Make = Callable[..., Any]
HOUR_MS = 3_600_000


async def test_a_block_is_voted_for_before_it_is_final(local_node: Make) -> None:
    node = local_node(idle_ms=HOUR_MS)
    node.host.start()
    async with asyncio.timeout(1):
        await node.host.has_committed.wait()  # the first block does not wait
    assert node.steps == ["notarize", "execute", "tree", "finalize", "guard", "commit"]


async def test_blocks_come_by_themselves_and_light_clients_accept_them(local_node: Make) -> None:
    node = local_node()
    node.host.start()
    await node.until(lambda: node.height >= 5)
    trust = trust_in(node.chain.genesis)
    parent = node.chain_store.header(0)
    for height in range(1, 6):
        header, finalization = (
            node.backend.header(height),
            node.backend.finality(height).finalization,
        )
        verify_finalization(header, finalization, trust)
        assert header.parent_id == parent.block_id
        assert header.time_ms > parent.header.time_ms
        parent = node.chain_store.header(height)


async def test_a_transaction_does_not_wait_for_the_idle_interval(local_node: Make) -> None:
    node = local_node(idle_ms=HOUR_MS)
    node.host.start()
    await node.has_committed()
    tx_id = await node.backend.submit(node.chain.wire(0, 1))
    await node.until(lambda: node.height == 3)
    assert node.backend.transaction_status(tx_id).height == 2
    await asyncio.sleep(0.03)
    assert node.height == 3, "one empty block follows, and no more"


async def test_another_pace_and_impossible_ones(local_node: Make) -> None:
    node = local_node(idle_ms=HOUR_MS)
    node.host.start()
    for pace in ((0, 5), (6, 5)):
        with pytest.raises(Malformed):
            node.host.set_pacing(*pace)
    assert node.host.set_pacing(1, 2) is True
    await node.until(lambda: node.height >= 6)


async def test_after_stop_nothing_happens(local_node: Make) -> None:
    node = local_node()
    node.host.start()
    node.host.stop()
    height = node.height
    await asyncio.sleep(0.03)
    assert node.height == height


async def test_a_restart_goes_on_above_every_view(local_node: Make) -> None:
    store = MemoryStore()
    node = local_node(store=store)
    node.host.start()
    await node.until(lambda: node.height >= 3)
    node.stop()
    again = local_node(store=store)
    assert again.application.head == node.application.head
    again.host.start()
    await again.has_committed()
    head = again.application.head.header
    assert (head.height, head.parent_id) == (node.height + 1, node.application.head.block_id)
    assert head.view > node.application.head.header.view


async def test_what_breaks_in_a_block_reaches_the_loop(
    local_node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = local_node()
    broken = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: broken.set_result(context["exception"])
    )
    node.host.start()
    told = Invariant("bank.told", lambda _: "It does not hold.", True)
    monkeypatch.setattr(bank.MODULE, "invariants", [told])
    error = await asyncio.wait_for(broken, 10)
    assert isinstance(error, InvariantBroken)
    height = node.height
    await asyncio.sleep(0.03)
    assert node.height == height, "the node does not try again"


async def test_the_guard_forgets_what_lies_below_final_blocks(
    local_node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "FLOOR_VIEWS", 2)
    node = local_node()
    node.host.start()
    await node.until(lambda: node.height >= 4)
    floors = [step for step in node.steps if step.startswith("floor")]
    assert floors[:2] == ["floor 0:3", "floor 0:5"]


async def test_what_consensus_has_given_up_is_forgotten_without_a_commit(local_node: Make) -> None:
    node = local_node(idle_ms=HOUR_MS)
    node.host.start()
    async with asyncio.timeout(5):
        await node.host.has_committed.wait()
    for view in range(100, 100 + 2 * CANDIDATES_KEPT):
        node.chain.propose(node.application, view=view)
    node.host.feed(ClockSet(0, 0))
    assert node.height == 1
    assert node.application.unfinal_count == 0


async def test_a_step_ends_however_long_it_takes(
    local_node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time stands still in a step; else blocks that fall due while it runs would never end it."""
    node = local_node(busy_ms=0, idle_ms=HOUR_MS)
    honest = node.application.commit

    def slow(*arguments: Any) -> Any:
        time.sleep(0.005)
        return honest(*arguments)

    monkeypatch.setattr(node.application, "commit", slow)
    for nonce in range(1, 6):
        await node.backend.submit(node.chain.wire(0, nonce))
    node.host.start()
    async with asyncio.timeout(5):
        await node.host.has_committed.wait()
        await asyncio.sleep(0.1)
    assert node.height == 2, "the block, and an empty one after it"
