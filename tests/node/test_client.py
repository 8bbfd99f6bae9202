"""The client against a real server over a real chain in memory."""

import asyncio
import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from node.client import (
    Account,
    NotFinal,
    OutcomeNotOk,
    ProofInvalid,
    Refused,
    SaharaClient,
    SyncClient,
    Unreachable,
    WrongNetwork,
    asynchronous,
    trust_in,
    verify_outcome_proof,
    verify_state_proof,
)
from node.rpc import server
from node.rpc.backend import Stage
from state.block import Status
from state.codec import encode
from state.errors import Rejected
from state.modules import bank
from state.modules.bank import Balance, Transfer


async def test_a_transfer_becomes_final(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    async with serve(memory_node) as url, SaharaClient(url) as client:
        before = await client.query("bank.balance", address=bob.address)
        status = await client.execute(alice, Transfer(bob.address, 5))
        after = await client.query("bank.balance", address=bob.address)
    assert status.stage is Stage.FINAL and status.outcome.status is Status.OK
    assert isinstance(after, Balance) and after.amount == before.amount + 5


async def test_concurrent_sends_share_no_nonce(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    async with serve(memory_node) as url, SaharaClient(url) as client:
        ids = await asyncio.gather(
            *[client.send(alice, Transfer(bob.address, 1)) for _ in range(300)]
        )
        statuses = await client.wait_final_many(ids)
    assert len(set(ids)) == 300
    assert all(status.outcome.status is Status.OK for status in statuses)


async def test_a_refused_transaction_gives_its_nonce_back(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    async with serve(memory_node) as url, SaharaClient(url) as client:
        with pytest.raises(Refused) as refused:
            await client.send(alice, Transfer(bob.address, 5), fee_max=1)
        status = await client.execute(alice, Transfer(bob.address, 5))
    assert refused.value.code == "tx.fee_too_low"
    assert memory_node.query("chain.account", {"address": alice.address}).nonce_high == 1
    assert status.outcome.status is Status.OK


async def test_a_fee_of_nothing_is_kept_as_nothing(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    async with serve(memory_node) as url, SaharaClient(url) as client:
        with pytest.raises(Refused) as refused:
            await client.send(alice, Transfer(bob.address, 5), fee_max=0)
    assert refused.value.code == "tx.fee_too_low"


class NoRoom(Rejected):
    code = "mempool.sender_full"


async def test_sending_waits_for_room(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    admit, refusals = memory_node.submit, []

    async def submit(wire: bytes) -> bytes:
        if len(refusals) < 3:
            refusals.append(wire)
            raise NoRoom("The account has too many transactions pending.")
        return await admit(wire)

    memory_node.submit = submit
    async with serve(memory_node) as url, SaharaClient(url) as client:
        status = await client.execute(alice, Transfer(bob.address, 5))
        refusals.clear()
        with pytest.raises(Refused):
            await client.send(alice, Transfer(bob.address, 5), patience_seconds=0)
    assert status.outcome.status is Status.OK
    assert memory_node.query("chain.account", {"address": alice.address}).nonce_high == 1


async def test_two_senders_with_one_key_get_by(memory_node: Any, serve: Any) -> None:
    """Nonces that another program used are passed over."""
    alice, bob, _ = memory_node.accounts
    other = Account.from_seed(bytes([1]) * 32)
    assert other.address == alice.address
    async with serve(memory_node) as url, SaharaClient(url) as client:
        await client.execute(alice, Transfer(bob.address, 5))
        await client.execute(other, Transfer(bob.address, 5))
        status = await client.execute(alice, Transfer(bob.address, 5))
    assert status.outcome.status is Status.OK


async def test_a_failed_outcome_is_raised(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    async with serve(memory_node) as url, SaharaClient(url) as client:
        with pytest.raises(OutcomeNotOk) as failed:
            await client.execute(alice, Transfer(bob.address, 10**18))
    assert failed.value.code == "bank.insufficient_funds"
    assert failed.value.outcome.fee > 0


async def test_rows_and_absences_are_proven(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    async with serve(memory_node) as url, SaharaClient(url) as client:
        height = (await client.execute(alice, Transfer(bob.address, 5))).height
        asyncio.get_running_loop().call_later(0.01, memory_node.step)
        key = (bob.address, "sahara")
        row, proof = await client.prove_row(bank.BALANCES, key, at_least=height)
        nothing, absence = await client.prove_row(bank.BALANCES, (bob.address, "other"))
    assert row == Balance(memory_node.query("bank.balance", {"address": bob.address}).amount)
    assert nothing is None
    trusted = trust_in(memory_node.genesis)
    forged = [
        replace(proof, value=None),
        replace(absence, value=proof.value),
        replace(proof, value=encode(Balance(row.amount + 1))),
        replace(proof, height=proof.height - 1),
        replace(proof, proof=proof.proof[:-1]),
        replace(proof, key=absence.key),
        replace(proof, header=replace(proof.header, state_root=bytes(32))),
        replace(proof, finalization=memory_node.records[0].finalization),
    ]
    verify_state_proof(proof, trusted)
    for forgery in forged:
        with pytest.raises(ProofInvalid):
            verify_state_proof(forgery, trusted)
    with pytest.raises(ProofInvalid):
        verify_state_proof(proof, dataclasses.replace(trusted, validators=()))
    with pytest.raises(ProofInvalid):
        verify_state_proof(proof, dataclasses.replace(trusted, genesis_hash=bytes(32)))


async def test_outcomes_are_proven(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    async with serve(memory_node) as url, SaharaClient(url) as client:
        memory_node.automatic = False
        ids = [await client.send(alice, Transfer(bob.address, 5)) for _ in range(5)]
        memory_node.step()
        with pytest.raises(NotFinal):
            await client.prove_outcome(ids[3], timeout_seconds=0.02)
        memory_node.step()
        outcome, proof = await client.prove_outcome(ids[3])
    assert outcome.tx_id == ids[3] and outcome.status is Status.OK
    trusted = trust_in(memory_node.genesis)
    for forgery in (replace(proof, index=2), replace(proof, leaf=proof.leaf[:-1])):
        with pytest.raises(ProofInvalid):
            verify_outcome_proof(forgery, trusted)


async def test_waiting_ends(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    memory_node.automatic = False
    async with serve(memory_node) as url, SaharaClient(url) as client:
        tx_id = await client.send(alice, Transfer(bob.address, 5))
        with pytest.raises(NotFinal):
            await client.wait_final(tx_id, timeout_seconds=0.05)
        with pytest.raises(Refused) as unknown:
            await client.wait_final(bytes(32))
    assert unknown.value.code == "state.not_found"


async def test_simulation_keeps_nothing(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    async with serve(memory_node) as url, SaharaClient(url) as client:
        height, root = memory_node.height, memory_node.status().state_root
        signed = await client.build(alice, Transfer(bob.address, 5))
        outcome = await client.simulate(signed.wire)
    assert outcome.status is Status.OK and outcome.fee > 0 and len(outcome.events) == 1
    assert (memory_node.height, memory_node.status().state_root) == (height, root)


async def test_a_client_pinned_to_a_network_refuses_others(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url, SaharaClient(url, genesis_hash=bytes(32)) as client:
        with pytest.raises(WrongNetwork):
            await client.status()


async def test_nobody_there() -> None:
    async with SaharaClient("http://127.0.0.1:1") as client:
        with pytest.raises(Unreachable):
            await client.status()


async def test_calls_that_no_module_declares(memory_node: Any, serve: Any) -> None:
    async with serve(memory_node) as url, SaharaClient(url) as client:
        with pytest.raises(Refused):
            await client.query("bank.nothing")
        with pytest.raises(TypeError):
            await client.query("bank.balance", nobody=bytes(20))


async def test_a_feed_of_a_node_that_hangs_ends(
    memory_node: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was suspended, or cut off: nothing comes any more, and no end of it either."""
    monkeypatch.setattr(asynchronous, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(server, "_pong", lambda *_: None)
    async with (
        asyncio.timeout(10),
        serve(memory_node) as url,
        SaharaClient(url) as client,
        client.subscribe("blocks") as feed,
    ):
        with pytest.raises(Unreachable, match="subscribe again"):
            await anext(feed)


async def test_the_feed_of_a_node_that_has_nothing_to_say_goes_on(
    memory_node: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, _ = memory_node.accounts
    monkeypatch.setattr(asynchronous, "HEARTBEAT_SECONDS", 0.2)
    async with (
        asyncio.timeout(10),
        serve(memory_node) as url,
        SaharaClient(url) as client,
        client.subscribe("blocks") as feed,
    ):
        following = asyncio.ensure_future(anext(feed))
        await asyncio.wait((following,), timeout=1.0)
        assert not following.done()
        tx_id = await client.send(alice, Transfer(bob.address, 5))
        assert (await following).result["tx_ids"] == [tx_id.hex()]


async def test_the_feed_starts_with_a_snapshot(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts
    async with (
        serve(memory_node) as url,
        SaharaClient(url) as client,
        client.subscribe("blocks") as feed,
    ):
        height = feed.snapshot.height
        tx_id = await client.send(alice, Transfer(bob.address, 5))
        delta = await asyncio.wait_for(anext(feed), 10)
    assert delta.sequence == 1 and delta.height == height + 1
    assert delta.result["tx_ids"] == [tx_id.hex()]


async def test_the_synchronous_client(memory_node: Any, serve: Any) -> None:
    alice, bob, _ = memory_node.accounts

    def work(url: str) -> tuple[Any, Any, Any]:
        with SyncClient(url) as client:
            simulated = client.simulate(alice, Transfer(bob.address, 7))
            status = client.execute(alice, Transfer(bob.address, 7))
            return simulated, status, client.query("bank.balance", address=bob.address)

    async with serve(memory_node) as url:
        simulated, status, balance = await asyncio.to_thread(work, url)
    assert simulated.status is Status.OK and status.stage is Stage.FINAL
    assert balance == memory_node.query("bank.balance", {"address": bob.address})


def test_nonces_stop_at_the_window() -> None:
    account = Account.from_seed(bytes(32))
    account.learn(10)
    taken = [account.take_nonce() for _ in range(200)]
    assert taken == list(range(11, 211))
    assert account.take_nonce() is None
    account.give_back(50)
    account.give_back(40)
    assert [account.take_nonce(), account.take_nonce(), account.take_nonce()] == [40, 50, None]
    account.learn(300)
    account.give_back(44)
    assert account.take_nonce() == 301, "44 has left the window"
