"""The history of the markets, told by the events of every block: nothing is sampled or guessed."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from node.client import SaharaClient
from node.demo.plot import Moment
from node.demo.steps import event_from
from node.rpc.methods import BlockView
from state.context import Event
from state.modules.futures.events import Cleared, Filled, Marked, Settled, StatusChanged
from state.modules.futures.records import Status
from state.types import Address


@dataclass(slots=True)
class MarketTale:
    """One market over the heights of the run."""

    mark: int
    accrued: int = 0
    open_interest: int = 0
    moments: list[Moment] = field(default_factory=list)
    statuses: list[tuple[int, Status]] = field(default_factory=list)
    lots: dict[Address, int] = field(default_factory=dict)
    """Lots that each owner bought and sold."""
    fees: dict[Address, int] = field(default_factory=dict)
    """Trading fees less rebates over the owner's fills, in grains."""

    def hear(self, event: Event) -> tuple[int, int] | None:
        """Take in one event of this market; returns price and lots of an auction."""
        match event:
            case Marked():
                self.mark, self.accrued = event.mark, event.floor
                self.open_interest = event.open_interest
            case Filled():
                self.lots[event.owner] = self.lots.get(event.owner, 0) + event.lots
                self.fees[event.owner] = self.fees.get(event.owner, 0) + event.fee
            case Cleared():
                self.open_interest = event.open_interest
                return event.price, event.lots
            case Settled():
                self.mark = self.accrued = event.price
                self.open_interest = 0
            case _:
                pass
        return None


def told(
    blocks: Iterable[tuple[int, Iterable[Event]]], marks: dict[int, int]
) -> dict[int, MarketTale]:
    """Return the tale of each market from the events of consecutive blocks.

    `marks` holds the first mark of each market by its number.
    """
    tales = {market_id: MarketTale(mark) for market_id, mark in marks.items()}
    for height, events in blocks:
        traded: dict[int, tuple[int, int]] = {}
        for event in events:
            market_id = getattr(event, "market_id", None)
            if market_id not in tales:
                continue
            if isinstance(event, StatusChanged):
                tales[market_id].statuses.append((height, event.status))
            auction = tales[market_id].hear(event)
            if auction is not None:
                traded[market_id] = auction
        for market_id, tale in tales.items():
            price, lots = traded.get(market_id, (None, 0))
            tale.moments.append(
                Moment(height, tale.accrued, tale.mark, price, lots, tale.open_interest)
            )
    return tales


async def read_blocks(client: SaharaClient, first: int, last: int) -> list[tuple[int, list[Event]]]:
    """Return the events of the blocks first..last, those of transactions before the block's own."""
    return [
        (height, events_of_block(await client.block(height))) for height in range(first, last + 1)
    ]


def events_of_block(block: BlockView) -> list[Event]:
    """Return every event of a block in order."""
    packed = [event for outcome in block.outcomes for event in outcome.events]
    return [event_from(each) for each in (*packed, *block.events)]
