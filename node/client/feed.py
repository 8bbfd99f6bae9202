"""A subscription as a client holds it: the snapshot, then deltas whose numbers leave no gap."""

from typing import Any

import aiohttp
import msgspec

from node.client import protocol
from node.client.errors import Unreachable
from node.rpc.subscriptions import Subscribed, Topic
from state.codec import Struct
from state.types import Address, Hash

_decode = msgspec.json.Decoder().decode


class Delta(Struct):
    """What one block meant to a subscription, as JSON."""

    sequence: int
    height: int
    result: Any


class Feed:
    """Iterate over it for deltas; it ends with Unreachable when the connection does."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, snapshot: Subscribed) -> None:
        self._socket = socket
        self._sequence = snapshot.sequence
        self.snapshot = snapshot

    @classmethod
    async def open(
        cls,
        socket: aiohttp.ClientWebSocketResponse,
        topic: str,
        ids: tuple[Hash, ...],
        types: tuple[str, ...],
        address: Address | None,
    ) -> "Feed":
        """Subscribe on a fresh connection; raises Refused."""
        arguments = {"topic": Topic(topic), "ids": ids, "types": types}
        if address is not None:
            arguments["address"] = address
        params = protocol.written("subscribe", arguments)
        await socket.send_str(protocol.request("subscribe", params).decode())
        result = protocol.result_of((await _text(socket)).encode())
        return cls(socket, protocol.value_of("subscribe", result))

    def __aiter__(self) -> "Feed":
        """Return the feed itself."""
        return self

    async def __anext__(self) -> Delta:
        """Return the next delta; raises Unreachable when numbers leave a gap."""
        params = _decode(await _text(self._socket))["params"]
        if params["sequence"] != self._sequence + 1:
            raise Unreachable("The feed has a gap; subscribe again and start from the snapshot.")
        self._sequence = params["sequence"]
        return Delta(params["sequence"], params["height"], params["result"])


async def _text(socket: aiohttp.ClientWebSocketResponse) -> str:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise Unreachable(
            f"The feed was closed (code {socket.close_code}); subscribe again for a new snapshot."
        )
    return str(message.data)
