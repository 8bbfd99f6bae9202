"""What the client reads at the end: batches, payouts, indices, settlements, accounts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.client import SaharaClient
from node.demo.cast import Cast
from node.demo.checks.money import InsuranceBook, TraderBook
from node.demo.checks.settlement import ChainResult
from node.demo.exchange import Market, answered
from node.demo.history import MarketTale
from node.demo.lanes import Lanes
from node.demo.registry import Registered
from node.demo.serving import Window
from state.modules.futures.records import INSURANCE
from state.modules.inference.queries import BatchView
from state.modules.inference.receipts import Sums
from state.modules.inference.records import NO_SUMS, plus
from state.modules.split import Payout

PAGE = 100


@dataclass(frozen=True, slots=True)
class PaidBatch:
    """A batch as the chain has it, and how it was paid out; None before its release."""

    view: BatchView
    payout: Payout | None


async def paid_batches(client: SaharaClient, lanes: Lanes) -> dict[str, list[PaidBatch]]:
    """Return every batch of every lane by model, in order of payer and sequence."""
    found: dict[str, list[PaidBatch]] = {model: [] for model, _ in lanes}
    for (model, _), lane in lanes.items():
        views: list[BatchView] = []
        while True:
            after = views[-1].from_seq if views else 0
            page = await client.query(
                "inference.batches",
                channel_id=lane.channel_id,
                after_lane=lane.terms.lane_no,
                after_seq=after,
                limit=PAGE,
            )
            views += page
            if len(page) < PAGE:
                break
        found[model] += await with_payouts(client, views)
    return found


async def with_payouts(client: SaharaClient, views: Sequence[BatchView]) -> list[PaidBatch]:
    """Return batches with their payouts; a batch that paid nothing has none."""
    asked = [
        (
            "inference.payout_of",
            {
                "channel_id": view.channel_id,
                "lane_no": view.lane_no,
                "from_seq": view.from_seq,
            },
        )
        for view in views
    ]
    answers = await client.query_many(asked)
    return [
        PaidBatch(view, answer if isinstance(answer, Payout) else None)
        for view, answer in zip(views, answers, strict=True)
    ]


def paid_sums(batches: Sequence[PaidBatch]) -> Sums:
    """Return what the released batches add up to."""
    total = NO_SUMS
    for batch in batches:
        if batch.view.batch.released_height:
            total = plus(total, batch.view.counted)
    return total


async def chain_result(
    client: SaharaClient,
    registered: Registered,
    window: Window,
    market: Market,
    batches: Sequence[PaidBatch],
) -> ChainResult:
    """Return what the chain says of one model: paid calls, index, settlement."""
    over = await client.query(
        "index.over",
        model_id=registered.models[market.name].model_id,
        first_bucket=window.bucket_first,
        buckets=window.buckets,
    )
    shown = await client.query("futures.settlement", market_id=market.market_id)
    settlement = shown.settlement
    return ChainResult(paid_sums(batches), over, settlement.price, settlement.units)


async def trader_books(
    client: SaharaClient,
    cast: Cast,
    markets: Mapping[str, Market],
    tales: Mapping[int, MarketTale],
) -> list[TraderBook]:
    """Return every trader's subaccounts as they stand now."""
    pairs = [(name, market) for name in cast.traders for market in markets.values()]
    answers = answered(
        await client.query_many(
            [
                (
                    "futures.subaccount",
                    {"owner": cast.traders[name].address, "number": market.number},
                )
                for name, market in pairs
            ]
        )
    )
    return [
        TraderBook(
            account=name,
            cash=row.cash,
            deposited=row.deposited,
            withdrawn=row.withdrawn,
            fees=row.fees,
            liquidation_fees=row.liquidation_fees,
            fees_of_fills=tales[market.market_id].fees.get(cast.traders[name].address, 0),
            open_lots=row.lots,
        )
        for (name, market), row in zip(pairs, answers, strict=True)
    ]


async def insurance_coins(client: SaharaClient) -> int:
    """Return what the insurance pot holds."""
    balance = await client.query("bank.balance", address=INSURANCE)
    return int(balance.amount)


async def insurance_book(
    client: SaharaClient, markets: Mapping[str, Market], before: int
) -> InsuranceBook:
    """Return the insurance of all markets, from its coins before and now."""
    fees = 0
    for market in markets.values():
        shown = await client.query("futures.market", market_id=market.market_id)
        fees += shown.insurance_fees + shown.liquidation_fees
    return InsuranceBook(before, await insurance_coins(client), fees)
