"""Signature verification off the event loop: what arrives together is verified together."""

import asyncio
from collections.abc import Sequence

from state.execute import verify_signatures
from state.transaction import BadSignature, Transaction

BATCH_MAX = 4_096
"""Transactions verified in one call; about 0.1 s of two cores."""

Verdicts = list[BadSignature | None]
_Waiting = tuple[Sequence[Transaction], "asyncio.Future[Verdicts]"]


class Verifier:
    """Verifies transactions in batches: while one batch runs, the next one gathers."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._running = False

    async def verify(self, transaction: Transaction) -> None:
        """Return when every signature of the transaction holds; raises BadSignature otherwise."""
        (error,) = await self.verify_all([transaction])
        if error is not None:
            raise error

    async def verify_all(self, transactions: Sequence[Transaction]) -> Verdicts:
        """Return, per transaction, what is wrong with its signatures, or None."""
        loop = asyncio.get_running_loop()
        verdicts: asyncio.Future[Verdicts] = loop.create_future()
        self._waiting.append((transactions, verdicts))
        if not self._running:
            self._running = True
            loop.call_soon(self._start, loop)
        return await verdicts

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        size = count = 0
        for transactions, _ in self._waiting:
            size += len(transactions)
            if count and size > BATCH_MAX:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        every = [transaction for transactions, _ in batch for transaction in transactions]
        work = loop.run_in_executor(None, verify_signatures, every)
        work.add_done_callback(lambda done: self._finish(loop, batch, done))

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_Waiting],
        done: "asyncio.Future[Verdicts]",
    ) -> None:
        found = done.result()
        at = 0
        for transactions, verdicts in batch:
            if not verdicts.done():
                verdicts.set_result(found[at : at + len(transactions)])
            at += len(transactions)
        if self._waiting:
            self._start(loop)
        else:
            self._running = False
