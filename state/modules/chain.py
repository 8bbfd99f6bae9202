"""Chain: nonces of accounts, the base fee, and the parameters in force."""

from state.codec import Struct
from state.context import BlockContext, QueryContext
from state.errors import Rejected
from state.genesis import Genesis
from state.keys import ADDRESS_KEY, U8_KEY
from state.maths import clamp, mul_div_floor
from state.modules import bank
from state.nonces import FRESH, NonceWindow, is_usable, use
from state.params import BASE_FEE_MAX, FeeParams, Params
from state.registry import Module
from state.tables import State, Table
from state.types import PPM, Address, Amount

MODULE = Module("chain", 0x00)

FEES = bank.pot("chain.fees")
"""Where the fees of a block wait until staking shares them out at its end."""

THE_ONE = 0
"""The key of a table that holds one row."""


class BaseFee(Struct):
    """Grains per weight unit that the transactions of the next block pay."""

    grains: Amount


class AccountView(Struct):
    """What a client needs to know before it signs: its nonces and what a weight unit costs."""

    address: Address
    nonce_high: int
    next_nonce: int
    base_fee: Amount


class NonceUsed(Rejected):
    """The nonce was used, or lies outside the window of usable ones."""

    code = "tx.nonce_unusable"


NONCES: Table[Address, NonceWindow] = MODULE.table(1, "nonces", (ADDRESS_KEY,), NonceWindow)
BASE_FEE: Table[int, BaseFee] = MODULE.table(2, "base_fee", (U8_KEY,), BaseFee)
PARAMS: Table[int, Params] = MODULE.table(3, "params", (U8_KEY,), Params)


def params_of(state: State) -> Params:
    """Return the parameters in force."""
    return PARAMS.require(state, THE_ONE)


def base_fee(state: State) -> int:
    """Return the grains that a weight unit costs in the next block."""
    return BASE_FEE.require(state, THE_ONE).grains


def check_nonce(state: State, account: Address, nonce: int) -> None:
    """Raise NonceUsed unless the account may use `nonce`."""
    window = NONCES.get(state, account) or FRESH
    if not is_usable(window, nonce):
        raise NonceUsed(
            f"Nonce {nonce} is not usable: the highest used is {window.high}; "
            "take an unused one within 256 of it."
        )


def use_nonce(state: State, account: Address, nonce: int) -> None:
    """Mark the nonce, checked before, as used."""
    NONCES.put(state, account, use(NONCES.get(state, account) or FRESH, nonce))


def next_base_fee(fees: FeeParams, current: int, weight: int) -> int:
    """Return the base fee after a block of `weight` (EIP-1559 in integers, at least +1 when over).

    delta = current * (weight - target) / target * change_max, rounded toward zero.
    """
    target, change = fees.block_weight_target, fees.base_fee_change_max_ppm
    if weight > target:
        moved = current + max(1, mul_div_floor(current * (weight - target), change, target * PPM))
    else:
        moved = current - mul_div_floor(current * (target - weight), change, target * PPM)
    return clamp(moved, fees.base_fee_min, BASE_FEE_MAX)


def move_base_fee(state: State, fees: FeeParams, weight: int) -> None:
    """Set the base fee of the next block from the fullness of this one."""
    current = base_fee(state)
    following = next_base_fee(fees, current, weight)
    if following != current:
        BASE_FEE.put(state, THE_ONE, BaseFee(following))


@MODULE.genesis
def write_params(ctx: BlockContext, genesis: Genesis) -> None:
    """Store the parameters of the genesis document and the first base fee."""
    PARAMS.put(ctx.state, THE_ONE, genesis.params)
    BASE_FEE.put(ctx.state, THE_ONE, BaseFee(genesis.params.fees.base_fee_start))


@MODULE.query
def account(ctx: QueryContext, address: Address) -> AccountView:
    """Return the highest used nonce of an account, the next one, and the base fee."""
    window = NONCES.get(ctx.state, address) or FRESH
    return AccountView(address, window.high, window.high + 1, base_fee(ctx.state))


@MODULE.query
def params(ctx: QueryContext) -> Params:
    """Return the parameters in force."""
    return ctx.params
