"""The verifier: verdicts reach those who asked, and what arrives together is verified together."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from node import verifier as verifier_module
from node.verifier import Verifier
from state.execute import verify_signatures
from state.transaction import BadSignature, KeySignature, Transaction, assemble


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are verified."""
    sizes: list[int] = []

    def counted(found: Sequence[Transaction]) -> list[BadSignature | None]:
        sizes.append(len(found))
        return verify_signatures(found)

    monkeypatch.setattr(verifier_module, "verify_signatures", counted)
    return sizes


def forged(local_chain: Any, nonce: int) -> Transaction:
    """A transaction under somebody else's signature."""
    honest = local_chain.transaction(0, nonce)
    other = KeySignature(local_chain.accounts[0].public_key, bytes(63) + b"\1")
    wire = assemble(honest.body, (other,))
    found: Transaction = local_chain.decoder.decode(wire, bytes_max=2**20)
    return found


async def test_verdicts_reach_those_who_asked(local_chain: Any, batches: list[int]) -> None:
    verifier = Verifier()
    found = [
        forged(local_chain, nonce) if nonce % 3 == 0 else local_chain.transaction(0, nonce)
        for nonce in range(1, 21)
    ]
    verdicts = await asyncio.gather(
        *[verifier.verify(transaction) for transaction in found], return_exceptions=True
    )
    assert [isinstance(each, BadSignature) for each in verdicts] == [
        nonce % 3 == 0 for nonce in range(1, 21)
    ]
    assert batches == [20]


async def test_what_comes_meanwhile_waits_for_the_next_batch(
    local_chain: Any, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier_module, "BATCH_MAX", 4)
    verifier = Verifier()
    first = [asyncio.ensure_future(verifier.verify(local_chain.transaction(0, 1)))]
    for _ in range(3):
        await asyncio.sleep(0)  # the first batch has begun
    later = [verifier.verify(local_chain.transaction(0, nonce)) for nonce in range(2, 8)]
    await asyncio.gather(*first, *later)
    assert (batches[0], sum(batches)) == (1, 7)
    assert max(batches) <= 4
    await verifier.verify(local_chain.transaction(0, 9))
    assert batches[-1] == 1


async def test_who_stops_asking_holds_nobody_up(local_chain: Any, batches: list[int]) -> None:
    verifier = Verifier()
    gone = asyncio.ensure_future(verifier.verify(local_chain.transaction(0, 1)))
    staying = asyncio.ensure_future(verifier.verify(local_chain.transaction(0, 2)))
    await asyncio.sleep(0)
    gone.cancel()
    await staying
    await verifier.verify(local_chain.transaction(0, 3))
    assert sum(batches) == 3
