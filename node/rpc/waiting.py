"""What answers at a node's RPC address while its empty home waits for a snapshot.

There is no chain to ask about yet, but an operator wants to know that the node lives and how far
it is. Every call gets 503, which clients take for a node out of reach; the sentence says why.
"""

import asyncio
from http import HTTPStatus
from typing import ClassVar

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from node.errors import NodeError
from node.rpc.connections import Listening, Refusal, host_name, is_loopback
from node.rpc.dispatch import failure
from node.rpc.errors import Forbidden
from node.rpc.limits import RpcLimits
from node.rpc.outbox import Outboxes
from node.rpc.server import CLOSE_SECONDS, LOOPBACK_NAMES, naming_address
from node.snapshot.progress import StateSync

LINGER_SECONDS = 5.0


class Beginning(NodeError):
    """The node has no chain yet."""

    code: ClassVar[str] = "node.beginning"


class WaitingRoom:
    """Serves `/health`, `/ready` and `/metrics`, and puts every call off; then makes room."""

    def __init__(self, progress: StateSync, registry: CollectorRegistry, limits: RpcLimits) -> None:
        self._progress = progress
        self._registry = registry
        self._limits = limits
        self._server: Listening | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; raises PortInUse or HostUnusable."""
        loop = asyncio.get_running_loop()
        self._server = Listening(
            self._answer,
            Outboxes(self._limits),
            keepalive_timeout=LINGER_SECONDS,
            lingering_time=0.0,
        )
        with naming_address(host, port):
            self._listener = await loop.create_server(self._protocol, host, port)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Leave the address to the node."""
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            await self._server.stop(CLOSE_SECONDS)

    def _protocol(self) -> asyncio.Protocol:
        assert self._server is not None, "start makes the server before it listens"
        is_full = len(self._server.connections) >= self._limits.connections_max
        return Refusal() if is_full else self._server()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        match request.method, request.path:
            case "GET", "/health":
                return web.json_response({"ok": True})
            case "GET", "/ready":
                return web.json_response({"ready": False}, status=503)
            case "GET", "/metrics":
                return self._metrics(request)
        error = Beginning(
            f"The node has no chain yet. {self._progress.sentence()} Ask again once /ready says so."
        )
        return web.Response(
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            body=failure(error),
            headers={"Content-Type": "application/json", "Retry-After": "1"},
        )

    def _metrics(self, request: web.BaseRequest) -> web.Response:
        name = host_name(request.headers.get("Host", ""))
        is_named = name in LOOPBACK_NAMES or name in self._limits.hosts
        if not (is_named and is_loopback(request.remote) and "Origin" not in request.headers):
            return web.Response(
                status=HTTPStatus.FORBIDDEN,
                body=failure(Forbidden("Metrics answer on loopback only.")),
            )
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
