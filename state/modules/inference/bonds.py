"""Operators' bonds: what an operator stands for with its own coins, and how a fault costs them.

Only the operator's own bond is ever slashed. Coins on their way out stay at stake until
`operator_unbonding_blocks` have passed, so that nobody outruns a dispute (assets C.2, settled
point 7).
"""

from state.codec import replace
from state.context import BlockContext, TxContext
from state.maths import mul_div_ceil, mul_div_floor
from state.modules import bank
from state.modules.inference import events
from state.modules.inference.errors import BondTooSmall, UnbondingUnderWay
from state.modules.inference.records import BONDS, BONDS_POT, MODULE, UNBONDINGS, Bond
from state.registry import Message
from state.tables import State
from state.types import BPS, Address, PositiveAmount

NO_BOND = Bond(0, 0, 0)


def bond_of(state: State, operator: Address) -> Bond:
    """Return an operator's bond; all zero when there is none."""
    return BONDS.get(state, operator) or NO_BOND


def bonded(state: State, operator: Address) -> int:
    """Return the grains that an operator has bonded and not asked back."""
    return bond_of(state, operator).bonded


def slash(ctx: BlockContext, operator: Address, reporter: Address, reason: str) -> None:
    """Take `operator_slash_bps` of all that is at stake, unbonding coins too.

    The reporter gets a share, unless it is the operator itself, and the rest is burned: whoever
    reports its own fault gains nothing.
    """
    row = bond_of(ctx.state, operator)
    params = ctx.params.inference
    amount = mul_div_ceil(row.bonded + row.unbonding, params.operator_slash_bps, BPS)
    if amount == 0:
        return
    from_bonded = min(amount, row.bonded)
    reward = 0
    if reporter != operator:
        reward = mul_div_floor(amount, params.reporter_bps, BPS)
    bank.move(ctx.state, BONDS_POT, reporter, reward)
    bank.burn(ctx.state, BONDS_POT, amount - reward)
    BONDS.put(
        ctx.state,
        operator,
        replace(
            row,
            bonded=row.bonded - from_bonded,
            unbonding=row.unbonding - (amount - from_bonded),
        ),
    )
    ctx.emit(events.OperatorSlashed(operator, amount, reporter, reward, reason))


def unbond_due(ctx: BlockContext) -> None:
    """Pay out the unbondings whose time has come."""
    limit = ctx.params.inference.due_entries_max
    for operator in UNBONDINGS.take(ctx.state, ctx.height, limit=limit):
        row = BONDS.require(ctx.state, operator)
        bank.move(ctx.state, BONDS_POT, operator, row.unbonding)
        if row.bonded:
            BONDS.put(ctx.state, operator, Bond(row.bonded, 0, 0))
        else:
            BONDS.delete(ctx.state, operator)
        ctx.emit(events.OperatorUnbonded(operator, row.unbonding))


@MODULE.tx
class OperatorBond(Message, tag=0x0530):
    """Bond coins of the signer as an operator."""

    amount: PositiveAmount

    WEIGHT = 80

    def apply(self, ctx: TxContext) -> None:
        """Take the coins into the pot of bonds."""
        bank.move(ctx.state, ctx.account, BONDS_POT, self.amount)
        row = bond_of(ctx.state, ctx.account)
        BONDS.put(ctx.state, ctx.account, replace(row, bonded=row.bonded + self.amount))
        ctx.emit(events.OperatorBonded(ctx.account, self.amount))


@MODULE.tx
class OperatorUnbond(Message, tag=0x0531):
    """Ask coins of the signer's bond back; one unbonding at a time."""

    amount: PositiveAmount

    WEIGHT = 80

    def apply(self, ctx: TxContext) -> None:
        """Start the delay."""
        row = bond_of(ctx.state, ctx.account)
        if row.unbonded_height:
            raise UnbondingUnderWay(
                f"An unbonding is under way until height {row.unbonded_height}; ask after it."
            )
        if row.bonded < self.amount:
            raise BondTooSmall(
                f"The bond holds {row.bonded} grains and {self.amount} are asked back; ask less."
            )
        height = ctx.height + ctx.params.inference.operator_unbonding_blocks
        BONDS.put(ctx.state, ctx.account, Bond(row.bonded - self.amount, self.amount, height))
        UNBONDINGS.push(ctx.state, height, ctx.account)
        ctx.emit(events.OperatorUnbonding(ctx.account, self.amount, height))
