"""What one caller may ask of the server: sizes, rates and counts, with defaults that are safe."""

from collections import OrderedDict
from dataclasses import dataclass

ADDRESSES_TRACKED_MAX = 10_000
CONNECTIONS_MAX = 900

BYTES_PER_TOKEN = 2**13
"""A body, and an answer, takes a token for each so many bytes besides those for its requests."""

SLICE_SECONDS = 0.005
"""How long a batch is answered, or subscribers are told, in one piece; votes wait meanwhile."""


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """Limits of the RPC server; every one is enforced before the work that it bounds."""

    body_bytes_max: int = 2**21
    """A request or batch over HTTP."""

    message_bytes_max: int = 2**19
    """A request or batch over WebSocket; the longest transaction fits."""

    bodies_bytes_total_max: int = 2**26
    bodies_bytes_per_address_max: int = 2**23
    """Bodies that are being read at once, of one remote address, or /64 of IPv6."""

    values_max: int = 20_000
    """Members and items of the JSON of a body, all its objects and arrays together."""

    response_bytes_max: int = 2**24
    """A batch stops executing once its responses are this large."""

    batch_requests_max: int = 256
    batches_waiting_max: int = 64
    """Batches that stand in line behind one that takes long, of all callers together."""

    connections_max: int = CONNECTIONS_MAX
    connections_per_address_max: int = 100
    """Connections of one remote address, or /64 of IPv6, at once; loopback is not limited."""

    websockets_max: int = 100
    websockets_per_address_max: int = 20
    """WebSockets of one remote address, or /64 of IPv6; loopback is not limited."""

    pings_per_second: int = 50
    """Pings and pongs of one WebSocket; with more it is let go."""

    subscriptions_max: int = 16
    """Subscriptions of one WebSocket."""

    queued_messages_max: int = 1_024
    """Messages that wait for one WebSocket; without room for a delta it is cut off."""

    queued_bytes_max: int = 2**25
    """Bytes that wait for one WebSocket; requests are answered while the largest answer fits."""

    queued_bytes_total_max: int = 2**27
    """Bytes that wait for all WebSockets and callers over HTTP; beyond them who holds most goes."""

    taken_seconds: int = 30
    taken_bytes_per_second: int = 2**18
    """An answer over HTTP is taken within those seconds and what its length needs at this pace."""

    requests_per_second: int = 500
    """Tokens a second of one remote address, or /64 of IPv6; loopback is not limited."""

    requests_burst: int = 2_000
    idle_seconds: int = 75
    """A kept-alive connection without requests is closed after this."""

    request_seconds: float = 15.0
    """A connection whose first request, or a request whose body, takes longer is closed."""

    close_seconds: float = 1.0
    """So long a connection may take to end when it, or the server, is closed; 0 would be for ever.
    """

    hosts: tuple[str, ...] = ()
    """Names that a request to a loopback listener may carry in Host, besides loopback's own."""

    origins: tuple[str, ...] = ()
    """Origins of web pages that may call; without an entry, a browser is refused."""

    unsafe_from_anywhere: bool = False
    """Whether unsafe methods and /metrics answer callers that are not on loopback."""


class RateLimiter:
    """A token bucket for each holder of remote addresses; time is passed in."""

    __slots__ = ("_buckets", "_burst", "_rate")

    def __init__(self, limits: RpcLimits) -> None:
        self._rate = limits.requests_per_second
        self._burst = limits.requests_burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, holder: str, count: int, now: float) -> int:
        """Take `count` tokens; return how many are left, or less than 0 when there are too few."""
        left, at = self._buckets.pop(holder, (float(self._burst), now))
        left = min(float(self._burst), left + (now - at) * self._rate)
        allowed = left >= count
        self._buckets[holder] = (left - count if allowed else left, now)
        if len(self._buckets) > ADDRESSES_TRACKED_MAX:
            self._buckets.popitem(last=False)
        return int(left - count) if allowed else -1

    def charge(self, holder: str, count: int, now: float) -> None:
        """Take tokens for what is done already; what is owed has to come in before others go."""
        self.take(holder, 0, now)
        left, at = self._buckets[holder]
        self._buckets[holder] = (left - count, at)
