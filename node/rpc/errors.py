"""Error objects of JSON-RPC 2.0: an integer for programs that know the protocol, a code for ours.

Protocol errors keep the numbers of the specification. Everything that the chain or the server
refuses stands under -320xx, and `data.code` says exactly why.
"""

from typing import Any, ClassVar

from state.errors import Malformed, NotFound, Rejected, SaharaError

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REFUSED = -32000
NOT_FOUND = -32001
LIMIT_EXCEEDED = -32002
FORBIDDEN = -32003


class RpcError(Rejected):
    """A request that the server refuses by itself; leaves carry their JSON-RPC number."""

    code: ClassVar[str] = "rpc.refused"
    number: ClassVar[int] = REFUSED


class ParseError(RpcError):
    """The body is not JSON."""

    code: ClassVar[str] = "rpc.parse_error"
    number: ClassVar[int] = PARSE_ERROR


class InvalidRequest(RpcError):
    """The JSON is no request of JSON-RPC 2.0."""

    code: ClassVar[str] = "rpc.invalid_request"
    number: ClassVar[int] = INVALID_REQUEST


class PathNotFound(RpcError):
    """There is nothing under that path of the server."""

    code: ClassVar[str] = "rpc.path_not_found"
    number: ClassVar[int] = INVALID_REQUEST


class VerbNotAllowed(RpcError):
    """The path is there, and is asked by another HTTP method."""

    code: ClassVar[str] = "rpc.verb_not_allowed"
    number: ClassVar[int] = INVALID_REQUEST


class EncodingNotAllowed(RpcError):
    """The body is compressed, or written in another way than as it is."""

    code: ClassVar[str] = "rpc.encoding_not_allowed"
    number: ClassVar[int] = INVALID_REQUEST


class MethodNotFound(RpcError):
    """There is no method of that name."""

    code: ClassVar[str] = "rpc.method_not_found"
    number: ClassVar[int] = METHOD_NOT_FOUND


class InvalidParams(RpcError):
    """A parameter is missing, unknown, or not of its type; `path` says which."""

    code: ClassVar[str] = "rpc.invalid_params"
    number: ClassVar[int] = INVALID_PARAMS

    def __init__(self, sentence: str, path: str = "") -> None:
        super().__init__(sentence)
        self.path = path


class LimitExceeded(RpcError):
    """A limit of the server's configuration: body, batch, rate, or subscriptions."""

    code: ClassVar[str] = "rpc.limit_exceeded"
    number: ClassVar[int] = LIMIT_EXCEEDED


class Forbidden(RpcError):
    """The method, host or origin is not allowed from where the request came."""

    code: ClassVar[str] = "rpc.forbidden"
    number: ClassVar[int] = FORBIDDEN


class InternalError(RpcError):
    """Answering failed by a fault of the node."""

    code: ClassVar[str] = "rpc.internal_error"
    number: ClassVar[int] = INTERNAL_ERROR


def number_of(error: SaharaError) -> int:
    """Return the JSON-RPC number of an error."""
    if isinstance(error, RpcError):
        return error.number
    if isinstance(error, NotFound):
        return NOT_FOUND
    if isinstance(error, Malformed):
        return INVALID_PARAMS
    return REFUSED if isinstance(error, Rejected) else INTERNAL_ERROR


def error_object(error: SaharaError) -> dict[str, Any]:
    """Return the `error` member of a response."""
    data = {"code": error.code}
    if isinstance(error, InvalidParams) and error.path:
        data["path"] = error.path
    return {"code": number_of(error), "message": error.sentence, "data": data}
