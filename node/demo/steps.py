"""Steps of the demo on the chain: transactions sent together, each of which has to succeed."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from node.client import Account, SaharaClient
from node.demo.errors import StepFailed
from node.rpc.backend import TxStatus
from state.block import Outcome, Status
from state.context import Event
from state.modules.all import EVENTS
from state.registry import Message
from state.types import Hash

FINAL_SECONDS_MAX = 60.0

Sending = tuple[Account, tuple[Message, ...]]
"""Who sends which messages in one transaction."""

E = TypeVar("E", bound=Event)

_union: Any = EVENTS[0]
for _event in EVENTS[1:]:
    _union = _union | _event
_decoder: Any = msgspec.msgpack.Decoder(_union)


async def send_all(client: SaharaClient, sendings: Sequence[Sending]) -> list[Hash]:
    """Sign and submit transactions in order; returns their ids, raises Refused."""
    return [await client.send(account, *messages) for account, messages in sendings]


async def perform(client: SaharaClient, what: str, sendings: Sequence[Sending]) -> list[TxStatus]:
    """Send transactions together and wait until all are final; raises StepFailed for one that
    did not succeed.
    """
    tx_ids = await send_all(client, sendings)
    statuses = await client.wait_final_many(tx_ids, timeout_seconds=FINAL_SECONDS_MAX)
    for status in statuses:
        require_ok(what, status)
    return statuses


def require_ok(what: str, status: TxStatus) -> Outcome:
    """Return the outcome of a final transaction that succeeded; raises StepFailed."""
    outcome = status.outcome
    if outcome is None or outcome.status is not Status.OK:
        code, sentence = (outcome.code, outcome.sentence) if outcome else ("", "no outcome")
        raise StepFailed(what, code, sentence)
    return outcome


def events_of(outcome: Outcome, kind: type[E]) -> list[E]:
    """Return what a transaction emitted of one kind, in order."""
    return [event for event in map(event_from, outcome.events) if isinstance(event, kind)]


def event_from(packed: bytes | msgspec.Raw) -> Event:
    """Return an event from its canonical bytes."""
    event: Event = _decoder.decode(packed)
    return event
