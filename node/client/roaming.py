"""RoamingClient: one network over several of its nodes, any of which may go away.

It asks one node, and the one that is farthest ahead once that one does not answer. Transactions
that it has built are kept for a while: what a node took with it is sent to another.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, cast

from node.client.accounts import Account
from node.client.asynchronous import VALID_BLOCKS, SaharaClient, Signed
from node.client.errors import ClientError, Refused, Unreachable
from node.rpc.backend import Stage, TxStatus
from state.errors import NotFound
from state.registry import Message
from state.types import Hash

ANSWER_SECONDS_MAX = 5.0
STATUS_SECONDS_MAX = 2.0
RETRY_SECONDS = 0.25
KEPT_MAX = 4_096
"""Transactions that are remembered, the oldest forgotten first."""


class RoamingClient(SaharaClient):
    """A client of every node that `urls` names whenever it is asked."""

    def __init__(
        self,
        urls: Callable[[], Sequence[str]],
        *,
        genesis_hash: Hash,
        away_seconds_max: float = 30.0,
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        super().__init__(urls()[0], genesis_hash=genesis_hash, timeout_seconds=answer_seconds_max)
        self._urls = urls
        self._network = genesis_hash
        self._away_seconds_max = away_seconds_max
        self._choosing = asyncio.Lock()
        self._kept: OrderedDict[Hash, bytes] = OrderedDict()

    async def choose(self) -> None:
        """Ask the node from now on whose chain is longest; raises Unreachable when none answers."""
        urls = self._urls()
        heights = await asyncio.gather(*(self._height(url) for url in urls))
        best, url = max(zip(heights, urls, strict=True))
        if best < 0:
            raise Unreachable("None of the network's nodes answers; is it running?")
        self.url = url.rstrip("/")

    async def _height(self, url: str) -> int:
        async with SaharaClient(
            url, genesis_hash=self._network, timeout_seconds=STATUS_SECONDS_MAX
        ) as client:
            try:
                return (await client.status()).finalized_height
            except ClientError:
                return -1

    async def _post(self, body: bytes) -> bytes:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._away_seconds_max
        while True:
            asked = self.url
            try:
                return await super()._post(body)
            except Unreachable:
                if clock() > deadline:
                    raise
            await self._leave(asked)

    async def _leave(self, url: str) -> None:
        """Go to another node, unless another call has done so meanwhile."""
        async with self._choosing:
            if self.url != url:
                return
            try:
                await self.choose()
            except Unreachable:
                await asyncio.sleep(RETRY_SECONDS)

    async def build(
        self,
        account: Account,
        *messages: Message,
        fee_max: int | None = None,
        valid_blocks: int = VALID_BLOCKS,
    ) -> Signed:
        """Return a signed transaction with a nonce taken, and remember it."""
        signed = await super().build(account, *messages, fee_max=fee_max, valid_blocks=valid_blocks)
        self._kept[signed.tx_id] = signed.wire
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return signed

    async def _statuses(self, tx_ids: Sequence[Hash]) -> list[TxStatus]:
        """Return where transactions are; what this node lacks is sent again, and not told of."""
        found: list[TxStatus] = []
        calls: list[tuple[str, dict[str, Any]]] = [("tx.status", {"tx_id": i}) for i in tx_ids]
        for tx_id, status in zip(tx_ids, await self.query_many(calls), strict=True):
            if isinstance(status, Refused):
                if status.code != NotFound.code or tx_id not in self._kept:
                    raise status
                await self._send_again(tx_id)
            elif status.stage is not Stage.DROPPED or tx_id not in self._kept:
                found.append(cast(TxStatus, status))
            elif not await self._send_again(tx_id):
                found.append(status)
        return found

    async def _send_again(self, tx_id: Hash) -> bool:
        """Submit a transaction once more, and tell whether it was admitted."""
        try:
            await self.submit(self._kept[tx_id])
        except Refused:
            return False  # its status tells why, or the time that is given to it runs out
        return True
