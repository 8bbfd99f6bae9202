"""What subscribers hear: a snapshot first, then numbered deltas, one for each block that matters.

A subscription counts its messages from 0, the snapshot, so that a gap shows. Deltas wait in one
bounded outbox a connection; a subscriber that lets it overflow is cut off rather than waited for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from node.addresses import format_address
from node.rpc.backend import Backend, BlockRecord, FeedBroken, NodeStatus, Stage, TxStatus
from node.rpc.errors import InvalidParams, LimitExceeded
from node.rpc.jsonform import FORMS
from node.rpc.limits import RpcLimits
from node.rpc.outbox import Outbox
from state.codec import Struct
from state.errors import NotFound
from state.types import Address, Hash, Height

IDS_MAX = 1_000
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
                return block.summary
            case Topic.TRANSACTIONS:
                found = [block.positions[tx_id] for tx_id in self.ids if tx_id in block.positions]
                for position in found:
                    del self.ids[block.record.outcomes[position].tx_id]
                gone = self._gone(dropped)
                return [block.status(position) for position in sorted(found)] + gone or None
            case Topic.EVENTS:
                return [entry for entry in block.events if self._wants(entry["event"])] or None

    def _gone(self, dropped: Callable[[Hash], TxStatus | None]) -> list[dict[str, Any]]:
        """Return the statuses of what was dropped since the last block, each told once."""
        found = []
        for tx_id, was_told in self.ids.items():
            status = dropped(tx_id)
            if status is not None and not was_told:
                found.append(_write_status(status))
            self.ids[tx_id] = status is not None
        return found

    def _wants(self, event: dict[str, Any]) -> bool:
        if self.types and event["type"] not in self.types:
            return False
        return self.address is None or _holds(event, self.address)


class BlockForm:
    """A finalized block as subscribers see it: rendered once, and only as far as somebody asks."""

    def __init__(self, record: BlockRecord) -> None:
        self.record = record
        self.height = record.header.height
        self.positions = {outcome.tx_id: index for index, outcome in enumerate(record.outcomes)}
        self._summary: dict[str, Any] | None = None
        self._events: list[dict[str, Any]] | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """The delta of topic blocks: id, header, and the ids of the transactions."""
        if self._summary is None:
            bare = _write_record(msgspec.structs.replace(self.record, outcomes=(), events=()))
            self._summary = {
                "block_id": self.record.header.id.hex(),
                "header": bare["header"],
                "tx_ids": [outcome.tx_id.hex() for outcome in self.record.outcomes],
            }
        return self._summary

    def status(self, position: int) -> dict[str, Any]:
        """Return the status of a transaction that is final with this block."""
        outcome = self.record.outcomes[position]
        status = TxStatus(outcome.tx_id, Stage.FINAL, self.height, position, outcome)
        written: dict[str, Any] = _write_status(status)
        return written

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event with its transaction, or null for those of the block itself."""
        if self._events is None:
            written = _write_record(msgspec.structs.replace(self.record, transactions=()))
            self._events = [
                {"tx_id": outcome["tx_id"], "event": event}
                for outcome in written["outcomes"]
                for event in outcome["events"]
            ]
            self._events += [{"tx_id": None, "event": event} for event in written["events"]]
        return self._events


class Subscriber:
    """The subscriptions of one connection, and the outbox for what it hears."""

    def __init__(self, backend: Backend, limits: RpcLimits, outbox: Outbox) -> None:
        self._backend = backend
        self._limits = limits
        self._subscriptions: dict[str, Subscription] = {}
        self._numbered = 0
        self.outbox = outbox

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
            if self.subscribers:
                block = BlockForm(record)
                for subscriber in list(self.subscribers.values()):
                    subscriber.hear(block)


def _holds(value: Any, text: str) -> bool:
    if isinstance(value, dict):
        return any(_holds(item, text) for item in value.values())
    if isinstance(value, list):
        return any(_holds(item, text) for item in value)
    return bool(value == text)
