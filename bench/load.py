"""The load of bench/network.py: transfers signed in advance, sent in batches, heard of when final.

Everything here runs in one process beside the nodes and has to stay cheap: bodies of requests are
made before the clock runs, and one feed of blocks tells what became final.
"""

import asyncio
import itertools
import math
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import aiohttp

from node.client import Account, SaharaClient, protocol
from node.client.errors import Refused
from state.genesis import Allocation
from state.modules.bank import Transfer
from state.transaction import Body
from state.types import GRAINS_PER_SAHARA, Hash

SENDERS = 1_024
SENDER_GRAINS = 1_000 * GRAINS_PER_SAHARA
FEE_MAX = 10_000
AMOUNT = 1_000
PENDING_MAX = 50
"""Transfers of one sender on their way at most; a node takes 64."""

BATCH = 64
"""Transfers in one request, each of another sender."""

CONNECTIONS = 4
"""Requests to one node at a time."""

SIGN_PART = 8
OPEN_SECONDS_MAX = 30.0
DRAIN_SECONDS_MAX = 60.0

assert SENDERS % BATCH == 0, "a batch has each sender once"


class NoBlocks(Exception):
    """The feed that tells of blocks did not open, or ended by itself."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One request, ready to send, and the transfers in it."""

    body: bytes
    tx_ids: tuple[str, ...]


def account(number: int) -> Account:
    """Return a sender; its seed is no secret."""
    return Account.from_seed(blake2b(b"bench/%d" % number, digest_size=32).digest())


def funds() -> tuple[Allocation, ...]:
    """What every sender holds from genesis on."""
    return tuple(Allocation(account(n).address, SENDER_GRAINS) for n in range(SENDERS))


def signed(numbers: range, nonces: range, genesis_hash: Hash, until_height: int) -> list[Batch]:
    """Sign a transfer of each sender for each nonce, in the order in which they are sent."""
    accounts = [account(number) for number in numbers]
    nexts = [account((number + 1) % SENDERS).address for number in numbers]
    batches: list[Batch] = []
    calls: list[protocol.Call] = []
    ids: list[str] = []
    for nonce in nonces:
        for sender, recipient in zip(accounts, nexts, strict=True):
            body = Body(
                sender.address, nonce, until_height, FEE_MAX, (Transfer(recipient, AMOUNT),)
            )
            wire, tx_id = sender.sign_body(body, genesis_hash)
            calls.append(("tx.submit", {"wire": wire.hex()}))
            ids.append(tx_id.hex())
            if len(calls) == BATCH:
                batches.append(Batch(protocol.batch(calls), tuple(ids)))
                calls, ids = [], []
    assert not calls, "whole batches"
    return batches


class Stock:
    """Batches for each node, signed by all cores while nothing is measured."""

    def __init__(self, validators: int, genesis_hash: Hash) -> None:
        bounds = [SENDERS // BATCH * n // validators * BATCH for n in range(validators + 1)]
        self._numbers = [range(*pair) for pair in itertools.pairwise(bounds)]
        self._genesis_hash = genesis_hash
        self._next_nonce = 1
        self.batches: list[Iterator[Batch]] = [iter(()) for _ in range(validators)]
        """For each node what is left, in the order of nonces: an account's may have no wide gap."""

    def add(self, transfers: int, until_height: int) -> None:
        """Sign at least so many transfers more, divided among the nodes."""
        nonces = -(-transfers // SENDERS)
        first, self._next_nonce = self._next_nonce, self._next_nonce + nonces
        stop = self._next_nonce
        parts = [range(n, min(n + SIGN_PART, stop)) for n in range(first, stop, SIGN_PART)]
        # not forked: this is a thread, and whatever lock another one holds would stay held
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            found = [
                [pool.submit(signed, row, part, self._genesis_hash, until_height) for part in parts]
                for row in self._numbers
            ]
            for node, row in enumerate(found):
                more = itertools.chain.from_iterable([one.result() for one in row])
                self.batches[node] = itertools.chain(self.batches[node], more)


@dataclass(slots=True)
class Finals:
    """When transfers became final, and how long each had taken."""

    at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def within(self, start: float, stop: float) -> list[float]:
        """Return the seconds of those that became final in a stretch of time."""
        pairs = zip(self.at, self.seconds, strict=True)
        return [seconds for at, seconds in pairs if start <= at < stop]

    def sent_within(self, start: float, stop: float) -> list[float]:
        """Return the seconds of those that were sent in a stretch of time."""
        pairs = zip(self.at, self.seconds, strict=True)
        return [seconds for at, seconds in pairs if start <= at - seconds < stop]


class Load:
    """What is sent to the nodes of one network, and what has become of it."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = urls
        self.finals = Finals()
        self.refused: Counter[str] = Counter()
        self.ran_out_at = math.inf
        """When there was nothing left to send to one of the nodes."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60)
        )
        self._sent: dict[str, tuple[float, int]] = {}
        self._waiting = [0] * len(urls)
        self._moved = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Load":
        """Follow the first node's blocks."""
        opened = asyncio.Event()
        self._following = asyncio.create_task(self._follow(opened))
        until = time.perf_counter() + OPEN_SECONDS_MAX
        try:
            await self._wait_for(opened, until)
            if not opened.is_set():
                raise NoBlocks(f"{self.urls[0]} gives no blocks after {OPEN_SECONDS_MAX} s.")
        finally:
            if not opened.is_set():
                await self.__aexit__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        assert self._following is not None, "entered"
        self._following.cancel()
        await asyncio.wait((self._following,))
        await self._session.close()

    async def _follow(self, opened: asyncio.Event) -> None:
        async with SaharaClient(self.urls[0]) as client, client.subscribe("blocks") as feed:
            opened.set()
            async for delta in feed:
                now = time.perf_counter()
                for tx_id in delta.result["tx_ids"]:
                    sent = self._sent.pop(tx_id, None)
                    if sent is not None:
                        self._waiting[sent[1]] -= 1
                        self.finals.at.append(now)
                        self.finals.seconds.append(now - sent[0])
                self._moved.set()
                self._moved = asyncio.Event()

    async def _wait_for(self, event: asyncio.Event, until: float) -> None:
        """Wait for an event until a moment; whatever ends the feed of blocks is raised."""
        assert self._following is not None, "entered"
        waiting = asyncio.create_task(event.wait())
        try:
            await asyncio.wait(
                (waiting, self._following),
                timeout=max(0.0, until - time.perf_counter()),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()
        if self._following.done():
            self._following.result()
            raise NoBlocks(f"{self.urls[0]} gives no blocks any more.")

    async def post(self, node: int, batch: Batch) -> None:
        """Send one batch and wait until the node has admitted it."""
        now = time.perf_counter()
        for tx_id in batch.tx_ids:
            self._sent[tx_id] = (now, node)
        self._waiting[node] += len(batch.tx_ids)
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self.urls[node], data=batch.body, headers=headers) as answer:
            text = await answer.read()
        if b'"error"' in text:
            results = protocol.results_of(text, len(batch.tx_ids))
            for tx_id, result in zip(batch.tx_ids, results, strict=True):
                if isinstance(result, Refused) and self._sent.pop(tx_id, None) is not None:
                    self._waiting[node] -= 1
                    self.refused[result.code] += 1

    async def keep_full(self, stock: list[Iterator[Batch]], in_flight: int, until: float) -> None:
        """Keep so many transfers on their way until a moment, or until the stock has run out."""
        self.ran_out_at = math.inf
        share = max(BATCH, in_flight // len(self.urls))

        async def feed(node: int) -> None:
            for batch in stock[node]:
                while self._waiting[node] + BATCH > share and time.perf_counter() < until:
                    await self._wait_for(self._moved, until)
                if time.perf_counter() >= until:
                    return
                await self.post(node, batch)
            self.ran_out_at = min(self.ran_out_at, time.perf_counter())

        await asyncio.gather(*[feed(n) for n in range(len(self.urls)) for _ in range(CONNECTIONS)])

    async def send_evenly(self, stock: list[Iterator[Batch]], per_s: float, until: float) -> None:
        """Send so many transfers a second, whatever becomes of them, until a moment."""
        begun = time.perf_counter()
        posting: set[asyncio.Task[None]] = set()
        for number in itertools.count():
            due = begun + number * BATCH / per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() >= until:
                break
            node = number % len(self.urls)
            posting.add(asyncio.create_task(self.post(node, next(stock[node]))))
            posting = {task for task in posting if not task.done()}
        await asyncio.gather(*posting)

    async def send_at_once(self, stock: list[Iterator[Batch]], transfers: int) -> None:
        """Send so many transfers, in whole batches, as fast as the nodes take them."""
        batches = -(-transfers // BATCH)
        shares = [len(range(node, batches, len(self.urls))) for node in range(len(self.urls))]

        async def pour(node: int, part: Iterable[Batch]) -> None:
            for batch in part:
                await self.post(node, batch)

        parts = [itertools.islice(stock[node], share) for node, share in enumerate(shares)]
        await asyncio.gather(
            *[pour(node, part) for node, part in enumerate(parts) for _ in range(CONNECTIONS)]
        )

    async def drained(self) -> int:
        """Wait until everything admitted is final; return how many are not after a minute."""
        until = time.perf_counter() + DRAIN_SECONDS_MAX
        while self._sent and time.perf_counter() < until:
            await self._wait_for(self._moved, until)
        return len(self._sent)


async def one_at_a_time(url: str, transfers: int, rest_seconds: float) -> list[float]:
    """Send single transfers to an idle chain; return the seconds of each until final."""
    found: list[float] = []
    sender, recipient = account(0), account(1)
    async with SaharaClient(url) as client, client.subscribe("blocks") as feed:
        for number in range(transfers):
            # so that every transfer meets the idle chain at another moment
            await asyncio.sleep(rest_seconds * (1 + number / transfers))
            one = await client.build(sender, Transfer(recipient.address, AMOUNT), fee_max=FEE_MAX)
            start = time.perf_counter()
            await client.submit(one.wire)
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                await _until_final(feed, one.tx_id.hex())
            found.append(time.perf_counter() - start)
    return found


async def _until_final(feed: Any, tx_id: str) -> None:
    async for delta in feed:
        if tx_id in delta.result["tx_ids"]:
            return
