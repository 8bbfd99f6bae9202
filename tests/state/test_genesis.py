"""The genesis document: its hash names the network, and nonsense in it is refused whole."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from state import crypto
from state.codec import Decoder, encode
from state.crypto import Tag
from state.errors import InvariantBroken, Malformed
from state.execute import apply_genesis
from state.genesis import SUPPLY_MAX, Allocation, Genesis, GenesisValidator
from state.modules import bank, chain, staking
from state.params import FeeParams, Params
from state.tables import Base, State

ONE, TWO = bytes([1]) * 20, bytes([2]) * 20
VALIDATOR = GenesisValidator(bytes([3]) * 32, ONE, 10**9)
GENESIS = Genesis("test", 5, Params(), (Allocation(ONE, 10**12), Allocation(TWO, 7)), (VALIDATOR,))
DECODER: Decoder[Genesis] = Decoder(Genesis)


class Nothing:
    """A reader of an empty database."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(())


def first_state(**changes: Any) -> State:
    return apply_genesis(Base(Nothing()), replace(GENESIS, **changes))


def test_the_hash_covers_every_field() -> None:
    assert GENESIS.hash == crypto.hash_bytes(Tag.GENESIS, encode(GENESIS))
    others = [
        replace(GENESIS, chain_id="tess"),
        replace(GENESIS, time_ms=6),
        replace(GENESIS, params=Params(fees=FeeParams(base_fee_start=2))),
        replace(GENESIS, allocations=GENESIS.allocations[::-1]),
        replace(GENESIS, validators=(replace(VALIDATOR, commission_bps=999),)),
    ]
    assert len({one.hash for one in [GENESIS, *others]}) == len(others) + 1
    assert DECODER.decode(encode(GENESIS)).hash == GENESIS.hash


def test_the_first_state_bonds_the_validators_out_of_their_allocations() -> None:
    state = first_state()
    assert bank.balance_of(state, ONE) == 10**12 - 10**9
    assert bank.balance_of(state, TWO) == 7
    assert bank.balance_of(state, staking.BONDED) == 10**9
    (member,) = staking.members_of(state, 0)
    assert (member.public_key, member.account, member.stake) == (bytes([3]) * 32, ONE, 10**9)
    assert chain.params_of(state) == Params()
    assert chain.base_fee(state) == 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"allocations": (Allocation(ONE, SUPPLY_MAX), Allocation(TWO, 1))}, "supply"),
        ({"allocations": (Allocation(ONE, 10**12), Allocation(ONE, 1))}, "twice"),
        ({"allocations": (Allocation(ONE, 10**9 - 1),)}, "does not hold its stake"),
        ({"allocations": (Allocation(ONE, 10**12, "gold"),)}, "does not hold its stake"),
        ({"validators": (VALIDATOR, replace(VALIDATOR, account=TWO))}, "share a key"),
        ({"validators": (VALIDATOR, replace(VALIDATOR, public_key=bytes(32)))}, "an account"),
        ({"params": Params(fees=FeeParams(base_fee_min=2))}, "base_fee_start"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(Malformed, match=match):
        first_state(**changes)


def test_supply_limits_are_per_denomination() -> None:
    full = (Allocation(ONE, SUPPLY_MAX), Allocation(ONE, SUPPLY_MAX, "gold"))
    state = first_state(allocations=full)
    assert bank.balance_of(state, ONE, "gold") == SUPPLY_MAX


def test_more_validators_than_the_set_holds_are_refused() -> None:
    many = tuple([GenesisValidator(bytes([n]) * 32, bytes([n]) * 20, 1) for n in range(101)])
    with pytest.raises(Malformed, match="validators_max"):
        replace(GENESIS, validators=many).check()


def test_coins_in_a_pot_that_must_match_its_rows_are_found_at_once() -> None:
    with pytest.raises(InvariantBroken, match="bonded"):
        first_state(allocations=(Allocation(ONE, 10**12), Allocation(staking.BONDED, 1)))


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": ""},
        {"chain_id": "x" * 65},
        {"validators": ()},
        {"allocations": (Allocation(ONE, 0),)},
        {"allocations": (Allocation(bytes(19), 1),)},
        {"validators": (replace(VALIDATOR, commission_bps=10_001),)},
        {"time_ms": -1},
    ],
    ids=str,
)
def test_fields_out_of_bounds_do_not_decode(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        DECODER.decode(encode(replace(GENESIS, **changes)))
