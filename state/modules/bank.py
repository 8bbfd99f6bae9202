"""Bank: balances in several denominations, transfers, pots of modules, and the supply.

Every coin lies in exactly one balance. A module holds its coins in a *pot*: the balance of an
address that no key can sign for. So conservation is one sentence: genesis + minted - burned equals
the sum of all balances, per denomination.
"""

from typing import Annotated

from msgspec import Meta

from state.codec import Struct
from state.context import BlockContext, Event, QueryContext, TxContext
from state.crypto import module_address
from state.errors import Malformed, NotFound, Rejected
from state.genesis import Genesis
from state.keys import ADDRESS_KEY, TEXT_BYTES_MAX, TEXT_KEY
from state.registry import Message, Module
from state.tables import State, Table
from state.types import NATIVE, ZERO_ADDRESS, Address, Amount, Count, Denom, PositiveAmount

MODULE = Module("bank", 0x01)

MEMO_BYTES_MAX = 256
HOLDINGS_MAX = 1_000
"""Balances that one query returns at most."""


class InsufficientFunds(Rejected):
    """The sender holds less than the transaction moves."""

    code = "bank.insufficient_funds"


class PotIsClosed(Rejected):
    """Coins were sent to a module's own address, from which nobody could send them back."""

    code = "bank.pot_is_closed"


class Balance(Struct):
    """What one address holds of one denomination."""

    amount: Amount


class Supply(Struct):
    """How much of a denomination there was, came and went."""

    genesis: Amount
    minted: Amount
    burned: Amount

    @property
    def total(self) -> int:
        """What must lie in all balances together."""
        return self.genesis + self.minted - self.burned


class Transferred(Event, tag="bank.transferred"):
    """Coins moved from one account to another."""

    sender: Address
    recipient: Address
    denom: Denom
    amount: Amount


class Burned(Event, tag="bank.burned"):
    """Coins left the supply for ever."""

    holder: Address
    denom: Denom
    amount: Amount


BALANCES: Table[tuple[Address, Denom], Balance] = MODULE.table(
    1, "balances", (ADDRESS_KEY, TEXT_KEY), Balance
)
SUPPLY: Table[Denom, Supply] = MODULE.table(2, "supply", (TEXT_KEY,), Supply)

_pots: dict[Address, str] = {}


def pot(name: str) -> Address:
    """Declare a module's pot, named `module.purpose`, and return the address that holds it."""
    address = module_address(name)
    assert _pots.setdefault(address, name) == name, f"the pot {name} shares its address"
    return address


def balance_of(state: State, address: Address, denom: Denom = NATIVE) -> int:
    """Return what an address holds."""
    row = BALANCES.get(state, (address, denom))
    return 0 if row is None else row.amount


def _set(state: State, address: Address, denom: Denom, amount: int) -> None:
    if amount:
        BALANCES.put(state, (address, denom), Balance(amount))
    else:
        BALANCES.delete(state, (address, denom))


def move(
    state: State, sender: Address, recipient: Address, amount: int, denom: Denom = NATIVE
) -> None:
    """Move coins between two balances; raises InsufficientFunds and then changes nothing."""
    assert amount >= 0, "callers move what is there"
    if amount == 0:
        return
    held = balance_of(state, sender, denom)
    if held < amount:
        raise InsufficientFunds(
            f"The account holds {held} {denom} and {amount} are needed; fund it or ask for less."
        )
    if sender == recipient:
        return
    _set(state, sender, denom, held - amount)
    _set(state, recipient, denom, balance_of(state, recipient, denom) + amount)


def burn(state: State, holder: Address, amount: int, denom: Denom = NATIVE) -> None:
    """Take coins out of the supply for ever; raises InsufficientFunds and changes nothing."""
    assert amount >= 0, "nothing is burned backwards"
    if amount == 0:
        return
    held = balance_of(state, holder, denom)
    if held < amount:
        raise InsufficientFunds(
            f"The account holds {held} {denom} and {amount} are to burn; ask for less."
        )
    _set(state, holder, denom, held - amount)
    supply = SUPPLY.require(state, denom)
    SUPPLY.put(state, denom, Supply(supply.genesis, supply.minted, supply.burned + amount))


def withhold(state: State, holder: Address, amount: int) -> None:
    """Take a fee out of a balance; the executor credits the sum of a block with `credit`."""
    held = balance_of(state, holder)
    if held < amount:
        raise InsufficientFunds(
            f"The account holds {held} grains and the fee is {amount}; fund the account."
        )
    _set(state, holder, NATIVE, held - amount)


def credit(state: State, holder: Address, amount: int) -> None:
    """Give what `withhold` took to whom it belongs."""
    if amount:
        _set(state, holder, NATIVE, balance_of(state, holder) + amount)


def mint(state: State, holder: Address, amount: int, denom: Denom = NATIVE) -> None:
    """Add coins to the supply; only modules call this, and each says under which rule."""
    assert amount >= 0, "nothing is minted backwards"
    supply = SUPPLY.get(state, denom) or Supply(0, 0, 0)
    SUPPLY.put(state, denom, Supply(supply.genesis, supply.minted + amount, supply.burned))
    _set(state, holder, denom, balance_of(state, holder, denom) + amount)


@MODULE.tx
class Transfer(Message, tag=0x0101):
    """Move coins from the signer to the recipient."""

    recipient: Address
    amount: PositiveAmount
    denom: Denom = NATIVE
    memo: Annotated[bytes, Meta(max_length=MEMO_BYTES_MAX)] = b""

    WEIGHT = 60

    def check(self) -> None:
        """Refuse addresses that nobody can sign for."""
        if self.recipient == ZERO_ADDRESS or self.recipient in _pots:
            raise PotIsClosed(
                "The recipient is a module's own address; use that module's transaction instead."
            )

    def apply(self, ctx: TxContext) -> None:
        """Move the coins."""
        move(ctx.state, ctx.account, self.recipient, self.amount, self.denom)
        ctx.emit(Transferred(ctx.account, self.recipient, self.denom, self.amount))


@MODULE.tx
class Burn(Message, tag=0x0102):
    """Take coins of the signer out of the supply for ever."""

    amount: PositiveAmount
    denom: Denom = NATIVE

    def apply(self, ctx: TxContext) -> None:
        """Burn the coins."""
        burn(ctx.state, ctx.account, self.amount, self.denom)
        ctx.emit(Burned(ctx.account, self.denom, self.amount))


@MODULE.genesis
def write_allocations(ctx: BlockContext, genesis: Genesis) -> None:
    """Fund the accounts of the genesis document and fix the genesis supply."""
    totals: dict[str, int] = {}
    for allocation in genesis.allocations:
        if BALANCES.get(ctx.state, (allocation.address, allocation.denom)) is not None:
            raise Malformed("The genesis document funds one address twice; add the amounts up.")
        _set(ctx.state, allocation.address, allocation.denom, allocation.amount)
        totals[allocation.denom] = totals.get(allocation.denom, 0) + allocation.amount
    for denom, total in sorted(totals.items()):
        SUPPLY.put(ctx.state, denom, Supply(total, 0, 0))


class PotView(Struct):
    """One module's pot: its name, its address, and what it holds."""

    name: str
    address: Address
    denom: Denom
    amount: Amount


class SupplyView(Struct):
    """The supply of a denomination, and how much of it lies in pots."""

    denom: Denom
    genesis: Amount
    minted: Amount
    burned: Amount
    total: Amount
    pots: Amount


class Holding(Struct):
    """One balance: whose it is, of what, and how much; pots are among them."""

    address: Address
    denom: Denom
    amount: Amount


@MODULE.query
def balance(ctx: QueryContext, address: Address, denom: Denom = NATIVE) -> Balance:
    """Return what an address holds of a denomination."""
    return Balance(balance_of(ctx.state, address, denom))


@MODULE.query
def pots(ctx: QueryContext) -> list[PotView]:
    """Return every pot that holds something, so that the supply can be added up from outside."""
    found = []
    for address, name in sorted(_pots.items(), key=lambda item: item[1]):
        for (_, denom), row in BALANCES.scan(ctx.state, under=(address,)):
            found.append(PotView(name, address, denom, row.amount))
    return found


@MODULE.query
def supply(ctx: QueryContext, denom: Denom = NATIVE) -> SupplyView:
    """Return the supply of a denomination; bank.balances lists what has to add up to its total."""
    row = SUPPLY.get(ctx.state, denom)
    if row is None:
        raise NotFound(f"There is no denomination {denom}; check its spelling.")
    in_pots = sum(balance_of(ctx.state, address, denom) for address in _pots)
    return SupplyView(denom, row.genesis, row.minted, row.burned, row.total, in_pots)


@MODULE.query
def balances(
    ctx: QueryContext,
    after_address: Address = ZERO_ADDRESS,
    after_denom: str = "",
    limit: Count = HOLDINGS_MAX,
) -> list[Holding]:
    """Return at most `limit` balances behind one (address, denom), pots included, in key order."""
    if not 1 <= limit <= HOLDINGS_MAX:
        raise Malformed(f"A query returns 1 to {HOLDINGS_MAX} balances; ask for fewer.")
    if len(after_denom.encode()) > TEXT_BYTES_MAX:
        raise Malformed("after_denom is longer than any denomination; give the last one listed.")
    found = BALANCES.scan(ctx.state, after=(after_address, after_denom), limit=limit)
    return [Holding(address, denom, row.amount) for (address, denom), row in found]


@MODULE.invariant(always=False)
def supply_is_accounted_for(ctx: BlockContext) -> str | None:
    """Every denomination's balances add up to genesis + minted - burned."""
    totals: dict[str, int] = {}
    for (_, denom), row in BALANCES.scan(ctx.state):
        totals[denom] = totals.get(denom, 0) + row.amount
    for denom, row_of_supply in SUPPLY.scan(ctx.state):
        if totals.pop(denom, 0) != row_of_supply.total:
            return f"The balances of {denom} do not add up to its supply."
    return f"There are balances without a supply: {sorted(totals)}." if totals else None
