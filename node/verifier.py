"""Signature verification off the event loop: what arrives together is verified together."""

import asyncio

from state.execute import verify_signatures
from state.transaction import BadSignature, Transaction

BATCH_MAX = 4_096
"""Transactions verified in one call; about 0.1 s of two cores."""


class Verifier:
    """Verifies transactions in batches: while one batch runs, the next one gathers."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Transaction, asyncio.Future[BadSignature | None]]] = []
        self._running = False

    async def verify(self, transaction: Transaction) -> None:
        """Return when every signature of the transaction holds; raises BadSignature otherwise."""
        loop = asyncio.get_running_loop()
        verdict: asyncio.Future[BadSignature | None] = loop.create_future()
        self._waiting.append((transaction, verdict))
        if not self._running:
            self._running = True
            loop.call_soon(self._start, loop)
        error = await verdict
        if error is not None:
            raise error

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
        work = loop.run_in_executor(None, verify_signatures, [each for each, _ in batch])
        work.add_done_callback(lambda done: self._finish(loop, batch, done))

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Transaction, asyncio.Future[BadSignature | None]]],
        done: "asyncio.Future[list[BadSignature | None]]",
    ) -> None:
        verdicts = done.result()
        for (_, verdict), error in zip(batch, verdicts, strict=True):
            if not verdict.done():
                verdict.set_result(error)
        if self._waiting:
            self._start(loop)
        else:
            self._running = False
