"""The node behind its RPC server: what happens to a transaction, and what can be proven."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from node import backend as backend_module
from node.backend import AlreadyFinal, FeedBroken
from node.client import trust_in, verify_outcome_proof, verify_state_proof
from node.mempool import AlreadyPending
from node.rpc.backend import Stage
from state.block import Status
from state.codec import encode
from state.errors import Malformed, NotFound
from state.execute import Expired
from state.modules.bank import BALANCES, Balance, Transfer
from state.modules.chain import NonceUsed
from state.transaction import BadSignature, KeySignature, assemble
from state.types import NATIVE

Make = Callable[..., Any]
RECIPIENT = b"r" * 20
KEY = BALANCES.key((RECIPIENT, NATIVE))


async def test_a_transaction_from_pending_to_final(local_node: Make) -> None:
    node = local_node()
    backend = node.backend
    wire = node.chain.wire(0, 1, Transfer(RECIPIENT, 5))
    tx_id = await backend.submit(wire)
    assert backend.transaction_status(tx_id).stage is Stage.PENDING
    assert backend.status().mempool_transactions == 1
    with pytest.raises(AlreadyPending):
        await backend.submit(wire)
    node.host.start()
    await node.until(lambda: len(node.mempool) == 0)
    found = backend.transaction_status(tx_id)
    assert (found.stage, found.height, found.index) == (Stage.FINAL, 1, 0)
    assert found.outcome is not None
    assert found.outcome.status is Status.OK
    with pytest.raises(AlreadyFinal):
        await backend.submit(wire)
    with pytest.raises(NonceUsed):
        await backend.submit(node.chain.wire(0, 1, Transfer(RECIPIENT, 6)))
    record = backend.block(1)
    assert record.transactions == (wire,)
    assert record.outcomes == (found.outcome,)


async def test_the_last_valid_height_is_that_of_the_block_with_the_transaction(
    local_node: Make,
) -> None:
    """Valid until height 1 means in block 1; only the proof speaks of the header after it."""
    node = local_node(busy_ms=50, idle_ms=50)
    backend = node.backend
    last = node.chain.wire(0, 1, Transfer(RECIPIENT, 5), until=1)
    tx_id = await backend.submit(last)
    node.host.start()
    await node.until(lambda: node.height >= 2)
    found = backend.transaction_status(tx_id)
    assert (found.stage, found.height) == (Stage.FINAL, 1)
    assert found.outcome is not None and found.outcome.status is Status.OK
    assert backend.block(1).transactions == (last,) and backend.block(2).transactions == ()
    proof = backend.prove_outcome(1, 0)
    assert (proof.height, proof.header.height) == (1, 2)
    over = node.chain.wire(0, 2, Transfer(RECIPIENT, 5), until=node.height)
    with pytest.raises(Expired, match=f"until height {node.height} and the next block"):
        await backend.submit(over)


async def test_proofs_lead_to_a_final_header(local_node: Make) -> None:
    node = local_node(busy_ms=50, idle_ms=50)
    backend, genesis = node.backend, node.chain.genesis
    trusted = trust_in(genesis)
    with pytest.raises(NotFound):
        backend.prove_state(KEY)
    await backend.submit(node.chain.wire(0, 1, Transfer(RECIPIENT, 5)))
    node.host.start()
    await node.has_committed()
    assert verify_state_proof(backend.prove_state(KEY), trusted) is None
    with pytest.raises(NotFound):
        backend.prove_outcome(1, 0)
    await node.until(lambda: node.height >= 2)
    row = verify_state_proof(backend.prove_state(KEY), trusted)
    assert row == encode(Balance(5))
    leaf = verify_outcome_proof(backend.prove_outcome(1, 0), trusted)
    assert leaf == encode(backend.block(1).outcomes[0])
    for height, index in ((1, 99), (1, -1), (10**6, 0)):
        with pytest.raises(NotFound):
            backend.prove_outcome(height, index)


async def test_what_is_refused_leaves_no_trace(local_node: Make) -> None:
    node = local_node()
    honest = node.chain.transaction(0, 1)
    foreign = KeySignature(node.chain.accounts[1].public_key, bytes(64))
    forged = KeySignature(node.chain.accounts[0].public_key, bytes(63) + b"\1")
    cases = [
        (b"", Malformed),
        (honest.wire + b"\0", Malformed),
        (assemble(honest.body, (foreign,)), BadSignature),
        (assemble(honest.body, (forged,)), BadSignature),
    ]
    for wire, error in cases:
        with pytest.raises(error):
            await node.backend.submit(wire)
        with pytest.raises(error):
            node.backend.simulate(wire)
    with pytest.raises(NotFound, match="check the id, or send it"):
        node.backend.transaction_status(honest.id)
    node.chain_store.begin_at(7)
    with pytest.raises(NotFound, match=r"from 7 on.* Ask an archive node"):  # or it is paid twice
        node.backend.transaction_status(honest.id)
    node.chain_store.begin_at(1)
    assert node.backend.status().mempool_bytes == 0
    assert await node.backend.submit(honest.wire) == honest.id


async def test_two_that_arrive_together_and_only_one_may_stay(local_node: Make) -> None:
    """Both pass the first check; the second look, after verification, tells them apart."""
    node = local_node()
    one, other = (node.chain.wire(0, 1, Transfer(RECIPIENT, amount)) for amount in (1, 2))
    found = await asyncio.gather(
        *[node.backend.submit(wire) for wire in (one, other, one)], return_exceptions=True
    )
    assert [isinstance(each, bytes) for each in found] == [True, False, False]
    assert [getattr(each, "code", "") for each in found[1:]] == [
        "mempool.nonce_taken",
        "mempool.already_pending",
    ]


async def test_who_was_dropped_is_told_why(
    local_node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "DROPPED_KEPT_MAX", 2)
    node = local_node()
    ids = [await node.backend.submit(node.chain.wire(0, 1, fee_max=500))]
    for percent in (120, 150, 200):
        wire = node.chain.wire(0, 1, fee_max=5 * percent)
        ids.append(await node.backend.submit(wire))
    assert node.backend.transaction_status(ids[-1]).stage is Stage.PENDING
    for tx_id in ids[1:3]:
        status = node.backend.transaction_status(tx_id)
        assert status.stage is Stage.DROPPED
        assert str(status.reason).startswith("mempool.replaced")
    with pytest.raises(NotFound):
        node.backend.transaction_status(ids[0])


async def test_simulation_is_what_will_happen(local_node: Make) -> None:
    node = local_node()
    wire = node.chain.wire(0, 1, Transfer(RECIPIENT, 5))
    expected = node.backend.simulate(wire)
    tx_id = await node.backend.submit(wire)
    node.host.start()
    await node.has_committed()
    assert node.backend.transaction_status(tx_id).outcome == expected


async def test_the_feed_has_every_block_once(local_node: Make) -> None:
    node = local_node()
    feed = node.backend.blocks()
    following = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    node.host.start()
    async with asyncio.timeout(10):
        heights = [(await following).header.height]
        while len(heights) < 5:
            heights.append((await anext(feed)).header.height)
    assert heights == [1, 2, 3, 4, 5]
    await feed.aclose()


async def test_a_feed_that_nobody_reads_is_cut_off(
    local_node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "FEED_BLOCKS_MAX", 3)
    node = local_node()
    feed = node.backend.blocks()
    following = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    node.host.start()
    assert (await asyncio.wait_for(following, 10)).header.height == 1
    await node.until(lambda: node.height >= 10)
    seen = 1
    with pytest.raises(FeedBroken):
        while seen < 10:
            assert (await asyncio.wait_for(anext(feed), 10)).header.height == seen + 1
            seen += 1
    assert seen <= 4


def test_what_there_is_not(local_node: Make) -> None:
    node = local_node()
    for height in (0, 1, 2**40):
        with pytest.raises(NotFound):
            node.backend.header(height)
        with pytest.raises(NotFound):
            node.backend.block(height)
    with pytest.raises(NotFound):
        node.backend.query("bank.nothing", {})
    assert node.backend.ready() is False
