"""Begin to validate, change the commission, and come back from jail."""

from state import crypto
from state.accumulator import EMPTY
from state.codec import encode, replace
from state.context import TxContext
from state.crypto import SignatureClaim, Tag
from state.modules import bank, chain
from state.modules.staking.errors import (
    AlreadyValidator,
    CommissionTooFast,
    JailLasts,
    KeyTaken,
    NotJailed,
    NotTheAccount,
    SelfBondTooSmall,
    Tombstoned,
)
from state.modules.staking.events import Unjailed, ValidatorCreated, ValidatorEdited
from state.modules.staking.records import (
    BONDED,
    KEYS,
    MODULE,
    TOTALS,
    VALIDATORS,
    KeyUse,
    Moniker,
    Standing,
    Validator,
)
from state.modules.staking.shares import bond, keep_validator, self_bond, settled_validator
from state.registry import Message
from state.tables import State
from state.types import Address, Bps, Hash, PositiveAmount, PublicKey, Signature


def possession_digest(genesis_hash: Hash, validator: Address) -> Hash:
    """Return what a consensus key signs to show that the account's owner holds it."""
    return crypto.sign_hash(Tag.POSSESSION, genesis_hash, encode((validator,)))


def enrol(
    state: State,
    account: Address,
    public_key: PublicKey,
    commission: tuple[int, int],
    moniker: str,
    *,
    height: int,
    earning: bool,
) -> None:
    """Write a validator without stake whose key is new; `commission` is rate and daily change."""
    KEYS.put(state, public_key, KeyUse(account))
    seen = TOTALS.require(state, chain.THE_ONE).pool.per_unit
    row = Validator(
        public_key=public_key,
        moniker=moniker,
        commission_bps=commission[0],
        commission_change_bps_max=commission[1],
        commission_height=height,
        stake=0,
        shares=0,
        standing=Standing.ACTIVE,
        release_height=0,
        earning=earning,
        seen=seen,
        pool=EMPTY,
        commission=0,
    )
    VALIDATORS.put(state, account, row)


@MODULE.tx
class CreateValidator(Message, tag=0x0205):
    """Run a validator under the signer's account, with stake of its own.

    `proof` is the consensus key's signature that the account holds it, so that nobody can enter
    another's key. It sits in a set from the epoch after next, if its stake is among the largest.
    """

    validator: Address
    public_key: PublicKey
    proof: Signature
    self_bond: PositiveAmount
    commission_bps: Bps
    commission_change_bps_max: Bps
    """Basis points by which the commission may ever change within commission_blocks; for ever."""
    moniker: Moniker = ""

    WEIGHT = 500

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """Return the proof of possession."""
        return [(self.public_key, possession_digest(genesis_hash, self.validator), self.proof)]

    def apply(self, ctx: TxContext) -> None:
        """Enter key and validator, and bond its stake."""
        state, minimum = ctx.state, ctx.params.staking.self_bond_min
        if self.validator != ctx.account:
            raise NotTheAccount("A validator is created by its own account; sign with that one.")
        if VALIDATORS.get(state, ctx.account) is not None:
            raise AlreadyValidator(
                "The account runs a validator already; delegate to it, or use another account."
            )
        if KEYS.get(state, self.public_key) is not None:
            raise KeyTaken("The consensus key served before; make a new one.")
        if self.self_bond < minimum:
            raise SelfBondTooSmall(f"A validator bonds at least {minimum} grains; bond more.")
        bank.move(state, ctx.account, BONDED, self.self_bond)
        commission = (self.commission_bps, self.commission_change_bps_max)
        enrol(
            state,
            ctx.account,
            self.public_key,
            commission,
            self.moniker,
            height=ctx.height,
            earning=False,
        )
        bond(state, ctx.account, ctx.account, self.self_bond, ctx.height)
        ctx.emit(ValidatorCreated(ctx.account, self.public_key, self.commission_bps))


@MODULE.tx
class EditValidator(Message, tag=0x0206):
    """Set the commission and the name of the signer's validator."""

    commission_bps: Bps
    moniker: Moniker = ""

    WEIGHT = 150

    def apply(self, ctx: TxContext) -> None:
        """Settle what the old commission earned, then write the new one."""
        row = settled_validator(ctx.state, ctx.account)
        height = row.commission_height
        if self.commission_bps != row.commission_bps:
            _check_commission(ctx, row, self.commission_bps)
            height = ctx.height
        edited = replace(
            row,
            commission_bps=self.commission_bps,
            commission_height=height,
            moniker=self.moniker,
        )
        keep_validator(ctx.state, ctx.account, edited)
        ctx.emit(ValidatorEdited(ctx.account, self.commission_bps))


def _check_commission(ctx: TxContext, row: Validator, wanted: int) -> None:
    """Raise CommissionTooFast unless the change is as small and as late as was promised."""
    most = row.commission_change_bps_max
    if abs(wanted - row.commission_bps) > most:
        raise CommissionTooFast(
            f"The commission is {row.commission_bps} bps and changes by at most {most} at a time; "
            "take a smaller step."
        )
    earliest = row.commission_height + ctx.params.staking.commission_blocks
    if ctx.height < earliest:
        raise CommissionTooFast(f"The commission may change again at height {earliest}; wait.")


@MODULE.tx
class Unjail(Message, tag=0x0207):
    """Bring the signer's validator back from jail, to be elected again."""

    WEIGHT = 150

    def apply(self, ctx: TxContext) -> None:
        """Let it stand for the next set that is fixed; it earns again once it is a member."""
        state, minimum = ctx.state, ctx.params.staking.self_bond_min
        row = settled_validator(state, ctx.account)
        if row.standing == Standing.TOMBSTONED:
            raise Tombstoned("The validator was slashed and is out for ever; create another.")
        if row.standing != Standing.JAILED:
            raise NotJailed("The validator is not in jail; there is nothing to do.")
        if ctx.height < row.release_height:
            raise JailLasts(f"The validator is in jail until height {row.release_height}; wait.")
        own = self_bond(state, ctx.account, row)
        if own < minimum:
            raise SelfBondTooSmall(
                f"The validator stands for {own} grains of its own and {minimum} are needed; "
                "delegate to it from its account."
            )
        freed = replace(row, standing=Standing.ACTIVE, release_height=0)
        keep_validator(state, ctx.account, freed)
        ctx.emit(Unjailed(ctx.account))
