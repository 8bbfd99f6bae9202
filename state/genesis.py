"""The genesis document: everything that nodes of a network agree on before the first block."""

from typing import Annotated

from msgspec import Meta

from state import crypto
from state.codec import Struct, encode
from state.crypto import Tag
from state.errors import Malformed
from state.params import Params
from state.types import NATIVE, Address, Bps, Denom, Hash, PositiveAmount, PublicKey, TimestampMs

SUPPLY_MAX = 9 * 10**18
"""Grains at genesis: nine billion SAHARA, so that every sum of balances stays below 2^63."""


class Allocation(Struct):
    """Coins that an address holds from genesis on."""

    address: Address
    amount: PositiveAmount
    denom: Denom = NATIVE


class GenesisValidator(Struct):
    """A validator of the first set; its stake is taken out of its account's allocation."""

    public_key: PublicKey
    account: Address
    stake: PositiveAmount
    commission_bps: Bps = 1_000


class Genesis(Struct):
    """The first state of a network, and its name."""

    chain_id: Annotated[str, Meta(min_length=1, max_length=64)]
    time_ms: TimestampMs
    params: Params
    allocations: Annotated[tuple[Allocation, ...], Meta(max_length=100_000)]
    validators: Annotated[tuple[GenesisValidator, ...], Meta(min_length=1, max_length=200)]

    @property
    def hash(self) -> Hash:
        """The hash that stands for the network in every signature."""
        return crypto.hash_bytes(Tag.GENESIS, encode(self))

    def check(self) -> None:
        """Raise Malformed unless parameters, supply and validators fit each other."""
        self.params.check()
        totals: dict[str, int] = {}
        for entry in self.allocations:
            totals[entry.denom] = totals.get(entry.denom, 0) + entry.amount
        if max(totals.values(), default=0) > SUPPLY_MAX:
            raise Malformed(
                f"The genesis supply of a denomination exceeds {SUPPLY_MAX} base units; lower it."
            )
        keys = [validator.public_key for validator in self.validators]
        accounts = [validator.account for validator in self.validators]
        if len({*keys}) != len(keys) or len({*accounts}) != len(accounts):
            raise Malformed("Two genesis validators share a key or an account; give each its own.")
        if len(keys) > self.params.staking.validators_max:
            raise Malformed("There are more genesis validators than staking.validators_max.")
