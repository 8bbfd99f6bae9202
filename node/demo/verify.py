"""The closing of a run: all is read through the client, every check made here, all reported."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from node.addresses import format_address
from node.client import SaharaClient
from node.demo.agents import ROLES
from node.demo.cast import Cast
from node.demo.checks.markets import budget_faults, quote_faults, role_faults
from node.demo.checks.money import (
    InsuranceBook,
    TraderBook,
    fees_by_account,
    money_faults,
    pnl_by_account,
    pnl_sum,
)
from node.demo.checks.receipts import gather_evidence, receipt_faults
from node.demo.checks.settlement import ChainResult, cut_faults, price_faults, total_faults
from node.demo.checks.splits import Recipients, split_faults
from node.demo.checks.supply import supply_faults
from node.demo.contributors import contributor_faults
from node.demo.exchange import Market
from node.demo.expected import Expected, expected_of
from node.demo.history import MarketTale, read_blocks, told
from node.demo.plot import MarketHistory
from node.demo.profile import CONTRIBUTOR_WEIGHTS, PRICES, SPLIT, WEIGHTS, DemoPlan
from node.demo.readings import (
    PaidBatch,
    chain_result,
    insurance_book,
    paid_batches,
    trader_books,
)
from node.demo.registry import VERSION
from node.demo.report import ModelReport, Report
from node.demo.seeds import generator_of
from node.demo.serving import Served
from node.demo.stage import Stage
from node.demo.trading import Seen
from node.demo.verdict import Verdict
from state.modules.datasets import POOL
from state.modules.inference.records import BatchStatus
from state.params import SplitParams


@dataclass(slots=True)
class Closing:
    """What the run hands over to be verified, and the verdict as it grows."""

    client: SaharaClient
    cast: Cast
    plan: DemoPlan
    stage: Stage
    served: Served
    seen: Seen
    contributions: list[int]
    """Grains that each of the dataset's contributors took out."""
    verdict: Verdict = field(default_factory=Verdict)


@dataclass(slots=True)
class Findings:
    """Everything that was read and worked out, by model where it concerns one."""

    expected: dict[str, Expected]
    batches: dict[str, list[PaidBatch]]
    results: dict[str, ChainResult]
    tales: dict[str, MarketTale]
    books: list[TraderBook]
    insurance: InsuranceBook


async def verify(closing: Closing, seconds: float) -> tuple[Report, list[MarketHistory]]:
    """Make every check, and return the report and what the picture shows."""
    found = await gather(closing)
    await judge_calls(closing, found)
    judge_markets(closing, found)
    closing.verdict.judge("supply_conserved", await supply_faults(closing.client))
    report = await report_of(closing, found, seconds)
    return report, [history_of(closing, found, name) for name in closing.plan.names]


async def gather(closing: Closing) -> Findings:
    """Read what the chain says, and work out what the traces say."""
    client, stage, plan = closing.client, closing.stage, closing.plan
    batches = await paid_batches(client, stage.lanes)
    results = {
        name: await chain_result(client, stage.registered, stage.window, market, batches[name])
        for name, market in stage.markets.items()
    }
    last = (await client.status()).height
    blocks = await read_blocks(client, stage.height_listed + 1, last)
    by_id = told(
        blocks, {market.market_id: plan.reference_price for market in stage.markets.values()}
    )
    return Findings(
        expected={
            trace.name: expected_of(trace, PRICES, WEIGHTS, plan.buckets) for trace in plan.traces
        },
        batches=batches,
        results=results,
        tales={name: by_id[market.market_id] for name, market in stage.markets.items()},
        books=await trader_books(client, closing.cast, stage.markets, by_id),
        insurance=await insurance_book(client, stage.markets, stage.insurance_before),
    )


async def judge_calls(closing: Closing, found: Findings) -> None:
    """Check paid calls, claims, splits, index and settlement price, and one receipt a model."""
    judge, names = closing.verdict.judge, closing.plan.names
    judge("receipt_proofs", [fault async for fault in proof_faults(closing)])
    params = await closing.client.params()
    finders: dict[str, Callable[[str], Iterable[str]]] = {
        "payments_match_trace": lambda name: total_faults(
            found.expected[name], found.results[name].paid
        ),
        "payment_splits": lambda name: all_split_faults(closing, found, name, params.split),
        "claims_released": lambda name: release_faults(closing, found, name),
        "index_uncut": lambda name: cut_faults(found.results[name].window),
        "settlement_price": lambda name: price_faults(found.expected[name], found.results[name]),
    }
    for check, faults in finders.items():
        judge(check, [f"{name}: {fault}" for name in names for fault in faults(name)])
    pool = await closing.client.query(
        "datasets.pool", dataset=closing.stage.registered.dataset_id, version=VERSION
    )
    earned = sum(split_totals(each).get("dataset", 0) for each in found.batches.values())
    paid = closing.contributions
    judge("contributors_paid", contributor_faults(earned, pool.received, paid, CONTRIBUTOR_WEIGHTS))


async def proof_faults(closing: Closing) -> AsyncIterator[str]:
    """Yield what is wrong with the proof of one call of each model, drawn from the seed."""
    for trace in closing.plan.traces:
        draw = generator_of(closing.plan.seed, f"proof/{trace.name}", 0)
        batch = draw.choice(closing.served.of(trace.name))
        index = draw.randrange(len(batch.receipts))
        evidence = await gather_evidence(closing.client, batch, index)
        lane = closing.stage.lanes[trace.name, batch.planned.payer]
        call = trace.calls[batch.planned.rows[index]]
        trust = await closing.client.trust_at(evidence.state.header.epoch)
        for fault in receipt_faults(evidence, trust, lane, call, PRICES):
            yield f"{trace.name} row {batch.planned.rows[index]}: {fault}"


def all_split_faults(
    closing: Closing, found: Findings, name: str, params: SplitParams
) -> Iterator[str]:
    """Yield what is wrong with any payment for one model."""
    cast = closing.cast
    recipients = Recipients(cast.operators[name].address, cast.developer.address, POOL)
    for batch in found.batches[name]:
        gross = batch.view.counted.amount
        if batch.payout is not None:
            yield from split_faults(batch.payout, gross, params, SPLIT, recipients)
        elif gross:
            yield f"the batch from call {batch.view.from_seq} on was not paid out"


def release_faults(closing: Closing, found: Findings, name: str) -> Iterator[str]:
    """Yield which batches are missing, or came too late for the settlement."""
    settled = closing.stage.markets[name].height_settle
    claimed = {batch.key for batch in closing.served.of(name)}
    there = {
        (batch.view.channel_id, batch.view.lane_no, batch.view.from_seq): batch.view.batch
        for batch in found.batches[name]
    }
    if claimed != there.keys():
        yield f"{len(claimed)} batches were claimed and the chain holds {len(there)}"
    for (_, _, first), row in there.items():
        if row.status != BatchStatus.RELEASED or row.released_height > settled:
            yield f"the batch from call {first} on was not released by height {settled}"


def judge_markets(closing: Closing, found: Findings) -> None:
    """Check what traded, what was quoted, the budget, and that money adds up."""
    judge, markets = closing.verdict.judge, closing.stage.markets
    roles = [role.name for role in ROLES]
    judge(
        "traded_every_role",
        [
            fault
            for name in markets
            for fault in role_faults(name, lots_by_role(closing, found, name), roles)
        ],
    )
    judge("both_sides_quoted", all_quote_faults(closing.seen, markets))
    judge(
        "oi_within_budget",
        [
            f"{name}: {fault}"
            for name, market in markets.items()
            for fault in budget_faults(found.tales[name].moments, market.budget_lots)
        ],
    )
    judge("orders_accepted", closing.seen.refusals)
    judge("pnl_sum_zero", money_faults(found.books, found.insurance))


def all_quote_faults(seen: Seen, markets: Mapping[str, Market]) -> list[str]:
    """The heights of every market at which a side of the book was missing."""
    return [
        f"{name}: {fault}"
        for name, market in markets.items()
        for fault in quote_faults(
            market.height_open, market.height_last, seen.quoted[name], seen.bare[name]
        )
    ]


def lots_by_role(closing: Closing, found: Findings, name: str) -> dict[str, int]:
    """Lots that each role bought and sold in one market."""
    traded = found.tales[name].lots
    return {role: traded.get(each.address, 0) for role, each in closing.cast.traders.items()}


async def report_of(closing: Closing, found: Findings, seconds: float) -> Report:
    """Write everything down."""
    status = await closing.client.status()
    named = closing.cast.named()
    return Report(
        models={name: model_report(closing, found, name) for name in closing.plan.names},
        pnl=decimals(pnl_by_account(found.books)),
        trading_fees=decimals(fees_by_account(found.books)),
        pnl_sum=str(pnl_sum(found.books, found.insurance)),
        supply_conserved=closing.verdict.checks["supply_conserved"],
        state_root=status.state_root.hex(),
        height=status.height,
        seconds=round(seconds, 3),
        checks=closing.verdict.checks,
        failures=closing.verdict.failures,
        seed=closing.plan.seed,
        accounts={name: format_address(account.address) for name, account in named.items()},
    )


def model_report(closing: Closing, found: Findings, name: str) -> ModelReport:
    """What one model's calls added up to on the chain, and what its future settled at."""
    result, expected = found.results[name], found.expected[name]
    trace = next(trace for trace in closing.plan.traces if trace.name == name)
    return ModelReport(
        calls=result.paid.calls,
        tokens_in=result.paid.tokens_in,
        tokens_cached=result.paid.tokens_cached,
        tokens_out=result.paid.tokens_out,
        grains_paid=str(result.paid.amount),
        index=result.window.units,
        settlement_price=result.settlement_price,
        tick_index=WEIGHTS.tick_index,
        settlement_price_expected=expected.settlement_price,
        rows_skipped=trace.rows_skipped,
        payment_split=decimals(split_totals(found.batches[name])),
        fills=lots_by_role(closing, found, name),
        open_interest_lots_max=max(
            (moment.open_interest_lots for moment in found.tales[name].moments), default=0
        ),
        budget_lots=closing.stage.markets[name].budget_lots,
    )


def split_totals(batches: Sequence[PaidBatch]) -> dict[str, int]:
    """Grains that each kind of recipient got over all payouts."""
    totals = dict.fromkeys(("burn", "validators", "audit", "treasury"), 0)
    for batch in batches:
        if batch.payout is None:
            continue
        for name in ("burn", "validators", "audit", "treasury"):
            totals[name] += getattr(batch.payout, name)
        for credit in batch.payout.credits:
            kind = credit.kind.name.lower()
            totals[kind] = totals.get(kind, 0) + credit.amount
    return totals


def history_of(closing: Closing, found: Findings, name: str) -> MarketHistory:
    """What the picture shows of one model."""
    market, window = closing.stage.markets[name], closing.stage.window
    return MarketHistory(
        name=name,
        moments=tuple(found.tales[name].moments),
        window_first=window.height_first,
        window_last=window.height_stop - 1,
        budget_lots=market.budget_lots,
        settlement_price=found.results[name].settlement_price,
        tick_index=WEIGHTS.tick_index,
    )


def decimals(amounts: Mapping[str, int]) -> dict[str, str]:
    """Amounts as the report writes them."""
    return {name: str(amount) for name, amount in amounts.items()}
