"""Errors that the network expects, in two families, each with a stable code and a sentence.

NetworkError
├── LocalError                we misused the network: a bug or a setting of ours
│   ├── NotConnected          there is no connection to that peer
│   ├── QueueFull             too much waits to be sent to that peer
│   └── RequestFailed         nobody answered in time, or the peer refused
└── RemoteError               the other side broke a rule, or somebody on the way did
    ├── (handshake.py)        who cannot show who it is, or is not whom we wanted
    ├── FrameForged           bytes that the peer's key did not make
    └── Breach                bytes that the peer's key made, and no honest node makes

Only a Breach is provable: the peer's own key authenticated it. Bytes that fail authentication may
be the work of anybody on the way, so they end a connection and never cost the peer its name.
"""

from typing import ClassVar


class NetworkError(Exception):
    """Whatever the network raises on purpose, with a stable machine code and a sentence."""

    code: ClassVar[str] = "p2p.error"
    is_provable: ClassVar[bool] = False
    """Whether only the peer itself can have done it."""

    @property
    def sentence(self) -> str:
        """What happened, what was expected, and what to do."""
        return " ".join(str(part) for part in self.args)


class LocalError(NetworkError):
    """We asked the network for something that it does not do."""

    code: ClassVar[str] = "p2p.local"


class NotConnected(LocalError):
    """There is no connection to that peer now."""

    code: ClassVar[str] = "p2p.not_connected"


class QueueFull(LocalError):
    """The peer takes less than we have for it, and what waits has reached its bound."""

    code: ClassVar[str] = "p2p.queue_full"


class RequestFailed(LocalError):
    """A request got no answer: the time ran out, the peer refused, or the connection ended."""

    code: ClassVar[str] = "p2p.request_failed"

    def __init__(self, sentence: str, refusal: str = "") -> None:
        super().__init__(sentence)
        self.refusal = refusal
        """The code by which the peer refused, or the connection ended."""


class RemoteError(NetworkError):
    """The other side did what the protocol forbids; the connection ends."""

    code: ClassVar[str] = "p2p.remote"


class FrameForged(RemoteError):
    """A frame was replayed, reordered, dropped or changed on its way: its seal does not hold."""

    code: ClassVar[str] = "p2p.frame_forged"


class Breach(RemoteError):
    """The peer's own key sealed something that no honest node sends."""

    code: ClassVar[str] = "p2p.breach"
    is_provable: ClassVar[bool] = True


class Malformed(Breach):
    """These bytes are not the canonical form of what was expected."""

    code: ClassVar[str] = "p2p.malformed"


class Oversize(Breach):
    """A message or a field is longer than its topic allows."""

    code: ClassVar[str] = "p2p.oversize"


class Flood(Breach):
    """The peer sent more than it was allowed to."""

    code: ClassVar[str] = "p2p.flood"


class OutOfOrder(Breach):
    """A piece, an answer or a step came where the protocol has no place for it."""

    code: ClassVar[str] = "p2p.out_of_order"
