"""Transfers through several nodes at once, each followed until some node calls it final."""

import asyncio
import random
import time
from collections.abc import Sequence

from node.campaign.ledger import Ledger, Sent
from node.campaign.member import Member
from node.client import Account, ClientError, Refused
from node.client.protocol import BATCH_MAX, Call
from node.rpc.backend import Stage, TxStatus
from state.modules.bank import Transfer

PAYERS = 8
FUNDS_GRAINS = 10**15
ASK_SECONDS = 0.2
SEND_AGAIN_SECONDS = 8.0
"""A client that heard nothing for so long hands the same bytes in again, elsewhere.

Not so what the network must keep by itself: handing that in again would hide that it was lost.
"""

SPREAD_SECONDS = 5.0
"""After so long more than a minority knows of a transfer, where nothing was done to the nodes."""

PENDING = ("mempool.already_pending",)
GRAINS_AT_ONCE = 7


def payers_of(seed: int) -> list[Account]:
    """Return the accounts that pay, the same for a seed."""
    return [
        Account.from_seed(b"campaign" + seed.to_bytes(16, "big") + number.to_bytes(8, "big"))
        for number in range(PAYERS)
    ]


class Load:
    """Sends at a steady rate through whichever nodes run, and asks what became of everything."""

    def __init__(
        self, members: Sequence[Member], ledger: Ledger, seed: int, rate_per_second: float
    ) -> None:
        self.payers = payers_of(seed)
        self._members = members
        self._ledger = ledger
        self._chance = random.Random(seed)
        self._pause_seconds = len(self.payers) / rate_per_second

    async def send(self) -> None:
        """Send until cancelled."""
        await asyncio.gather(*[self._pay(payer) for payer in self.payers])

    async def ask(self) -> None:
        """Ask what became of everything that is not final, until cancelled."""
        while True:
            await asyncio.sleep(ASK_SECONDS)
            member = self._any_up()
            if member is not None and self._ledger.waiting:
                await self._ask(member, list(self._ledger.waiting.values()))
                await self._hold_spread()
                await self._send_late_again()

    async def _pay(self, payer: Account) -> None:
        await asyncio.sleep(self._chance.random() * self._pause_seconds)
        while True:
            due = time.monotonic() + self._pause_seconds
            member = self._any_up()
            if member is not None:
                try:
                    await self._send_one(payer, member)
                except ClientError as error:
                    self._ledger.refuse(error.code)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _send_one(self, payer: Account, member: Member) -> None:
        recipient = self._chance.choice(self.payers).address
        signed = await member.client.build(payer, Transfer(recipient, GRAINS_AT_ONCE))
        try:
            await member.client.submit(signed.wire)
        except Refused as error:
            if error.code not in PENDING:
                raise
        self._ledger.admitted(signed.tx_id, signed.wire, member.index)

    async def _ask(self, member: Member, asked: Sequence[Sent]) -> None:
        """Ask one node about some transactions."""
        for at in range(0, len(asked), BATCH_MAX):
            part = asked[at : at + BATCH_MAX]
            calls: list[Call] = [("tx.status", {"tx_id": sent.tx_id}) for sent in part]
            try:
                answers = await member.client.query_many(calls)
            except ClientError:
                return  # it was ended meanwhile, or hangs; another is asked next time
            for answer in answers:
                if isinstance(answer, TxStatus):
                    self._ledger.told(member.index, answer)

    async def _hold_spread(self) -> None:
        """Ask every node about what should be known to more than a minority by now."""
        asked = self._ledger.unspread(SPREAD_SECONDS)
        if asked and all(member.is_up for member in self._members):
            await self._unknown_to_all(asked)

    async def _send_late_again(self) -> None:
        """Hand in again what took too long, after asking everybody whether it is lost."""
        now = time.monotonic()
        late = [
            sent
            for sent in self._ledger.waiting.values()
            if now - sent.sent_again_at > SEND_AGAIN_SECONDS
        ]
        if not late:
            return
        for sent in late:
            sent.sent_again_at = now
        if all(member.is_up for member in self._members):
            for sent in await self._unknown_to_all(late):
                self._ledger.unknown_to_all(sent)
        member = self._any_up()
        again = [sent for sent in late if sent.place is None and not self._ledger.must_live(sent)]
        if member is None or not again:
            return
        self._ledger.sent_again += len(again)
        try:
            answers = await member.client.submit_many([sent.wire for sent in again])
        except ClientError:
            return  # the next time through another node
        for answer in answers:
            if isinstance(answer, Refused) and answer.code not in PENDING:
                self._ledger.refuse(answer.code)

    async def _unknown_to_all(self, asked: Sequence[Sent]) -> list[Sent]:
        """Return those of which every node says that it does not have them, once all answered."""
        unknown = {sent.tx_id: sent for sent in asked}
        calls: list[Call] = [("tx.status", {"tx_id": sent.tx_id}) for sent in asked]
        for member in self._members:
            try:
                answers = await member.client.query_many(calls)
            except ClientError:
                return []  # who does not answer may have it
            for sent, answer in zip(asked, answers, strict=True):
                if isinstance(answer, TxStatus):
                    self._ledger.told(member.index, answer)
                    unknown.pop(sent.tx_id, None)
        self._ledger.judge_spread(asked)
        return list(unknown.values())

    def _any_up(self) -> Member | None:
        up = [member for member in self._members if member.is_up]
        return self._chance.choice(up) if up else None


async def hold_to_promises(member: Member, ledger: Ledger, lowest: int) -> int:
    """Ask a node about all that was acknowledged from a height on; return how many answers came.

    What lies below it knows by its snapshot's state alone, which is held against that of others.
    """
    held = [one for one in ledger.acknowledged if one.place and one.place.height >= lowest]
    for at in range(0, len(held), BATCH_MAX):
        part = held[at : at + BATCH_MAX]
        calls: list[Call] = [("tx.status", {"tx_id": sent.tx_id}) for sent in part]
        for sent, answer in zip(part, await member.client.query_many(calls), strict=True):
            if isinstance(answer, TxStatus) and answer.stage is Stage.FINAL:
                ledger.told(member.index, answer)
            else:
                ledger.not_final_at(sent, member.index)
    return len(held)
