"""Transfers: a few accounts that send each other small amounts at an even pace, for ever."""

import asyncio
from collections.abc import Sequence

from node.client import Account, ClientError, SaharaClient
from node.demo.seeds import key_seed_of
from node.demo.steps import perform
from state.modules.bank import Transfer
from state.types import GRAINS_PER_SAHARA

SENDERS = 16
SENDER_GRAINS = 1_000 * GRAINS_PER_SAHARA
AMOUNT = 1_000
REST_SECONDS = 1.0
"""How long a sender rests that was refused."""


def senders_of(seed: int) -> list[Account]:
    """The accounts that take part; equal seeds give equal keys."""
    return [Account.from_seed(key_seed_of(seed, f"sender {n}")) for n in range(SENDERS)]


class Transfers:
    """Sends `per_s` transfers a second, as far as the network takes them."""

    def __init__(self, client: SaharaClient, senders: Sequence[Account], per_s: float) -> None:
        self._client = client
        self._senders = senders
        self._pause_seconds = len(senders) / per_s
        self.sent = 0
        self.refused = 0

    async def fund(self, faucet: Account) -> None:
        """Give every sender what it needs for years."""
        transfers = [Transfer(sender.address, SENDER_GRAINS) for sender in self._senders]
        await perform(self._client, "funding the senders", [(faucet, tuple(transfers))])

    async def run(self) -> None:
        """Send until cancelled; raises Unreachable when no node has answered for long."""
        nexts = [*self._senders[1:], self._senders[0]]
        async with asyncio.TaskGroup() as group:
            for place, (sender, other) in enumerate(zip(self._senders, nexts, strict=True)):
                late_seconds = self._pause_seconds * place / len(self._senders)
                group.create_task(self._send(sender, other, late_seconds))

    async def _send(self, sender: Account, other: Account, late_seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        due = clock() + late_seconds
        while True:
            await asyncio.sleep(due - clock())
            # what was missed meanwhile is not made up for: that would be a burst
            due = max(due + self._pause_seconds, clock())
            try:
                await self._client.send(sender, Transfer(other.address, AMOUNT))
            except ClientError:
                self.refused += 1
                await asyncio.sleep(REST_SECONDS)
            else:
                self.sent += 1
