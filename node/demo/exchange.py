"""The exchange as the demo's traders meet it: listing, margin, what a query shows, and orders.

Each model's market has a subaccount number of its own, the same for every trader, because a
subaccount is in one market at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.client import Account, Refused, SaharaClient
from node.client.protocol import Call
from node.demo.cast import MARGIN, Cast
from node.demo.claims import Claims, claim_questions, claims_of
from node.demo.market_view import (
    Amend,
    Cancel,
    CancelAll,
    Intent,
    MarketView,
    OwnOrder,
    Place,
    Side,
    TimeInForce,
)
from node.demo.profile import PRICE_CAP_FACTOR, DemoPlan
from node.demo.registry import Registered
from node.demo.serving import Window
from node.demo.steps import events_of, perform, require_ok
from state.modules.futures import queries, requests
from state.modules.futures.accounts import DepositMargin
from state.modules.futures.contracts import ListFuture
from state.modules.futures.events import Listed
from state.modules.futures.queries import SubaccountView
from state.modules.futures.records import Contract, Status
from state.types import Hash, Height

SIDES = {Side.BUY: requests.Side.BUY, Side.SELL: requests.Side.SELL}
TIMES_IN_FORCE = {
    TimeInForce.GTC: requests.TimeInForce.GTC,
    TimeInForce.IOC: requests.TimeInForce.IOC,
}


@dataclass(frozen=True, slots=True)
class Market:
    """One model's future, as its listing fixed it."""

    name: str
    market_id: int
    number: int
    """The traders' subaccount in this market."""
    height_open: Height
    """The first block in which trades can happen."""
    height_last: Height
    """The last one."""
    height_settle: Height
    budget_lots: int
    contract: Contract


@dataclass(frozen=True, slots=True)
class Sight:
    """All markets, their claims, and all traders' subaccounts at one height."""

    height: Height
    markets: dict[str, queries.MarketView]
    claims: dict[str, Claims]
    accounts: dict[tuple[str, str], SubaccountView]
    """By trader and model."""


async def list_futures(
    client: SaharaClient, cast: Cast, plan: DemoPlan, registered: Registered, window: Window
) -> dict[str, Market]:
    """List one future on the demand for each model over the whole window."""
    messages = [
        ListFuture(
            model_id=registered.models[name].model_id,
            first_bucket=window.bucket_first,
            buckets=window.buckets,
            ref_price=plan.reference_price,
            price_cap=PRICE_CAP_FACTOR * plan.reference_price,
        )
        for name in plan.names
    ]
    statuses = await perform(
        client, "listing the futures", [(cast.developer, (message,)) for message in messages]
    )
    found = {}
    for number, (name, status) in enumerate(zip(plan.names, statuses, strict=True)):
        listed = events_of(require_ok("listing the futures", status), Listed)[0]
        shown = await client.query("futures.market", market_id=listed.market_id)
        found[name] = Market(
            name,
            listed.market_id,
            number,
            shown.first_trading_height,
            shown.last_trading_height,
            shown.settle_height,
            shown.budget_lots,
            shown.contract,
        )
    return found


async def deposit_margin(client: SaharaClient, cast: Cast, plan: DemoPlan) -> None:
    """Let every trader put its margin into a subaccount for each market to come."""
    sendings = [
        (trader, tuple(DepositMargin(number, MARGIN) for number, _ in enumerate(plan.names)))
        for trader in cast.traders.values()
    ]
    await perform(client, "depositing margin", sendings)


async def look(
    client: SaharaClient,
    markets: Mapping[str, Market],
    traders: Mapping[str, Account],
    channels: Mapping[str, Sequence[Hash]],
) -> Sight:
    """Ask for everything in one batch, again if a block came in between."""
    pairs = [(trader, name) for trader in traders for name in markets]
    parts: list[list[Call]] = [
        [("futures.market", {"market_id": each.market_id}) for each in markets.values()],
        [
            (
                "futures.subaccount",
                {"owner": traders[trader].address, "number": markets[name].number},
            )
            for trader, name in pairs
        ],
        *(claim_questions(market.contract, channels[name]) for name, market in markets.items()),
    ]
    status: Call = ("chain.status", {})
    while True:
        asked = [status, *(call for part in parts for call in part), status]
        before, *answers, after = answered(await client.query_many(asked))
        if before.height != after.height:
            continue
        stock = iter(answers)
        shown, held, *claimed = ([next(stock) for _ in part] for part in parts)
        return Sight(
            height=before.height,
            markets=dict(zip(markets, shown, strict=True)),
            accounts=dict(zip(pairs, held, strict=True)),
            claims={
                name: claims_of(market.contract, answer)
                for (name, market), answer in zip(markets.items(), claimed, strict=True)
            },
        )


def answered(answers: Iterable[Any]) -> list[Any]:
    """Return the answers of a batch, none of which may be a refusal."""
    found = list(answers)
    for answer in found:
        if isinstance(answer, Refused):
            raise answer
    return found


async def all_settled(client: SaharaClient, markets: Mapping[str, Market]) -> bool:
    """Tell whether every market has paid out."""
    for market in markets.values():
        shown = await client.query("futures.market", market_id=market.market_id)
        if shown.status is not Status.SETTLED:
            return False
    return True


def view_of(sight: Sight, market: Market, trader: str) -> MarketView:
    """What one trader sees of one market."""
    shown = sight.markets[market.name]
    account = sight.accounts[trader, market.name]
    contract, claims = market.contract, sight.claims[market.name]
    floor = min(contract.price_cap, claims.floor_ticks(sight.height + 1, contract.tick_index))
    pointed = claims.outlook_ticks(contract.tick_index)
    return MarketView(
        height=sight.height,
        height_first=market.height_open,
        height_last=market.height_last,
        mark=max(shown.mark, floor),
        floor=floor,
        reference=contract.ref_price if pointed is None else min(pointed, contract.price_cap),
        best_bid=shown.best_bid,
        best_ask=shown.best_ask,
        position_lots=account.lots,
        cash=account.cash,
        orders=tuple(
            OwnOrder(
                order.order_id.hex(),
                Side.BUY if order.side is requests.Side.BUY else Side.SELL,
                order.lots,
                order.limit,
            )
            for order in account.orders
        ),
        open_interest_lots=shown.open_interest,
        budget_lots=shown.budget_lots,
        band_ppm=contract.band_ppm,
        im_ppm=contract.im_ppm,
        tick_value=contract.tick_value,
        price_cap=contract.price_cap,
    )


def orders_of(market: Market, intents: Iterable[Intent]) -> requests.PlaceOrders:
    """The message that asks for what an agent wants."""
    operations = tuple(operation_of(intent) for intent in intents)
    return requests.PlaceOrders(market.market_id, market.number, operations)


def operation_of(intent: Intent) -> requests.Operation:
    """One intent in the words of the exchange."""
    match intent:
        case Place():
            return requests.Place(
                SIDES[intent.side],
                intent.qty_lots,
                intent.limit,
                TIMES_IN_FORCE[intent.tif],
                post_only=intent.post_only,
                reduce_only=intent.reduce_only,
            )
        case Amend():
            return requests.Replace(bytes.fromhex(intent.order_id), intent.qty_lots, intent.limit)
        case Cancel():
            return requests.Cancel(bytes.fromhex(intent.order_id))
        case CancelAll():
            return requests.CancelAll()
