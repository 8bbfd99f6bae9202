"""A futures market inside the state machine: order batches, the health sweep, final settlement.

Run as `python -m bench.market [--accounts N] [--positions N]`. Batches of 64 operations go from
admission to a synced commit with root; signatures are verified beforehand. The limit of the first
figure is `clear_market` on the orders of the same block: what is above it is everything around the
auction. Sweep and settlement run in memory over rows that were put there by hand.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from nacl.signing import SigningKey

from bench.execute import run_block
from bench.measure import ratio, report
from node.application import Application
from node.storage.chain_store import ChainStore
from node.storage.kv import LevelDb
from state import crypto
from state.codec import encode
from state.context import BlockContext
from state.execute import check_block
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.futures.accounts import DepositMargin
from state.modules.futures.clearing import clear_market
from state.modules.futures.contracts import ListFuture
from state.modules.futures.margin import Position, Ranges, below_maintenance
from state.modules.futures.payment import begin_settlement, continue_settlement
from state.modules.futures.records import (
    CONTRACTS,
    MARKETS,
    MEMBERS,
    SUBACCOUNTS,
    Member,
    Resting,
    Status,
    Subaccount,
)
from state.modules.futures.requests import CancelAll, Operation, Place, PlaceOrders, Side
from state.modules.index import CreateIndex
from state.modules.models.records import MODELS
from state.modules.models.txs import RegisterModel
from state.params import FuturesParams, IndexParams, Params, SplitParams
from state.registry import Message
from state.tables import State
from state.transaction import Body, KeySignature, assemble, transaction_id
from state.types import ZERO_HASH

ORDER_BAR, ORDER_GOAL = 60_000, 200_000
SWEEP_BAR_MS, SETTLE_BAR_S = 40, 2
BATCH, BLOCKS, WARM_BLOCKS = 64, 12, 2
REFERENCE = 1_000
MARGIN = 10**12


@contextmanager
def untimed(stage: str) -> Iterator[None]:
    """Take no note of the application's stages: the whole block is what is timed."""
    yield


class Bench:
    """A chain with one market, and accounts that send one transaction a block each."""

    def __init__(self, accounts: int, folder: str) -> None:
        self.keys = [SigningKey(number.to_bytes(32, "big")) for number in range(1, accounts + 1)]
        self.addresses = [crypto.address_of(bytes(key.verify_key)) for key in self.keys]
        self.nonce = 0
        self.genesis = Genesis(
            "bench",
            0,
            Params(
                split=SplitParams(1_000, 400, 200, 400),
                index=IndexParams(bucket_blocks=100),
                futures=FuturesParams(listing_history_buckets=0, listing_bond=0, opening_blocks=0),
            ),
            tuple(Allocation(address, 10 * MARGIN) for address in self.addresses),
            (GenesisValidator(bytes(self.keys[0].verify_key), self.addresses[0], MARGIN),),
        )
        self.store = LevelDb(Path(folder) / "db", create=True)
        self.application = Application(
            ChainStore(self.store, self.genesis),
            self.genesis,
            invariants_every_blocks=10**9,
            timed=untimed,
        )

    def wires(self, messages: Sequence[Sequence[Message]]) -> list[bytes]:
        """Sign the messages of each account as one transaction."""
        self.nonce += 1
        found = []
        for key, address, content in zip(self.keys, self.addresses, messages, strict=False):
            body = Body(address, self.nonce, 1_000, 10**8, tuple(content))
            signature = key.sign(transaction_id(self.genesis.hash, encode(body))).signature
            found.append(assemble(body, (KeySignature(bytes(key.verify_key), signature),)))
        return found

    def run(self, messages: Sequence[Sequence[Message]]) -> tuple[float, State]:
        """Execute one block; return its seconds and its layer of state."""
        wires = self.wires(messages)
        found = check_block(wires, self.application.decoder, self.genesis.params.fees, wires)
        start = time.perf_counter()
        candidate = run_block(self.application, found)
        seconds = time.perf_counter() - start
        outcomes = candidate.executed.result.outcomes
        assert all(outcome.status == 0 for outcome in outcomes), outcomes[0].sentence
        return seconds, candidate.executed.state

    def open_market(self) -> None:
        """Register a model, create its index, list a future, and fund all accounts."""
        _, state = self.run([[RegisterModel("model")]])
        model = next(key for key, _ in MODELS.scan(state))
        self.run([[CreateIndex(model, 1, 0, 4, 5 * 10**9, 1_000, 0)]])
        self.run([[ListFuture(model, 1, 12, REFERENCE, 10 * REFERENCE)]])
        self.run([[DepositMargin(0, MARGIN)] for _ in self.keys])

    def batches(self, chance: random.Random) -> list[list[Message]]:
        """Return for each account a cancel-all and 63 quotes, three of which reach across."""
        found: list[list[Message]] = []
        for number in range(len(self.keys)):
            operations: list[Operation] = [CancelAll()]
            taker = Side(number & 1)
            reach = 5 if taker is Side.BUY else -5
            operations += [Place(taker, chance.randint(1, 3), REFERENCE + reach) for _ in range(3)]
            while len(operations) < BATCH:
                side = Side(chance.randrange(2))
                away = chance.randint(6, 60)
                limit = REFERENCE - away if side is Side.BUY else REFERENCE + away
                operations.append(Place(side, chance.randint(1, 3), limit))
            found.append([PlaceOrders(1, 0, tuple(operations))])
        return found

    def clear_alone(self, messages: Sequence[Sequence[Message]]) -> float:
        """Seconds that the auction takes over the orders of these batches."""
        orders = [
            Resting(bytes(30) + n.to_bytes(2, "big"), bytes(24), int(op.side), op.lots, op.limit, 1)
            for content in messages
            for message in content
            if isinstance(message, PlaceOrders)
            for n, op in enumerate(message.operations)
            if isinstance(op, Place)
        ]
        start = time.perf_counter()
        clear_market(
            orders,
            reference=REFERENCE,
            band=(900, 1_100),
            positions={},
            open_interest=0,
            oi_max=2**62,
        )
        return time.perf_counter() - start

    def context(self, state: State, height: int) -> BlockContext:
        """Return a context in which module functions can be called directly."""
        genesis = self.genesis
        return BlockContext(
            state, height, 0, genesis.params, genesis.hash, self.addresses[0], ZERO_HASH
        )


def sweep_ms(accounts: int) -> float:
    """Milliseconds to look at the health of that many accounts with three positions each."""
    terms = [(n.to_bytes(24, "big"), 10**7, Position(1, -175_000)) for n in range(accounts)]
    bounds = _bounds()
    spent = []
    for _ in range(9):
        start = time.perf_counter()
        for _ in range(3):
            below_maintenance(terms, bounds, 175)
        spent.append(time.perf_counter() - start)
    return round(median(spent) * 1e3, 2)


def _bounds() -> Ranges:
    return Ranges(1_000, 800, 1_200, 900, 1_100, 900, 1_100)


def settle_s(bench: Bench, below: State, positions: int) -> tuple[float, float]:
    """Seconds to settle that many positions, and milliseconds of the slowest block."""
    state = State(below)
    lots = 1
    for number in range(positions):
        owner = number.to_bytes(20, "big")
        lots = -lots
        row = Subaccount(cash=10**9, market_id=1, lots=lots, quote=-lots * REFERENCE * 175)
        SUBACCOUNTS.put(state, (owner, 0), row)
        MEMBERS.put(state, (1, owner, 0), Member())
    contract = CONTRACTS.require(state, 1)
    height = contract.settle_height
    blocks: list[float] = []
    while MARKETS.require(state, 1).status is not Status.SETTLED:
        state = State(state)
        start = time.perf_counter()
        if not blocks:
            begin_settlement(bench.context(state, height), contract, MARKETS.require(state, 1))
        continue_settlement(bench.context(state, height), contract)
        blocks.append(time.perf_counter() - start)
        state = _flat(state)
        height += 1
    return round(sum(blocks), 3), round(max(blocks) * 1e3, 1)


def _flat(layer: State) -> State:
    """Fold a layer into the one below, as a database would, so that layers do not pile up."""
    below = layer.below
    assert isinstance(below, State)
    for key, row in layer.rows.items():
        below.write(key, row)
    return below


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--positions", type=int, default=100_000)
    given = parser.parse_args()
    chance = random.Random(7)
    spent: list[float] = []
    limit: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(given.accounts, folder)
        bench.open_market()
        for _ in range(BLOCKS):
            messages = bench.batches(chance)
            seconds, state = bench.run(messages)
            spent.append(seconds)
            limit.append(bench.clear_alone(messages))
        settled, slowest = settle_s(bench, state, given.positions)
        bench.store.close()
    spent, limit = spent[WARM_BLOCKS:], limit[WARM_BLOCKS:]
    per_second = round(BATCH * given.accounts / median(spent))
    swept = sweep_ms(20_000)
    figures = {
        "accounts": given.accounts,
        "operations_per_block": BATCH * given.accounts,
        "operations_per_second": per_second,
        "over_clear_alone": ratio(spent, limit),
        "sweep_20000_x_3_ms": swept,
        "settled_positions": given.positions,
        "settle_s": settled,
        "settle_slowest_block_ms": slowest,
        "bar": ORDER_BAR,
        "goal": ORDER_GOAL,
        "sweep_bar_ms": SWEEP_BAR_MS,
        "settle_bar_s": SETTLE_BAR_S,
    }
    met = per_second >= ORDER_BAR and swept <= SWEEP_BAR_MS and settled <= SETTLE_BAR_S
    report("market", figures, met)


if __name__ == "__main__":
    main()
