"""SyncClient: the same client for programs without asyncio; it runs a loop of its own."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from node.client.accounts import Account
from node.client.asynchronous import DEFAULT_URL, SaharaClient
from node.client.errors import Refused
from node.client.protocol import Call
from node.rpc.backend import NodeStatus, OutcomeProof, StateProof, TxStatus
from node.rpc.methods import BlockView, HeaderView
from state.block import Outcome
from state.genesis import Genesis
from state.registry import Message
from state.tables import Table
from state.types import Hash

T = TypeVar("T")


class SyncClient:
    """Blocking calls over a SaharaClient; not for use inside a running event loop."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        genesis_hash: Hash | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = SaharaClient(url, genesis_hash=genesis_hash, timeout_seconds=timeout_seconds)

    def __enter__(self) -> "SyncClient":
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections and the loop."""
        self._run(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(coroutine)

    def call(self, method: str, **params: Any) -> Any:
        """Return the JSON result of any method; raises Refused or Unreachable."""
        return self._run(self._client.call(method, **params))

    def query(self, name: str, **arguments: Any) -> Any:
        """Return the typed answer of a method or module query to typed arguments."""
        return self._run(self._client.query(name, **arguments))

    def query_many(self, calls: Sequence[Call]) -> list[Any | Refused]:
        """Return typed answers, or refusals, of many queries in batches, in order."""
        return self._run(self._client.query_many(calls))

    def status(self) -> NodeStatus:
        """Return the node at a glance."""
        return self._run(self._client.status())

    def genesis(self) -> Genesis:
        """Return the genesis document, checked against the genesis hash."""
        return self._run(self._client.genesis())

    def header(self, height: int) -> HeaderView:
        """Return a finalized header and its id."""
        return self._run(self._client.header(height))

    def block(self, height: int) -> BlockView:
        """Return a finalized block, decoded."""
        return self._run(self._client.block(height))

    def send(self, account: Account, *messages: Message, fee_max: int | None = None) -> Hash:
        """Build, sign and submit; returns the id."""
        return self._run(self._client.send(account, *messages, fee_max=fee_max))

    def execute(
        self,
        account: Account,
        *messages: Message,
        fee_max: int | None = None,
        timeout_seconds: float = 30.0,
    ) -> TxStatus:
        """Send, wait until final, and return the status; raises OutcomeNotOk when it failed."""
        return self._run(
            self._client.execute(
                account, *messages, fee_max=fee_max, timeout_seconds=timeout_seconds
            )
        )

    def simulate(self, account: Account, *messages: Message) -> Outcome:
        """Return the outcome that the messages would have now; nothing is sent."""

        async def run() -> Outcome:
            signed = await self._client.build(account, *messages)
            account.give_back(signed.nonce)
            return await self._client.simulate(signed.wire)

        return self._run(run())

    def submit(self, wire: bytes) -> Hash:
        """Submit a signed transaction; returns its id once admitted, raises Refused."""
        return self._run(self._client.submit(wire))

    def transaction_status(self, tx_id: Hash) -> TxStatus:
        """Return how far a transaction has come."""
        return self._run(self._client.transaction_status(tx_id))

    def wait_final(self, tx_id: Hash, *, timeout_seconds: float = 30.0) -> TxStatus:
        """Return the status of a transaction once final; raises NotFinal or Dropped."""
        return self._run(self._client.wait_final(tx_id, timeout_seconds=timeout_seconds))

    def prove_row(
        self, table: Table[Any, Any], key: Any, *, at_least: int = 0
    ) -> tuple[Any | None, StateProof]:
        """Return a row, or None, with the proof of it, verified here; raises ProofInvalid."""
        return self._run(self._client.prove_row(table, key, at_least=at_least))

    def prove_outcome(self, tx_id: Hash) -> tuple[Outcome, OutcomeProof]:
        """Return a transaction's outcome with its proof, verified here; raises ProofInvalid."""
        return self._run(self._client.prove_outcome(tx_id))
