"""A hostile peer: it shakes hands as any node does, and then seals whatever it likes."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence

import aiohttp

from p2p.channel import Channel
from p2p.errors import NetworkError
from p2p.handshake import Established, Initiator, NodeKey
from p2p.topics import LIMITS, Topic
from p2p.transport import PATH
from p2p.wire import (
    PIECE_BYTES_MIN,
    Credit,
    Goodbye,
    Item,
    Kind,
    Message,
    More,
    Ping,
    Pong,
    Start,
    cut,
    decode_frame,
    encode_frame,
)
from tests.node.hostile.victim import Victim

ROOM_BYTES = 60_000


class Peer:
    """One connection after its handshake; `gone` is set once the victim has ended it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, established: Established) -> None:
        self.socket = socket
        self.channel = Channel(established.send_key, established.receive_key)
        self.gone = asyncio.Event()
        self.reason = ""
        """Why the victim said it left."""
        self.heard: dict[Topic, list[bytes]] = {topic: [] for topic in Topic}
        self.answers: list[bytes] = []
        self._leave = {
            topic: [limits.window_bytes, limits.window_messages] for topic, limits in LIMITS.items()
        }
        self._more_leave = asyncio.Event()

    async def listen(self) -> None:
        """Read what the victim says, and answer its pings, until it hangs up."""
        with contextlib.suppress(ConnectionError, NetworkError):
            while (message := await self.socket.receive()).type is aiohttp.WSMsgType.BINARY:
                for item in decode_frame(self.channel.open(message.data)):
                    await self._hear(item)
        self.gone.set()
        self._more_leave.set()

    async def _hear(self, item: Item) -> None:
        match item:
            case Goodbye(reason):
                self.reason = reason
            case Ping(nonce):
                await self.say([Pong(nonce)])
            case Credit(topic, add_bytes, add_messages):
                self._leave[topic][0] += add_bytes
                self._leave[topic][1] += add_messages
                self._more_leave.set()
            case Start(topic, Kind.NOTICE, _, total, data) if len(data) == total:
                self.heard[topic] = [*self.heard[topic][-99:], data]
            case Start(_, _, _, _, data):
                self.answers = [*self.answers[-99:], data]
            case More() | Pong():
                pass

    async def say(self, items: Sequence[Item]) -> None:
        """Seal items and send them, leave or not."""
        await self.raw(self.channel.seal(encode_frame(list(items))))

    async def raw(self, data: bytes) -> None:
        """Send a binary message as it is."""
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            if not self.gone.is_set():
                await self.socket.send_bytes(data)

    async def tell(
        self,
        topic: Topic,
        data: bytes,
        kind: Kind = Kind.NOTICE,
        at: int = 0,
        *,
        short_bytes: int = 0,
    ) -> bool:
        """Send a message with leave, as a node does; tell whether the victim still listens.

        With `short_bytes` so many of its last bytes are never sent.
        """
        message, sent = Message(topic, kind, at, data), 0
        while not self.gone.is_set():
            leave = self._leave[topic]
            first = sent == 0
            item, size = cut(message, ROOM_BYTES, sent)
            assert item is not None
            if short_bytes and sent + size >= len(data):
                return True
            if leave[0] >= size and (not first or leave[1] > 0):
                leave[0] -= size
                leave[1] -= first
                await self.say([item])
                sent += size
                if sent >= len(data):
                    return True
            else:
                self._more_leave.clear()
                await self._more_leave.wait()
        return False

    async def tell_together(self, topic: Topic, *messages: bytes) -> None:
        """Send short messages in one frame, so that the victim hears them at once."""
        items: list[Item] = []
        for data in messages:
            item, size = cut(Message(topic, Kind.NOTICE, 0, data), ROOM_BYTES, 0)
            assert item is not None and size == len(data), "each fits into a piece"
            items.append(item)
        leave = self._leave[topic]
        while leave[0] < sum(map(len, messages)) or leave[1] < len(messages):
            self._more_leave.clear()
            await self._more_leave.wait()
        leave[0] -= sum(map(len, messages))
        leave[1] -= len(messages)
        await self.say(items)

    def has_leave(self, topic: Topic) -> bool:
        """Whether a message may be sent without waiting for the victim."""
        return self._leave[topic][1] > 0

    async def is_dropped(self, seconds: float = 20.0) -> bool:
        """Whether the victim ends the connection in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), seconds)
        return self.gone.is_set()


class Refused(Exception):
    """The victim does not let this peer in."""


@contextlib.asynccontextmanager
async def knocking(
    victim: Victim, host: str, **options: int
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket to the victim's port for peers, before the handshake; raises Refused."""
    connector = aiohttp.TCPConnector(local_addr=(host, 0), force_close=True)
    async with aiohttp.ClientSession(connector=connector) as client:
        try:
            socket = await client.ws_connect(
                f"http://{victim.p2p}{PATH}", max_msg_size=2**24, autoping=False, **options
            )
        except (aiohttp.ClientError, OSError) as error:
            raise Refused(str(error)) from error
        try:
            yield socket
        finally:
            socket._response.close()  # at once: the victim may never answer a closing frame


@contextlib.asynccontextmanager
async def meeting(victim: Victim, host: str, key: NodeKey | None = None) -> AsyncIterator[Peer]:
    """A peer that has shaken hands with the victim from this address; raises Refused."""
    async with knocking(victim, host) as socket:
        own = NodeKey(os.urandom(32)) if key is None else key
        initiator = Initiator(own, victim.genesis_hash, os.urandom(32), victim.node_id)
        await socket.send_bytes(initiator.hello)
        answer = await socket.receive()
        if answer.type is not aiohttp.WSMsgType.BINARY:
            raise Refused(f"{answer.type.name} came instead of an answer")
        last, established = initiator.receive_data(answer.data)
        await socket.send_bytes(last)
        peer = Peer(socket, established)
        listening = asyncio.create_task(peer.listen())
        try:
            yield peer
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def is_banned(victim: Victim, host: str, key: NodeKey) -> bool:
    """Whether a peer that comes again is told that it is banned."""
    async with meeting(victim, host, key) as peer:
        return await peer.is_dropped() and peer.reason == "p2p.banned"


def begun(topic: Topic, total_bytes: int) -> Start:
    """The first piece of a message that is announced to be so long."""
    return Start(topic, Kind.NOTICE, 0, total_bytes, bytes(PIECE_BYTES_MIN))
