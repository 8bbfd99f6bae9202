"""SaharaClient: one node over HTTP, with connections kept alive, for asyncio programs."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self, cast

import aiohttp

from consensus.light import Trust
from node.client import protocol
from node.client.accounts import Account
from node.client.errors import (
    Dropped,
    NotFinal,
    OutcomeNotOk,
    ProofInvalid,
    Refused,
    Unreachable,
    WrongNetwork,
)
from node.client.feed import Feed
from node.client.proofs import verify_outcome_proof, verify_state_proof
from node.client.trust import TrustChain, trust_in
from node.rpc.backend import Finality, NodeStatus, OutcomeProof, Stage, StateProof, TxStatus
from node.rpc.methods import BlockView, HeaderView
from state.block import Outcome, Status
from state.codec import Decoder, encode
from state.genesis import Genesis
from state.params import Params
from state.registry import Message
from state.tables import Table
from state.transaction import SIGNATURE_WEIGHT, Body
from state.types import INT_MAX, Address, Hash

DEFAULT_URL = "http://127.0.0.1:4180"
VALID_BLOCKS = 500
"""Blocks for which a transaction is valid unless the caller says otherwise."""

FEE_HEADROOM = 4
"""fee_max over the fee of now: twelve full blocks raise the base fee by that much."""

STALE_SECONDS = 0.5
POLL_SECONDS_MIN = 0.004
POLL_SECONDS_MAX = 0.1

PATIENCE_SECONDS = 10.0
"""How long `send` waits for room in the mempool."""

HEARTBEAT_SECONDS = 10.0
"""After so long without a word the node of a feed is asked, and has half of it to answer."""

ALREADY_PENDING = "mempool.already_pending"
NONCE_SPENT = ("mempool.nonce_taken", "tx.nonce_unusable")
ROOM_COMES = ("mempool.full", "mempool.sender_full", "mempool.funds_reserved")

_outcomes: Decoder[Outcome] = Decoder(Outcome)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction that is ready to submit."""

    tx_id: Hash
    wire: bytes
    nonce: int


class SaharaClient:
    """A node's interface as typed calls; `genesis_hash` pins the network.

    Proofs are held against the validators of genesis, or of `trust`, and their successors.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        genesis_hash: Hash | None = None,
        trust: Trust | None = None,
        timeout_seconds: float = 30.0,
        connections: int = 32,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._genesis_hash = genesis_hash
        self._genesis: Genesis | None = None
        self._trusts = None if trust is None else TrustChain(trust)
        self._params: Params | None = None
        self._status: NodeStatus | None = None
        self._status_at = 0.0

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- calls -----------------------------------------------------------------------------------

    async def call(self, method: str, **params: Any) -> Any:
        """Return the JSON result of any method; raises Refused or Unreachable."""
        return protocol.result_of(await self._post(protocol.request(method, params)))

    async def call_many(self, calls: Sequence[protocol.Call]) -> list[Any | Refused]:
        """Return the JSON results, or refusals, of many calls in batches, in order."""
        found: list[Any | Refused] = []
        for start in range(0, len(calls), protocol.BATCH_MAX):
            part = calls[start : start + protocol.BATCH_MAX]
            found += protocol.results_of(await self._post(protocol.batch(part)), len(part))
        return found

    async def query(self, name: str, **arguments: Any) -> Any:
        """Return the typed answer of a method or module query to typed arguments."""
        params = protocol.written(name, arguments)
        body = await self._post(protocol.request(name, params))
        return protocol.value_of(name, protocol.result_of(body))

    async def query_many(self, calls: Sequence[protocol.Call]) -> list[Any | Refused]:
        """Return typed answers, or refusals, of many queries in batches, in order."""
        asked = [(name, protocol.written(name, arguments)) for name, arguments in calls]
        return [
            result if isinstance(result, Refused) else protocol.value_of(name, result)
            for (name, _), result in zip(calls, await self.call_many(asked), strict=True)
        ]

    async def _post(self, body: bytes) -> bytes:
        session = self._opened()
        try:
            async with session.post(
                self.url, data=body, headers={"Content-Type": "application/json"}
            ) as response:
                answer = await response.read()
                if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    raise protocol.not_serving(self.url, answer)
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(
                f"No answer from {self.url} ({error or type(error).__name__}); is the node running?"
            ) from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, connector=aiohttp.TCPConnector(limit=self._connections)
            )
        return self._session

    # --- the node --------------------------------------------------------------------------------

    async def status(self) -> NodeStatus:
        """Return the node at a glance; raises WrongNetwork when the client is pinned."""
        status = cast(NodeStatus, await self.query("chain.status"))
        if self._genesis_hash is None:
            self._genesis_hash = status.genesis_hash
        elif status.genesis_hash != self._genesis_hash:
            raise WrongNetwork(status.genesis_hash, self._genesis_hash)
        self._status, self._status_at = status, asyncio.get_running_loop().time()
        return status

    async def recent_status(self) -> NodeStatus:
        """Return a status that is at most half a second old."""
        now = asyncio.get_running_loop().time()
        if self._status is None or now - self._status_at > STALE_SECONDS:
            return await self.status()
        return self._status

    async def genesis_hash(self) -> Hash:
        """Return the hash that stands for the network in every signature."""
        if self._genesis_hash is None:
            await self.status()
        assert self._genesis_hash is not None, "status learns it"
        return self._genesis_hash

    async def genesis(self) -> Genesis:
        """Return the genesis document, checked against the genesis hash."""
        if self._genesis is None:
            genesis = cast(Genesis, await self.query("chain.genesis"))
            expected = await self.genesis_hash()
            if genesis.hash != expected:
                raise WrongNetwork(genesis.hash, expected)
            self._genesis = genesis
        return self._genesis

    async def params(self) -> Params:
        """Return the parameters in force, asked for once."""
        if self._params is None:
            self._params = cast(Params, await self.query("chain.params"))
        return self._params

    async def header(self, height: int) -> HeaderView:
        """Return a finalized header and its id."""
        return cast(HeaderView, await self.query("chain.header", height=height))

    async def block(self, height: int) -> BlockView:
        """Return a finalized block, decoded."""
        return cast(BlockView, await self.query("chain.block", height=height))

    # --- transactions ----------------------------------------------------------------------------

    async def build(
        self,
        account: Account,
        *messages: Message,
        fee_max: int | None = None,
        valid_blocks: int = VALID_BLOCKS,
    ) -> Signed:
        """Return a signed transaction with a nonce taken; waits while too many are in flight."""
        genesis_hash = await self.genesis_hash()
        status = await self.recent_status()
        valid = min(valid_blocks, (await self.params()).fees.validity_blocks_max)
        nonce = await self._nonce(account)
        until = status.height + valid
        widest = INT_MAX if fee_max is None else fee_max
        body = Body(account.address, nonce, until, widest, messages)
        if fee_max is None:
            weight = len(encode(body)) + 128 + SIGNATURE_WEIGHT
            weight += sum(message.weight() for message in messages)
            fee = weight * status.base_fee * FEE_HEADROOM
            body = Body(account.address, nonce, until, fee, messages)
        wire, tx_id = account.sign_body(body, genesis_hash)
        return Signed(tx_id, wire, nonce)

    async def _nonce(self, account: Account) -> int:
        """Return a nonce of the account, waiting for the chain while too many are in flight."""
        pause = POLL_SECONDS_MIN
        while True:
            nonce = account.take_nonce() if account.is_synced else None
            if nonce is not None:
                return nonce
            if account.is_synced:
                await asyncio.sleep(pause)
                pause = min(2 * pause, POLL_SECONDS_MAX)
            await self._learn(account)

    async def _learn(self, account: Account) -> None:
        view = await self.query("chain.account", address=account.address)
        account.learn(view.nonce_high)

    async def submit(self, wire: bytes) -> Hash:
        """Submit a signed transaction; returns its id once admitted, raises Refused."""
        return cast(Hash, await self.query("tx.submit", wire=wire))

    async def submit_many(self, wires: Sequence[bytes]) -> list[Hash | Refused]:
        """Submit many signed transactions in batches; an id or a refusal for each."""
        return await self.query_many([("tx.submit", {"wire": wire}) for wire in wires])

    async def send(
        self,
        account: Account,
        *messages: Message,
        fee_max: int | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> Hash:
        """Build, sign and submit; returns the id once admitted.

        Waits while the mempool has no room for the account, and takes another nonce where one was
        used elsewhere. Any other refusal is raised, and its nonce used for the next transaction.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + patience_seconds
        pause = POLL_SECONDS_MIN
        while True:
            signed = await self.build(account, *messages, fee_max=fee_max)
            try:
                return await self.submit(signed.wire)
            except Refused as error:
                self._status = None
                if error.code == ALREADY_PENDING:
                    return signed.tx_id
                if error.code in NONCE_SPENT:
                    await self._learn(account)
                else:
                    account.give_back(signed.nonce)
                if error.code not in (*NONCE_SPENT, *ROOM_COMES) or clock() > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS_MAX)

    async def execute(
        self,
        account: Account,
        *messages: Message,
        fee_max: int | None = None,
        timeout_seconds: float = 30.0,
    ) -> TxStatus:
        """Send, wait until final, and return the status; raises OutcomeNotOk when it failed."""
        tx_id = await self.send(account, *messages, fee_max=fee_max)
        status = await self.wait_final(tx_id, timeout_seconds=timeout_seconds)
        assert status.outcome is not None, "a final transaction has an outcome"
        if status.outcome.status is not Status.OK:
            raise OutcomeNotOk(status.outcome)
        return status

    async def simulate(self, wire: bytes) -> Outcome:
        """Return the outcome that a signed transaction would have over the head."""
        return cast(Outcome, await self.query("tx.simulate", wire=wire))

    async def transaction_status(self, tx_id: Hash) -> TxStatus:
        """Return how far a transaction has come."""
        return cast(TxStatus, await self.query("tx.status", tx_id=tx_id))

    async def wait_final(self, tx_id: Hash, *, timeout_seconds: float = 30.0) -> TxStatus:
        """Return the status of a transaction once final; raises NotFinal or Dropped."""
        return (await self.wait_final_many([tx_id], timeout_seconds=timeout_seconds))[0]

    async def wait_final_many(
        self, tx_ids: Sequence[Hash], *, timeout_seconds: float = 30.0
    ) -> list[TxStatus]:
        """Return the statuses of many transactions once all are final, asking in batches."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_seconds
        final: dict[Hash, TxStatus] = {}
        pause = POLL_SECONDS_MIN
        while True:
            waiting = [tx_id for tx_id in dict.fromkeys(tx_ids) if tx_id not in final]
            for status in await self._statuses(waiting):
                if status.stage is Stage.DROPPED:
                    raise Dropped(status.tx_id, status.reason or "the node does not say why")
                if status.stage is Stage.FINAL:
                    final[status.tx_id] = status
            if len(final) == len(dict.fromkeys(tx_ids)):
                return [final[tx_id] for tx_id in tx_ids]
            if clock() > deadline:
                late = next(tx_id for tx_id in waiting if tx_id not in final)
                raise NotFinal(f"Transaction {late.hex()}", timeout_seconds)
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, POLL_SECONDS_MAX)

    async def _statuses(self, tx_ids: Sequence[Hash]) -> list[TxStatus]:
        """Return where transactions are; raises Refused for one that was never seen."""
        calls: list[protocol.Call] = [("tx.status", {"tx_id": tx_id}) for tx_id in tx_ids]
        found = await self.query_many(calls)
        for status in found:
            if isinstance(status, Refused):
                raise status
        return cast(list[TxStatus], found)

    # --- proofs ----------------------------------------------------------------------------------

    async def wait_height(self, height: int, *, timeout_seconds: float = 30.0) -> NodeStatus:
        """Return the node's status once its head is at least `height`; raises NotFinal."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_seconds
        pause = POLL_SECONDS_MIN
        while (status := await self.status()).height < height:
            if clock() > deadline:
                raise NotFinal(f"Block {height}", timeout_seconds)
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, POLL_SECONDS_MAX)
        return status

    async def trust_at(self, epoch: int) -> Trust:
        """Return the trust in an epoch's validators, walked to from the first one that is trusted.

        Every epoch costs three small answers, once; raises ProofInvalid where one is not what the
        epoch before names, and Refused for an epoch whose predecessor is not final.
        """
        if self._trusts is None:
            self._trusts = TrustChain(trust_in(await self.genesis()))
        trusts = self._trusts
        while (found := trusts.at(epoch)) is None:
            height = trusts.boundary_next
            view = cast(HeaderView, await self.query("chain.header", height=height))
            finality = cast(Finality, await self.query("chain.finalization", height=height))
            following = await self.query("chain.validators", epoch=trusts.last.epoch + 1)
            if trusts.boundary_next == height:  # another call may have walked on meanwhile
                trusts.extend(view.header, finality, tuple(following), now_ms=_now_ms())
        return found

    async def prove_row(
        self,
        table: Table[Any, Any],
        key: Any,
        *,
        at_least: int = 0,
        timeout_seconds: float = 30.0,
    ) -> tuple[Any | None, StateProof]:
        """Return a row, or None, with the proof of it, verified here; raises ProofInvalid.

        The newest provable state is the one before the head; with `at_least` the client waits
        until the state after that height is provable, and raises NotFinal when it takes too long.
        """
        if at_least:
            await self.wait_height(at_least + 1, timeout_seconds=timeout_seconds)
        raw_key = table.key(key)
        proof = cast(StateProof, await self.query("chain.state_proof", raw_key=raw_key))
        if proof.key != raw_key or proof.height < at_least:
            raise ProofInvalid("The node proved another row or height than the one asked for.")
        trust = await self.trust_at(proof.header.epoch)
        value = verify_state_proof(proof, trust, now_ms=_now_ms())
        return (None if value is None else table.decode(value)), proof

    async def prove_outcome(
        self,
        tx_id: Hash,
        *,
        timeout_seconds: float = 30.0,
    ) -> tuple[Outcome, OutcomeProof]:
        """Return a transaction's outcome with its proof, verified here; raises ProofInvalid.

        Waits until the transaction is final and the header after its block, which commits to the
        outcome, is final too; raises NotFinal when that takes too long.
        """
        final = await self.wait_final(tx_id, timeout_seconds=timeout_seconds)
        assert final.height is not None, "a final transaction has a height"
        await self.wait_height(final.height + 1, timeout_seconds=timeout_seconds)
        proof = cast(OutcomeProof, await self.query("tx.proof", tx_id=tx_id))
        trust = await self.trust_at(proof.header.epoch)
        outcome = _outcomes.decode(verify_outcome_proof(proof, trust, now_ms=_now_ms()))
        if outcome.tx_id != tx_id:
            raise ProofInvalid("The node proved another transaction's outcome.")
        return outcome, proof

    # --- subscriptions ---------------------------------------------------------------------------

    @asynccontextmanager
    async def subscribe(
        self,
        topic: str,
        *,
        ids: Sequence[Hash] = (),
        types: Sequence[str] = (),
        address: Address | None = None,
    ) -> AsyncIterator[Feed]:
        """Open a feed of blocks, transactions or events: its snapshot, then its deltas."""
        session = self._opened()
        try:
            socket = await session.ws_connect(
                f"{self.url}/ws",
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                heartbeat=HEARTBEAT_SECONDS,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"No WebSocket at {self.url}/ws ({error}).") from error
        async with socket:
            yield await Feed.open(socket, topic, tuple(ids), tuple(types), address)
