"""The view that a market carries from block to block is that of the rows."""

import random
from typing import Any

import pytest

from state.codec import encode
from state.modules.futures.accounts import DepositMargin
from state.modules.futures.members import Members, load
from state.modules.futures.requests import CancelAll, PlaceOrders
from state.tables import State


def shape(members: Members) -> Any:
    rows = {key: encode(row) for key, row in members.rows.items()}
    return rows, members.keys, sorted(members.quoting), sorted(members.flagged)


def keep_layers(chain: Any) -> None:
    """Let every block run over the layer of the last one, as a node does."""
    finalize = chain._finalize

    def layered(layer: State) -> None:
        finalize(layer)
        layer.below = chain.state.below
        chain.state = layer

    chain._finalize = layered


@pytest.mark.parametrize("seed", range(6))
def test_blocks_over_layers_end_in_the_rows_of_blocks_over_a_store(
    make_exchange: Any, orders: Any, seed: int
) -> None:
    buy, sell = orders
    ends = []
    for layers in (False, True):
        story = random.Random(seed)
        exchange = make_exchange(funded=False, accounts=6)
        chain, second = exchange.chain, exchange.list_market(first=6)
        if layers:
            keep_layers(chain)
        for account in range(6):
            chain.accept(DepositMargin(0, 25 * 1_000 * 175), by=account)
        for _ in range(60):
            wires = []
            for account in range(6):
                market = story.choice((exchange.market, second))
                mark = exchange.view(market).mark
                side = story.choice((buy, sell))
                limit = max(1, mark + mark * story.randint(-90, 90) // 1_000)
                place = side(story.randint(1, 40), limit)
                operations = (place,) if story.random() < 0.8 else (CancelAll(),)
                if story.random() < 0.2:
                    wires.append(chain.wire([DepositMargin(0, 10**5)], by=account))
                wires.append(chain.wire([PlaceOrders(market, 0, operations)], by=account))
            chain.block(*wires)
            assert exchange.events("futures.quarantined") == []
            if layers:
                for market in (exchange.market, second):
                    carried = chain.state.derived.get(("futures.members", market))
                    fresh = load(State(State(chain.state.below)), market)
                    assert carried is None or shape(carried) == shape(fresh)
        ends.append(chain.rows)
    assert ends[0] == ends[1]
