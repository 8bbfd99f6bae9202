"""Everyone who takes part in the demo: an account each, its key drawn from the seed by its name."""

from dataclasses import dataclass

from node.client import Account
from node.demo.agents import ROLES
from node.demo.profile import CONTRIBUTOR_WEIGHTS, PRICES, DemoPlan
from node.demo.receipts import deposit_of
from node.demo.seeds import key_seed_of
from state.modules.bank import Transfer
from state.types import GRAINS_PER_SAHARA, Address

FEE_MONEY = 50 * GRAINS_PER_SAHARA
"""What each account gets for transaction fees."""

MARGIN_PER_TICK = GRAINS_PER_SAHARA // 10
"""What each trader puts into its subaccount for one market, in grains per tick of first mark."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The accounts by what they do; `sessions` are the payers' keys for signing calls."""

    faucet: Account
    developer: Account
    contributors: tuple[Account, ...]
    operators: dict[str, Account]
    payers: tuple[Account, ...]
    sessions: tuple[Account, ...]
    traders: dict[str, Account]

    def named(self) -> dict[str, Account]:
        """Every account that can hold coins, by the name that the report gives it."""
        return {
            "faucet": self.faucet,
            "developer": self.developer,
            **{f"contributor_{n}": each for n, each in enumerate(self.contributors, 1)},
            **{f"operator_{model}": each for model, each in self.operators.items()},
            **{f"payer_{n}": each for n, each in enumerate(self.payers, 1)},
            **self.traders,
        }


def cast_of(plan: DemoPlan) -> Cast:
    """The cast of one run; equal seeds give equal keys, for a chain that lives for minutes."""

    def account(name: str) -> Account:
        return Account.from_seed(key_seed_of(plan.seed, name))

    return Cast(
        faucet=faucet_of(plan.seed),
        developer=account("developer"),
        contributors=tuple(
            account(f"contributor {n}") for n in range(1, 1 + len(CONTRIBUTOR_WEIGHTS))
        ),
        operators={model: account(f"operator of {model}") for model in plan.names},
        payers=tuple(account(f"payer {n}") for n in range(1, 1 + plan.payers)),
        sessions=tuple(account(f"session of payer {n}") for n in range(1, 1 + plan.payers)),
        traders={role.name: account(role.name) for role in ROLES},
    )


def faucet_of(seed: int) -> Account:
    """The account that holds every coin at genesis and funds the others."""
    return Account.from_seed(key_seed_of(seed, "faucet"))


def margin_of(plan: DemoPlan) -> int:
    """Grains that each trader puts into its subaccount for one model's market."""
    return MARGIN_PER_TICK * plan.reference_price


def funding(cast: Cast, plan: DemoPlan, listing_bond: int) -> list[Transfer]:
    """The transfers that give everybody what they will need, and not much more."""
    amounts: dict[Address, int] = {}
    for account in cast.named().values():
        amounts[account.address] = FEE_MONEY
    del amounts[cast.faucet.address]
    amounts[cast.developer.address] += listing_bond * len(plan.traces)
    for number, payer in enumerate(cast.payers):
        owed = sum(deposit_of(trace, PRICES, number, plan.payers) for trace in plan.traces)
        amounts[payer.address] += owed
    for trader in cast.traders.values():
        amounts[trader.address] += margin_of(plan) * len(plan.traces)
    return [Transfer(address, amount) for address, amount in amounts.items()]


def contributors_of(cast: Cast) -> list[tuple[Address, int]]:
    """The list that the dataset commits to: who contributed, and at which weight."""
    addresses = [account.address for account in cast.contributors]
    return list(zip(addresses, CONTRIBUTOR_WEIGHTS, strict=True))
