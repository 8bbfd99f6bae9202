"""The client of several nodes: which one it asks, and what it does when that one goes away."""

import asyncio
from typing import Any

import pytest

from node.client import Refused, RoamingClient, Unreachable
from node.rpc.backend import Stage
from state.block import Status
from state.modules.bank import Transfer

NOWHERE = "http://127.0.0.1:1"


async def test_another_node_answers_when_one_does_not(memory_node: Any, serve: Any) -> None:
    async with (
        serve(memory_node) as url,
        RoamingClient(lambda: [NOWHERE, url], genesis_hash=memory_node.genesis.hash) as client,
    ):
        statuses = await asyncio.gather(*[client.status() for _ in range(5)])
        assert {status.height for status in statuses} == {1}
        assert client.url == url


async def test_the_node_that_is_ahead_is_chosen(make_node: Any, serve: Any) -> None:
    behind, ahead = make_node(), make_node()
    ahead.step()
    async with (
        serve(behind) as first,
        serve(ahead) as other,
        RoamingClient(lambda: [first, other, NOWHERE], genesis_hash=behind.genesis.hash) as client,
    ):
        assert client.url == first
        await client.choose()
        assert client.url == other


async def test_what_a_node_took_with_it_is_sent_to_another(make_node: Any, serve: Any) -> None:
    lost, other = make_node(), make_node()
    lost.automatic = False
    alice, bob, _ = lost.accounts
    async with serve(other) as url:
        async with serve(lost) as lost_url:
            client = RoamingClient(lambda: [lost_url, url], genesis_hash=lost.genesis.hash)
            tx_id = await client.send(alice, Transfer(bob.address, 5))
            assert lost.transaction_status(tx_id).stage is Stage.PENDING
        async with client:
            status = await client.wait_final(tx_id)
    assert status.outcome is not None and status.outcome.status is Status.OK
    assert other.transaction_status(tx_id).stage is Stage.FINAL


async def test_what_it_did_not_build_is_not_sent_again(memory_node: Any, serve: Any) -> None:
    async with (
        serve(memory_node) as url,
        RoamingClient(lambda: [url], genesis_hash=memory_node.genesis.hash) as client,
    ):
        with pytest.raises(Refused) as refused:
            await client.wait_final(b"\x07" * 32)
    assert refused.value.code == "state.not_found"


async def test_waiting_for_a_node_ends() -> None:
    client = RoamingClient(lambda: [NOWHERE], genesis_hash=bytes(32), away_seconds_max=0.5)
    async with client:
        with pytest.raises(Unreachable):
            await client.status()
        with pytest.raises(Unreachable, match="None of the network's nodes answers"):
            await client.choose()
