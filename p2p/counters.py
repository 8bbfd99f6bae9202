"""Counters of one node's traffic, for metrics: what came, went and was dropped, by topic."""

from dataclasses import dataclass, field
from typing import Any

from p2p.topics import Topic


def _by_topic() -> dict[Topic, int]:
    return dict.fromkeys(Topic, 0)


def _by_name() -> dict[str, int]:
    return {}


@dataclass(slots=True)
class Counters:
    """Totals since the start; they only grow."""

    received_bytes: dict[Topic, int] = field(default_factory=_by_topic)
    received_messages: dict[Topic, int] = field(default_factory=_by_topic)
    sent_bytes: dict[Topic, int] = field(default_factory=_by_topic)
    sent_messages: dict[Topic, int] = field(default_factory=_by_topic)
    """Messages that were queued for a peer, and not dropped at once."""
    dropped_messages: dict[Topic, int] = field(default_factory=_by_topic)
    """Messages that gave way because a queue was full."""
    requests_refused: dict[Topic, int] = field(default_factory=_by_topic)
    """Requests of peers that were beyond what is served."""
    frames_received: int = 0
    frames_sent: int = 0
    endings: dict[str, int] = field(default_factory=_by_name)
    """Connections that ended, by the code of the reason."""
    refused: dict[str, int] = field(default_factory=_by_name)
    """Connections that were not let in, by the code of the reason."""
    verdicts: dict[str, int] = field(default_factory=_by_name)
    """Messages by what the node said of them."""

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, topics by their lower-case names."""
        return {
            name: {_plain(key): count for key, count in value.items()}
            if isinstance(value := getattr(self, name), dict)
            else value
            for name in self.__slots__
        }


def _plain(key: Topic | str) -> str:
    return key.name.lower() if isinstance(key, Topic) else key


def count(totals: dict[str, int], code: str) -> None:
    """Count one more under a code; codes are ours, so they are few."""
    totals[code] = totals.get(code, 0) + 1
