"""The supply, added up from outside: every balance there is, and every pot among them."""

from collections.abc import Iterator, Sequence

from node.client import SaharaClient
from state.modules.bank import Holding, PotView, SupplyView
from state.types import NATIVE, ZERO_ADDRESS

PAGE = 100


async def supply_faults(client: SaharaClient) -> list[str]:
    """Return why genesis + minted - burned is not the sum of all balances, pots included.

    Asked again when a block changed something between the questions.
    """
    while True:
        before = await client.status()
        supply: SupplyView = await client.query("bank.supply")
        pots: list[PotView] = await client.query("bank.pots")
        holdings = await all_holdings(client)
        if (await client.status()).state_root == before.state_root:
            return list(added_up(supply, pots, holdings))


async def all_holdings(client: SaharaClient) -> list[Holding]:
    """Return every balance, page by page."""
    found: list[Holding] = []
    page: list[Holding] = [Holding(ZERO_ADDRESS, "", 0)]
    while page:
        last = (found or page)[-1]
        page = await client.query(
            "bank.balances", after_address=last.address, after_denom=last.denom, limit=PAGE
        )
        found += page
    return found


def added_up(
    supply: SupplyView, pots: Sequence[PotView], holdings: Sequence[Holding]
) -> Iterator[str]:
    """Yield where balances, pots and supply differ."""
    expected = supply.genesis + supply.minted - supply.burned
    balances = {each.address: each.amount for each in holdings if each.denom == NATIVE}
    if sum(balances.values()) != expected:
        yield (
            f"all balances add up to {sum(balances.values())}; genesis + minted - burned is "
            f"{expected}"
        )
    in_pots = sum(pot.amount for pot in pots if pot.denom == NATIVE)
    if in_pots != supply.pots:
        yield f"the pots hold {in_pots} and the node adds them up to {supply.pots}"
    for pot in pots:
        if pot.denom == NATIVE and balances.get(pot.address, 0) != pot.amount:
            yield f"the pot {pot.name} holds {pot.amount} and its balance is another"
