"""What subscribers hear: a snapshot first, then numbered deltas, one for each block that matters.

A subscription counts its messages from 0, the snapshot, so that a gap shows. Deltas wait in one
bounded outbox a connection; a subscriber that lets it overflow is cut off rather than waited for.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from time import perf_counter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from node.addresses import format_address
from node.rpc.backend import Backend, BlockRecord, FeedBroken, NodeStatus, Stage, TxStatus
from node.rpc.errors import InvalidParams, LimitExceeded
from node.rpc.jsonform import FORMS
from node.rpc.limits import SLICE_SECONDS, RpcLimits
from node.rpc.outbox import Outbox
from state.codec import Struct
from state.errors import NotFound
from state.types import Address, Hash, Height

IDS_MAX = 1_000
"""Transactions that one connection waits for, in all its subscriptions."""

TYPES_MAX = 64

_encode = msgspec.json.Encoder().encode
_write_record = FORMS.writer(BlockRecord)
_write_status = FORMS.writer(TxStatus)


class Topic(Enum):
    """What can be subscribed to."""

    BLOCKS = "blocks"
    TRANSACTIONS = "transactions"
    EVENTS = "events"


Ids = Annotated[tuple[Hash, ...], Meta(max_length=IDS_MAX)]
Types = Annotated[tuple[str, ...], Meta(max_length=TYPES_MAX)]


class Subscribed(Struct):
    """A new subscription, and the snapshot after `height` that its deltas continue."""

    subscription: str
    sequence: int
    height: Height
    status: NodeStatus | None
    transactions: tuple[TxStatus | None, ...]


@dataclass(slots=True)
class Subscription:
    """One topic of one connection, and how far it has been told."""

    name: str
    topic: Topic
    height: int
    ids: dict[Hash, bool] = field(default_factory=dict)
    """What is waited for, and whether it was said to be dropped: it may be sent again."""
    types: frozenset[str] = frozenset()
    address: str | None = None
    sequence: int = 0

    def delta(self, block: "BlockForm", dropped: Callable[[Hash], TxStatus | None]) -> Any:
        """Return what the block means to this subscription, or None when nothing."""
        match self.topic:
            case Topic.BLOCKS:
                return block.summary()
            case Topic.TRANSACTIONS:
                found = [block.positions[tx_id] for tx_id in self.ids if tx_id in block.positions]
                for position in found:
                    del self.ids[block.record.outcomes[position].tx_id]
                gone = self._gone(dropped)
                return [block.status(position) for position in sorted(found)] + gone or None
            case Topic.EVENTS:
                return block.events(self.types, self.address)

    def _gone(self, dropped: Callable[[Hash], TxStatus | None]) -> list[dict[str, Any]]:
        """Return the statuses of what was dropped since the last block, each told once."""
        found = []
        for tx_id, was_told in self.ids.items():
            status = dropped(tx_id)
            if status is not None and not was_told:
                found.append(_write_status(status))
            self.ids[tx_id] = status is not None
        return found


class BlockForm:
    """A finalized block as subscribers see it: rendered once, and only as far as somebody asks.

    However many ask, an event is written once, and a subscription looks at those alone that its
    filter names.
    """

    def __init__(self, record: BlockRecord) -> None:
        self.record = record
        self.height = record.header.height
        self.positions = {outcome.tx_id: index for index, outcome in enumerate(record.outcomes)}
        self._summary: msgspec.Raw | None = None
        self._events: list[msgspec.Raw] | None = None
        self._kinds: dict[str, list[int]] = {}
        self._texts: dict[str, list[int]] = {}
        self._chosen: dict[tuple[frozenset[str], str | None], msgspec.Raw | None] = {}

    def summary(self) -> msgspec.Raw:
        """Return the delta of topic blocks: id, header, and the ids of the transactions."""
        if self._summary is None:
            bare = _write_record(msgspec.structs.replace(self.record, outcomes=(), events=()))
            self._summary = _raw(
                {
                    "block_id": self.record.header.id.hex(),
                    "header": bare["header"],
                    "tx_ids": [outcome.tx_id.hex() for outcome in self.record.outcomes],
                }
            )
        return self._summary

    def status(self, position: int) -> dict[str, Any]:
        """Return the status of a transaction that is final with this block."""
        outcome = self.record.outcomes[position]
        status = TxStatus(outcome.tx_id, Stage.FINAL, self.height, position, outcome)
        written: dict[str, Any] = _write_status(status)
        return written

    def events(self, types: frozenset[str], address: str | None) -> msgspec.Raw | None:
        """Return the events of some types (none: of all) that name an address, None for none.

        Each stands beside its transaction, or null for those of the block itself.
        """
        key = (types, address)
        if key not in self._chosen:
            if self._events is None:
                self._events = self._write_events()
            found = [self._events[index] for index in self._matching(types, address)]
            self._chosen[key] = _raw(found) if found else None
        return self._chosen[key]

    def _matching(self, types: frozenset[str], address: str | None) -> Iterable[int]:
        of_types = sorted(index for name in types for index in self._kinds.get(name, ()))
        if address is None:
            return of_types if types else range(len(self._events or ()))
        naming = self._texts.get(address, [])
        if not types:
            return naming
        wanted = {*of_types}
        return [index for index in naming if index in wanted]

    def _write_events(self) -> list[msgspec.Raw]:
        written = _write_record(msgspec.structs.replace(self.record, transactions=()))
        entries = [
            {"tx_id": outcome["tx_id"], "event": event}
            for outcome in written["outcomes"]
            for event in outcome["events"]
        ]
        entries += [{"tx_id": None, "event": event} for event in written["events"]]
        for index, entry in enumerate(entries):
            self._kinds.setdefault(entry["event"]["type"], []).append(index)
            for text in {*_texts(entry["event"])}:
                self._texts.setdefault(text, []).append(index)
        return [_raw(entry) for entry in entries]


class Subscriber:
    """The subscriptions of one connection, and the outbox for what it hears."""

    def __init__(
        self, backend: Backend, limits: RpcLimits, outbox: Outbox, holder: str | None = None
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._subscriptions: dict[str, Subscription] = {}
        self._numbered = 0
        self.outbox = outbox
        self.holder = holder
        """The address whose share the connection takes, None for loopback."""

    def subscribe(
        self, topic: Topic, ids: Ids = (), types: Types = (), address: Address | None = None
    ) -> Subscribed:
        """Hear of finalized blocks, of transactions by id, or of events by type and address.

        The result is the snapshot, number 0; each delta comes as a notification `subscription`
        with its number. A transaction that was dropped is told with the next block, and why. Over
        WebSocket only.
        """
        if len(self._subscriptions) >= self._limits.subscriptions_max:
            raise LimitExceeded(
                f"This connection has {len(self._subscriptions)} subscriptions, the most allowed; "
                "unsubscribe from one first."
            )
        if len(ids) + sum(len(each.ids) for each in self._subscriptions.values()) > IDS_MAX:
            raise LimitExceeded(
                f"A connection waits for at most {IDS_MAX} transactions, and this one would for "
                "more; wait until some are final, or open another connection."
            )
        if (topic is Topic.TRANSACTIONS) != bool(ids):
            raise InvalidParams("ids: give ids for topic transactions, and for no other.", "ids")
        if topic is not Topic.EVENTS and (types or address is not None):
            raise InvalidParams("types and address filter topic events only.", "types")
        status = self._backend.status()
        self._numbered += 1
        name = str(self._numbered)
        statuses = tuple([self._status(tx_id) for tx_id in ids])
        waiting = {
            tx_id: known is not None and known.stage is Stage.DROPPED
            for tx_id, known in zip(ids, statuses, strict=True)
            if known is None or known.stage is not Stage.FINAL
        }
        self._subscriptions[name] = Subscription(
            name,
            topic,
            status.height,
            waiting,
            frozenset(types),
            None if address is None else format_address(address),
        )
        shown = status if topic is Topic.BLOCKS else None
        return Subscribed(name, 0, status.height, shown, statuses)

    def unsubscribe(self, subscription: str) -> bool:
        """End a subscription; raises NotFound when this connection has none of that name."""
        if self._subscriptions.pop(subscription, None) is None:
            raise NotFound(f"There is no subscription '{subscription[:32]}' on this connection.")
        return True

    def hear(self, block: BlockForm) -> None:
        """Queue what the block means to each subscription."""
        for subscription in self._subscriptions.values():
            if block.height <= subscription.height or self.outbox.overflowed.is_set():
                continue
            subscription.height = block.height
            delta = subscription.delta(block, self._backend.dropped)
            if delta is not None:
                subscription.sequence += 1
                self._push(subscription, block.height, delta)

    def _push(self, subscription: Subscription, height: int, delta: Any) -> None:
        params = {
            "subscription": subscription.name,
            "sequence": subscription.sequence,
            "height": height,
            "topic": subscription.topic.value,
            "result": delta,
        }
        self.outbox.offer(_encode({"jsonrpc": "2.0", "method": "subscription", "params": params}))

    def _status(self, tx_id: Hash) -> TxStatus | None:
        try:
            return self._backend.transaction_status(tx_id)
        except NotFound:
            return None


class Hub:
    """Hands every finalized block to every subscriber."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.subscribers: dict[int, Subscriber] = {}

    async def run(self) -> None:
        """Follow the node's blocks until cancelled; after a gap, cut off who would not see it."""
        while True:
            try:
                await self._follow()
            except FeedBroken:
                for subscriber in self.subscribers.values():
                    subscriber.outbox.cut_off()

    async def _follow(self) -> None:
        async for record in self._backend.blocks():
            if not self.subscribers:
                continue
            block, until = BlockForm(record), perf_counter() + SLICE_SECONDS
            for name, subscriber in list(self.subscribers.items()):
                if name in self.subscribers:
                    subscriber.hear(block)
                if perf_counter() >= until:
                    await asyncio.sleep(0)
                    until = perf_counter() + SLICE_SECONDS


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
