"""A small exchange for tests: a model with an index, one market on it, and few-word trading."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from state.modules import index
from state.modules.futures import queries
from state.modules.futures.accounts import DepositMargin, WithdrawMargin
from state.modules.futures.contracts import ListFuture
from state.modules.futures.insurance import DepositInsurance
from state.modules.futures.requests import CancelAll, Operation, Place, PlaceOrders, Side
from state.modules.index import CreateIndex
from state.modules.models.txs import RegisterModel
from state.params import FuturesParams, IndexParams, InferenceParams, Params, SplitParams
from state.registry import Message

MARGIN = 10**12
FIRST_BUCKET = 4
BUCKETS = 12
REFERENCE = 1_000


def devnet(**changes: Any) -> Params:
    """The devnet profile of the design as far as markets go, without a listing bond."""
    futures = {
        "epoch_blocks": 10,
        "listing_history_buckets": 0,
        "listing_bond": 0,
        "opening_blocks": 0,
        "gap_ms": (),
        "gap_auction_blocks": (),
        "auction_blocks": 0,
        "breaker_blocks": 0,
        "grace_blocks": 20,
    }
    return Params(
        split=SplitParams(1_000, 400, 200, 400),
        index=IndexParams(5, 12, 2**62, 0, 2**62, 0, 1_500_000, 12),
        inference=InferenceParams(
            dispute_window_blocks=20, leaf_answer_blocks=5, claim_window_blocks=20
        ),
        futures=FuturesParams(**{**futures, **changes}),
    )


TRADERS = (1, 2, 3, 4, 5)
"""Who trades in a story; account 0 validates and underwrites."""

CASH = 60 * 1_000 * 175
"""Sixty lots at full price, three hundred at initial margin."""


class Exchange:
    """One chain with a model, its index, and markets listed on it; accounts are numbered."""

    def __init__(
        self,
        make_chain: Any,
        *,
        accounts: int = 8,
        reference: int = REFERENCE,
        cap: int = 10 * REFERENCE,
        funded: bool = True,
        **changes: Any,
    ) -> None:
        self.chain = make_chain(devnet(**changes), accounts=accounts)
        events = self.chain.accept(RegisterModel("model"))
        self.model: bytes = events[0][1]
        self.chain.accept(CreateIndex(self.model, 1, 0, 4, 5 * 10**9, 1_000, 2**62))
        self.market = self.list_market(reference, cap)
        if funded:
            for account in range(accounts):
                self.chain.accept(DepositMargin(0, MARGIN), by=account)

    def list_market(
        self, reference: int = REFERENCE, cap: int = 10 * REFERENCE, first: int = FIRST_BUCKET
    ) -> int:
        """List a market and return its number."""
        events = self.chain.accept(ListFuture(self.model, first, BUCKETS, reference, cap))
        market: int = events[0][1]
        return market

    def demand(self, bucket: int, units: int) -> None:
        """Let a bucket have counted so many units, all of one payer and one provider."""
        state = self.chain.state
        who = self.chain.address(0)
        index.BUCKETS.put(state, (self.model, bucket), index.Bucket(units, units, 1, 0))
        index.PAYERS.put(state, (self.model, bucket, who), index.Usage(2**62, units))
        index.PROVIDERS.put(state, (self.model, bucket, who), index.Usage(2**62, units))

    def message(self, *operations: Operation, number: int = 0, market: int = 0) -> PlaceOrders:
        return PlaceOrders(market or self.market, number, operations)

    def trade(self, *orders: tuple[int, Operation]) -> list[str]:
        """Execute a block in which accounts send one operation each; return the reasons."""
        wires = [self.chain.wire([self.message(op)], by=account) for account, op in orders]
        outcomes = self.chain.block(*wires)
        assert all(outcome.code == "ok" for outcome in outcomes), outcomes
        reasons = {e[1]: e[4][0][0] for e in self.events("futures.operations")}
        return [reasons[outcome.tx_id] for outcome in outcomes]

    def match(self, buyer: int, seller: int, lots: int, price: int) -> None:
        """Let two accounts trade with each other at a price."""
        reasons = self.trade((buyer, buy(lots, price)), (seller, sell(lots, price)))
        assert reasons == ["OK", "OK"]

    def events(self, tag: str) -> list[Any]:
        """Return the last block's events with this tag."""
        return [event for event in self.chain.block_events if event[0] == tag]

    def view(self, market: int = 0) -> queries.MarketView:
        found: queries.MarketView = self.chain.query(queries.market, market or self.market)
        return found

    def account(self, account: int, number: int = 0) -> queries.SubaccountView:
        found: queries.SubaccountView = self.chain.query(
            queries.subaccount, self.chain.address(account), number
        )
        return found

    def settle(self, market: int = 0) -> queries.SettlementView:
        """Go on until the market has paid out, and return the proof."""
        market = market or self.market
        self.chain.advance_to(max(self.chain.height, self.view(market).settle_height))
        while self.view(market).status.name == "SETTLING":
            self.chain.end_block()
        assert self.view(market).status.name == "SETTLED"
        found: queries.SettlementView = self.chain.query(queries.settlement, market)
        return found

    def profit(self, account: int, number: int = 0) -> int:
        """Profit before trading fees: cash + withdrawals - deposits + fees (the demo's pnl)."""
        view = self.account(account, number)
        return view.cash + view.withdrawn - view.deposited + view.fees

    def refuse(self, code: str, message: Message, by: int = 0) -> str:
        sentence: str = self.chain.refuse(code, message, by=by)
        return sentence


def buy(lots: int, limit: int, **fields: Any) -> Place:
    return Place(Side.BUY, lots, limit, **fields)


def sell(lots: int, limit: int, **fields: Any) -> Place:
    return Place(Side.SELL, lots, limit, **fields)


@pytest.fixture(scope="session")
def make_exchange(make_chain: Any) -> Any:
    """The class bound to the chain: call it with parameters of futures by name."""

    def make(**changes: Any) -> Exchange:
        return Exchange(make_chain, **changes)

    return make


@pytest.fixture
def exchange(make_chain: Any) -> Exchange:
    """An exchange with one open market and eight funded accounts."""
    return Exchange(make_chain)


@pytest.fixture(scope="session")
def orders() -> tuple[Any, Any]:
    """The functions `buy` and `sell` that make orders of few words."""
    return buy, sell


def play_story(
    exchange: Any, orders: Any, story: list[Any], *, order: int = 1
) -> tuple[list[bytes], list[Any]]:
    """Play a story of blocks; `order` -1 puts each block's transactions backwards."""
    buy, sell = orders
    chain = exchange.chain
    quarantined: list[Any] = []
    for moves, units in story:
        bucket = chain.height // 5
        if 4 <= bucket < 16 and units:
            exchange.demand(bucket, units * 10)
        mark = exchange.view().mark
        wires = []
        for account, what, lots, away, tif, reduce in moves:
            limit = max(1, mark + mark * away // 1_000)
            message: Any
            if what in ("buy", "sell"):
                place = (buy if what == "buy" else sell)(
                    lots, limit, tif=tif, reduce_only=reduce and tif < 2
                )
                message = PlaceOrders(exchange.market, 0, (place,))
            elif what == "cancel":
                message = PlaceOrders(exchange.market, 0, (CancelAll(),))
            elif what == "deposit":
                message = DepositMargin(0, lots * 1_000)
            else:
                free = exchange.account(account).withdrawable
                message = WithdrawMargin(0, max(1, free * lots // 120))
            wires.append(chain.wire([message], by=account))
        chain.block(*wires[::order])
        quarantined += exchange.events("futures.quarantined")
    return wires, quarantined


def start_poor(make_exchange: Any, insured: int, **changes: Any) -> Any:
    exchange = make_exchange(funded=False, accounts=6, **changes)
    for account in TRADERS:
        exchange.chain.accept(DepositMargin(0, CASH), by=account)
    if insured:
        exchange.chain.accept(DepositInsurance(exchange.market, insured))
    return exchange


def random_story(seed: int) -> list[Any]:
    """Return forty blocks of what poor traders do while prices trend one way or the other."""
    chance = random.Random(seed)
    story = []
    trend = chance.choice((-60, 0, 60))
    for _ in range(40):
        if chance.random() < 0.15:
            trend = chance.choice((-60, 0, 60))
        moves = []
        for _ in range(chance.randint(0, 6)):
            away = max(-100, min(100, chance.randint(-60, 60) + trend))
            what = chance.choice(("buy", "sell", "buy", "sell", "cancel", "withdraw", "deposit"))
            moves.append(
                (
                    chance.choice(TRADERS),
                    what,
                    chance.randint(1, 120),
                    away,
                    chance.randint(0, 2),
                    chance.random() < 0.3,
                )
            )
        story.append((moves, chance.choice((0, chance.randint(0, 60_000)))))
    return story


@pytest.fixture(scope="session")
def play() -> Callable[..., Any]:
    """The function that plays a story of blocks."""
    return play_story


@pytest.fixture(scope="session")
def start() -> Callable[..., Any]:
    """The function that makes an exchange of five poor traders."""
    return start_poor


@pytest.fixture(scope="session")
def story_of() -> Callable[[int], list[Any]]:
    """The function that makes a story from a seed."""
    return random_story
