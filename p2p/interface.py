"""What the node uses: the network's face, the same over sockets and in memory.

The node hands in a `Handler` and calls a `Network`. Every message it is handed must be settled with
a verdict, sooner or later: until then it holds a place of its sender's window, so a node that is
busy slows its peers down instead of piling up their messages.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from p2p.announce import Announce
from p2p.counters import Counters
from p2p.scores import Verdict
from p2p.topics import Topic

Settle = Callable[[Verdict], None]
INVALID: Final = "p2p.invalid"
"""Why a peer is gone whose message was judged invalid."""


class Delivery:
    """A message for the node: who sent it, on which topic, and the bytes."""

    __slots__ = ("_settle", "data", "peer_id", "topic")

    def __init__(self, peer_id: bytes, topic: Topic, data: bytes, settle: Settle) -> None:
        self.peer_id = peer_id
        self.topic = topic
        self.data = data
        self._settle: Settle | None = settle

    def settle(self, verdict: Verdict) -> None:
        """Say what the message was worth, and make room for the next; the first word counts."""
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(verdict)


class Request(Delivery):
    """A question for the node; `answer` or `refuse` it, which settles it as well."""

    __slots__ = ("_answer", "_refuse")

    def __init__(
        self,
        peer_id: bytes,
        topic: Topic,
        data: bytes,
        settle: Settle,
        answer: Callable[[bytes], None],
        refuse: Callable[[str], None],
    ) -> None:
        super().__init__(peer_id, topic, data, settle)
        self._answer = answer
        self._refuse = refuse

    def answer(self, data: bytes, verdict: Verdict = Verdict.DUPLICATE) -> None:
        """Send the answer; nothing is sent when the peer is gone or was answered already."""
        self._answer(data)
        self.settle(verdict)

    def refuse(self, code: str, verdict: Verdict = Verdict.DUPLICATE) -> None:
        """Refuse with a short stable code, such as `chain.unknown_block`."""
        self._refuse(code)
        self.settle(verdict)


class Handler(Protocol):
    """What the node does with what the network brings; called in the event loop, so quickly."""

    def on_message(self, delivery: Delivery) -> None:
        """A peer sent a message: settle it, now or later."""

    def on_request(self, request: Request) -> None:
        """A peer asks: answer or refuse, now or later."""

    def on_peer_up(self, peer_id: bytes) -> None:
        """A peer is connected; messages to it may be sent now."""

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        """A peer is gone, and why; what waited for it is lost."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A connected peer."""

    peer_id: bytes
    validator_key: bytes | None
    """The validator it runs, if it has announced one."""
    host: str
    is_outbound: bool
    score: int
    round_trip_ms: int | None
    since_ms: int


class Network(Protocol):
    """How the node reaches others; peers are named by node id, the public key of their node."""

    counters: Counters

    @property
    def node_id(self) -> bytes:
        """This node's own name."""

    async def start(self) -> None:
        """Listen and dial; raises OSError when the listening address is taken."""

    async def stop(self) -> None:
        """Say goodbye to everybody and close; takes less than two seconds."""

    def send(self, peer_id: bytes, topic: Topic, data: bytes) -> bool:
        """Queue a message for one peer; tell whether it is connected and the message stays queued.

        Raises LocalError when the message is longer than its topic allows.
        """

    def broadcast(self, topic: Topic, data: bytes, besides: Iterable[bytes] = ()) -> int:
        """Queue a message for every peer but those; return for how many it stays queued."""

    async def request(self, peer_id: bytes, topic: Topic, data: bytes, timeout_ms: int) -> bytes:
        """Ask one peer and return its answer; raises NotConnected, RequestFailed or QueueFull."""

    def judge(self, peer_id: bytes, verdict: Verdict) -> None:
        """Say what a peer's answer was worth; answers need no settling, so most are not judged."""

    def peers(self) -> list[PeerInfo]:
        """Return who is connected now."""

    def announce(self, record: Announce) -> None:
        """Tell everybody, now and later, which node a validator runs; it must hold here too."""

    def node_of(self, validator_key: bytes) -> bytes | None:
        """Return the node of a validator, if it has told."""

    def validator_of(self, node_id: bytes) -> bytes | None:
        """Return the validator of a node, if it has one."""

    def is_exempt(self, peer_id: bytes) -> bool:
        """Tell whether a peer is a validator's or on the operator's list, and so no stranger."""
