"""Trading: at every height each trader looks at each market through queries, and acts once.

The floor also keeps what it saw of the book at every height, for the check that both sides were
quoted; everything else is read from the blocks afterwards.
"""

from dataclasses import dataclass, field

from node.client import Account, Refused, SaharaClient
from node.demo.agents import ROLES
from node.demo.cast import Cast
from node.demo.exchange import Market, Sight, look, orders_of, view_of
from node.demo.heights import Heights
from node.demo.lanes import Lanes
from node.demo.profile import DemoPlan


@dataclass(slots=True)
class Seen:
    """What the floor saw: per market the heights with both sides quoted, and those without."""

    quoted: dict[str, list[int]] = field(default_factory=dict)
    bare: dict[str, list[int]] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    open_interest: dict[str, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)


class Floor:
    """All traders in all markets."""

    def __init__(
        self,
        client: SaharaClient,
        cast: Cast,
        plan: DemoPlan,
        markets: dict[str, Market],
        lanes: Lanes,
    ) -> None:
        self._client = client
        self._traders: dict[str, Account] = cast.traders
        self._seed = plan.seed
        self._markets = markets
        self._channels = {
            name: [lane.channel_id for lane in lanes.values() if lane.model == name]
            for name in markets
        }
        self.seen = Seen(quoted={name: [] for name in markets}, bare={name: [] for name in markets})

    async def run(self, heights: Heights) -> None:
        """Trade until the last block in which the markets do."""
        last = max(market.height_last for market in self._markets.values())
        height = heights.height
        while height <= last:
            sight = await look(self._client, self._markets, self._traders, self._channels)
            self._note(sight)
            if sight.height < last:
                await self._act(sight)
            height = await heights.reach(sight.height + 1)

    def _note(self, sight: Sight) -> None:
        seen = self.seen
        for name, market in self._markets.items():
            state = sight.markets[name]
            seen.marks[name] = state.mark
            seen.open_interest[name] = state.open_interest
            if market.height_open <= sight.height <= market.height_last:
                both = state.best_bid is not None and state.best_ask is not None
                (seen.quoted if both else seen.bare)[name].append(sight.height)

    async def _act(self, sight: Sight) -> None:
        """Send what every trader wants in every market, each in a transaction of its own."""
        signed = []
        for role in ROLES:
            account = self._traders[role.name]
            for name, market in self._markets.items():
                intents = role.act(view_of(sight, market, role.name), self._seed, name)
                if intents:
                    message = orders_of(market, intents)
                    signed.append((account, await self._client.build(account, message)))
        answers = await self._client.submit_many([each.wire for _, each in signed])
        for (account, each), answer in zip(signed, answers, strict=True):
            if isinstance(answer, Refused):
                account.give_back(each.nonce)
                self.seen.refusals.append(f"{answer.code}: {answer.sentence}")
