"""How fast the network is while nothing is done to it: blocks, and finality as a client sees it.

`docs/operations.md` tells the bounds. A block takes two messages, a proposal and the votes for it,
and is final with a third; a transaction waits for the next block besides.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles

import msgspec

from node.campaign.findings import Findings
from node.campaign.ledger import Ledger
from node.campaign.member import Member
from node.client import Account, ClientError
from node.rpc.backend import Stage
from state.modules.bank import Transfer

PROBE_SECONDS = 1.0
POLL_SECONDS = 0.01
FINAL_SECONDS_MAX = 10.0
SAMPLES_MIN = 5
INTERVAL_DELAYS_MAX = 4
"""Half of all blocks follow the one before within so many delays of one way, beyond the pace."""

FINALITY_DELAYS_MAX = 10
"""Half of all transfers are final after so many delays, beyond the pace that is set."""

COMPUTING_MS_MAX = 250
"""What four nodes on two cores need for a block and its votes, beside what the network takes."""


class Spread(msgspec.Struct, frozen=True):
    """A figure by how often it is not exceeded, in milliseconds."""

    samples: int
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0


def spread_of(values_ms: Sequence[float]) -> Spread:
    """Return a figure's spread."""
    if len(values_ms) < 2:
        return Spread(len(values_ms), *(list(values_ms) * 4))
    cuts = quantiles(values_ms, n=100, method="inclusive")
    told = (cuts[49], cuts[89], cuts[98], max(values_ms))
    return Spread(len(values_ms), *(round(value, 1) for value in told))


@dataclass(slots=True)
class Probe:
    """Sends a transfer a second while all is quiet, and times it until its node calls it final."""

    members: Sequence[Member]
    ledger: Ledger
    payer: Account
    chance: random.Random
    is_quiet: Callable[[], bool]
    finality_ms: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            if self.is_quiet():
                try:
                    await self._probe(self.chance.choice(self.members))
                except ClientError as error:
                    self.ledger.refuse(error.code)

    async def _probe(self, member: Member) -> None:
        client = member.client
        signed = await client.build(self.payer, Transfer(self.payer.address, 1))
        began = time.monotonic()
        await client.submit(signed.wire)
        sent = self.ledger.admitted(signed.tx_id, signed.wire, member.index)
        while self.is_quiet() and time.monotonic() < began + FINAL_SECONDS_MAX:
            await asyncio.sleep(POLL_SECONDS)
            status = await client.transaction_status(sent.tx_id)
            if status.stage is Stage.FINAL:
                self.finality_ms.append((time.monotonic() - began) * 1_000)
                self.ledger.told(member.index, status)
                return
        if self.is_quiet():  # at least so long: left out, it would make the network look faster
            self.finality_ms.append(FINAL_SECONDS_MAX * 1_000)


def intervals_ms(times_ms: Mapping[int, int], height_last: int) -> list[float]:
    """Return how long each block up to a height came after the one before, by their headers."""
    return [
        float(time_ms - times_ms[height - 1])
        for height, time_ms in times_ms.items()
        if height - 1 in times_ms and 1 < height <= height_last
    ]


def hold_pace(
    findings: Findings, delay_ms: int, block_time_ms: int, interval: Spread, finality: Spread
) -> None:
    """Find wrong a network that is slower than its links explain, or too slow to be measured."""
    bounds = (
        ("block interval", interval, INTERVAL_DELAYS_MAX),
        ("finality", finality, FINALITY_DELAYS_MAX),
    )
    for name, spread, delays in bounds:
        bound = block_time_ms + delays * delay_ms + COMPUTING_MS_MAX
        if spread.samples < SAMPLES_MIN:
            findings.add(
                "campaign.not_measured",
                name,
                f"The {name} was measured {spread.samples} times, and {SAMPLES_MIN} tell something "
                "about it; give the campaign more --seconds.",
            )
        elif spread.p50 > bound:
            findings.add(
                "campaign.slow",
                name,
                f"The median {name} is {spread.p50:g} ms, over {bound} ms: {block_time_ms} ms of "
                f"pace, {delays} delays of {delay_ms} ms, {COMPUTING_MS_MAX} ms of computing.",
            )
