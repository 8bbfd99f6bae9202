"""What can go wrong with the processes of a devnet, each with a stable code and a sentence."""

from typing import ClassVar

from node.errors import NodeError


class DevnetError(NodeError):
    """A devnet cannot do what was asked."""

    code: ClassVar[str] = "devnet.error"


class PortInUse(DevnetError):
    """The port that was asked for is taken."""

    code: ClassVar[str] = "devnet.port_in_use"


class NodeDied(DevnetError):
    """A node's process ended while it was needed."""

    code: ClassVar[str] = "devnet.node_died"


class NodeSilent(DevnetError):
    """A node's process runs and does not answer."""

    code: ClassVar[str] = "devnet.node_silent"


class DevnetMissing(DevnetError):
    """There is no devnet where one was expected."""

    code: ClassVar[str] = "devnet.missing"


class DevnetExists(DevnetError):
    """There is something else where a devnet was to be founded."""

    code: ClassVar[str] = "devnet.exists"


class DevnetRunning(DevnetError):
    """The devnet of this folder runs already."""

    code: ClassVar[str] = "devnet.running"


class DevnetNotRunning(DevnetError):
    """The devnet of this folder does not run."""

    code: ClassVar[str] = "devnet.not_running"


class DevnetSilent(DevnetError):
    """The devnet's own process runs and does not answer."""

    code: ClassVar[str] = "devnet.silent"


class NoSuchNode(DevnetError):
    """The devnet has no node of this number."""

    code: ClassVar[str] = "devnet.no_such_node"


class NodeIsDown(DevnetError):
    """The node that was to be killed does not run."""

    code: ClassVar[str] = "devnet.node_is_down"


class StillRuns(DevnetError):
    """A process did not end though it was killed."""

    code: ClassVar[str] = "devnet.still_runs"


class BadRequest(DevnetError):
    """What came over the devnet's socket is no request."""

    code: ClassVar[str] = "devnet.bad_request"


class RequestRefused(DevnetError):
    """The running devnet refused a request; `reason` is the code of its own refusal."""

    code: ClassVar[str] = "devnet.request_refused"

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
