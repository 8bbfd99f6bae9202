"""A client walks from genesis over epochs whose validators differ, and is shown wrong ways."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consensus.light import Trust
from consensus.timeouts import Pacing
from node.backend import NodeBackend
from node.client import ProofInvalid, Refused, SaharaClient, trust_in
from node.rpc.backend import Finality
from node.storage.kv import MemoryStore
from state import codec
from state.finality import Header, ValidatorSet
from state.modules import bank, staking
from state.params import Params

EPOCH_BLOCKS = 4
PARAMS = codec.replace(
    Params(),
    staking=codec.replace(
        Params().staking,
        epoch_blocks=EPOCH_BLOCKS,
        validators_min=1,
        self_bond_min=10**9,
        delegation_min=1,
    ),
)
AHEAD = 4 * EPOCH_BLOCKS + 2


@pytest.fixture
async def node(make_local_chain: Any, make_local_node: Any, tmp_path: Path) -> Any:
    """A chain of more than four epochs, in each of which somebody delegated."""
    made = make_local_node(make_local_chain(params=PARAMS), MemoryStore(), Pacing(1, 5), tmp_path)
    made.host.start()
    validator = made.chain.accounts[0].address
    for nonce in range(1, 6):
        bonded = staking.Delegate(validator, nonce)
        await made.backend.submit(made.chain.wire(1, nonce, bonded, fee_max=10**9))
        wanted = made.height + EPOCH_BLOCKS
        await made.until(lambda wanted=wanted: made.height >= wanted)
    yield made
    made.stop()


async def test_rows_are_proven_under_sets_that_genesis_did_not_know(node: Any, serve: Any) -> None:
    async with serve(node.backend) as url, SaharaClient(url) as client:
        last = await client.trust_at(4)
        stakes = [(await client.trust_at(epoch)).validators[0].stake for epoch in range(5)]
        assert stakes[0] == stakes[1] == trust_in(node.chain.genesis).validators[0].stake
        assert stakes[4] > stakes[1], "what was delegated counts two epochs later (settled 8)"
        key = (node.chain.accounts[1].address, "sahara")
        row, proof = await client.prove_row(bank.BALANCES, key, at_least=AHEAD)
        assert row is not None and proof.header.epoch >= 4
    async with serve(node.backend) as url, SaharaClient(url, trust=last) as client:
        await client.prove_row(bank.BALANCES, key, at_least=AHEAD)
        with pytest.raises(ProofInvalid, match="begins with epoch 4"):
            await client.trust_at(3)


async def test_an_epoch_that_has_not_begun_is_refused(node: Any, serve: Any) -> None:
    async with serve(node.backend) as url, SaharaClient(url) as client:
        with pytest.raises(Refused):
            await client.trust_at(10**6)


class Liar:
    """A backend that changes what a client walks by, and leaves the rest as it is."""

    def __init__(self, honest: NodeBackend) -> None:
        self._honest = honest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)


class OtherSet(Liar):
    def members(self, epoch: int) -> ValidatorSet:
        (one,) = self._honest.members(epoch)
        return (codec.replace(one, stake=one.stake + 1),)


class OtherFinalization(Liar):
    def finality(self, height: int) -> Finality:
        return self._honest.finality(height - 1)


class ThroughDescendants(Liar):
    """A boundary is final by itself only: what follows it stands under the next set."""

    def finality(self, height: int) -> Finality:
        following = self._honest.header(height + 1)
        return Finality(self._honest.finality(height + 1).finalization, (following,))


class OtherHeader(Liar):
    def header(self, height: int) -> Header:
        header = self._honest.header(height)
        forged = self._honest.members(header.epoch + 1)
        return codec.replace(header, next_validators_hash=b"f" * 32) if forged else header


class EarlierBlock(Liar):
    """A final block that does not end its epoch hands over to nobody."""

    def header(self, height: int) -> Header:
        return self._honest.header(height - 1)

    def finality(self, height: int) -> Finality:
        return self._honest.finality(height - 1)


@pytest.mark.parametrize(
    "lie", [OtherSet, OtherFinalization, ThroughDescendants, OtherHeader, EarlierBlock]
)
async def test_no_lie_on_the_way_is_believed(
    node: Any, serve: Any, lie: Callable[[NodeBackend], Liar]
) -> None:
    async with serve(lie(node.backend)) as url, SaharaClient(url) as client:
        with pytest.raises(ProofInvalid):
            await client.trust_at(3)


async def test_trust_that_is_too_old_is_not_used(node: Any, serve: Any) -> None:
    first = trust_in(node.chain.genesis)
    old = Trust(
        first.genesis_hash, first.epoch_blocks, 0, first.validators, first.time_ms, 1_000, 1_000
    )
    async with serve(node.backend) as url, SaharaClient(url, trust=old) as client:
        with pytest.raises(ProofInvalid, match="older"):
            await client.trust_at(1)
