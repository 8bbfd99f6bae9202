"""Peers that shake hands under keys of their own, and then break the rules, or stretch them.

Each function is one attack, for so long. What only the attacker's key can have made bans it; what
anybody on the way might have done only ends the connection; what is merely useless is endured.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import Awaitable, Callable, Mapping

from consensus.messages import (
    MESSAGE_BYTES_MAX,
    Block,
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Status,
    encode,
)
from node.network.sketches import decode
from node.network.transactions import Brought, Told, Wanted
from p2p.addresses import Address
from p2p.announce import Announcement, sign_announce
from p2p.codec import encode as encode_network
from p2p.exchange import QUESTION, Listening, Records
from p2p.handshake import NodeKey
from p2p.topics import LIMITS, Topic
from p2p.wire import Kind, Ping, Start
from state.codec import encode as encode_state
from state.finality import (
    Header,
    Justify,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    Vote,
)
from tests.node.hostile.peer import Peer, Refused, begun, is_banned, meeting
from tests.node.hostile.strangers import GATE_S, lasting
from tests.node.hostile.victim import Victim

FAR = 10**12


async def garbage_under_seal(victim: Victim, seconds: float) -> None:
    """Random bytes, properly sealed: only the peer can have made them, so it is banned."""
    await _banned(victim, seconds, "127.0.2.1", lambda peer: peer.raw(_sealed_noise(peer)))


def _sealed_noise(peer: Peer) -> bytes:
    return peer.channel.seal(os.urandom(500))


async def oversize_messages(victim: Victim, seconds: float) -> None:
    """A message that is announced longer than its topic allows: banned before a byte is kept."""
    longest = LIMITS[Topic.CONSENSUS].message_bytes_max
    await _banned(
        victim, seconds, "127.0.2.2", lambda peer: peer.say([begun(Topic.CONSENSUS, longest + 1)])
    )


async def floods_without_leave(victim: Victim, seconds: float) -> None:
    """More messages in one frame than the victim gave leave for, and pings without end."""
    empty = Start(Topic.SYNC, Kind.NOTICE, 0, 0, b"")

    async def flood(peer: Peer) -> None:
        await peer.say([empty] * (LIMITS[Topic.SYNC].window_messages + 1))

    async def ping(peer: Peer) -> None:
        for _ in range(50):
            await peer.say([Ping(0)] * 500)

    await _banned(victim, seconds / 2, "127.0.2.3", flood)
    await _banned(victim, seconds / 2, "127.0.2.14", ping)


Offence = Callable[[Peer], Awaitable[object]]


async def _banned(victim: Victim, seconds: float, host: str, offend: Offence) -> None:
    """Commit an offence under one fresh key after another: each is dropped and stays out."""
    goes_on = lasting(seconds)
    while True:
        key = NodeKey(os.urandom(32))
        async with meeting(victim, host, key) as peer:
            await offend(peer)
            assert await peer.is_dropped()
        assert await is_banned(victim, host, key)
        if not goes_on():
            return
        await asyncio.sleep(4 * GATE_S)


async def frames_on_the_way(victim: Victim, seconds: float) -> None:
    """Frames replayed, forged, or longer than any: the connection ends, and nobody is banned."""
    goes_on = lasting(seconds)
    while True:
        key = NodeKey(b"\x42" * 32)
        for kind in ("replayed", "forged", "oversize"):
            async with meeting(victim, "127.0.2.4", key) as peer:
                frame = peer.channel.seal(encode_network([Ping(1)]))
                await peer.raw(frame)
                spoiled = {"replayed": frame, "forged": os.urandom(99), "oversize": bytes(2**17)}
                await peer.raw(spoiled[kind])
                assert await peer.is_dropped()
                assert peer.reason != "p2p.banned", kind
            await asyncio.sleep(GATE_S)
        if not goes_on():
            return


async def forged_votes(victim: Victim, seconds: float) -> None:
    """Votes in validators' names from somebody who is none: nobody but the sender is to blame."""

    async def flood(peer: Peer) -> None:
        status = await victim.status()
        epoch, view = int(status["epoch"]), int(status["view"])
        for at in range(2_000):
            vote = Vote(at % 4, os.urandom(64))
            subject = Proposal(epoch, view + at % 8, view, os.urandom(32), os.urandom(32))
            signed = Notarize(subject, vote) if at % 2 else Nullify(Nullified(epoch, view), vote)
            if not await peer.tell(Topic.CONSENSUS, encode(signed)):
                return

    await _banned(victim, seconds, "127.0.2.5", flood)


async def forged_certificates(victim: Victim, seconds: float) -> None:
    """Certificates of views to come whose signatures nobody gave: many to verify in each."""

    async def flood(peer: Peer) -> None:
        status = await victim.status()
        epoch, view = int(status["epoch"]), int(status["view"])
        for at in range(2_000):
            votes = tuple([Vote(one, os.urandom(64)) for one in range(4)])
            forged = Nullification(Nullified(epoch, view + at % 8), votes)
            if not await peer.tell(Topic.CONSENSUS, encode(forged)):
                return

    await _banned(victim, seconds, "127.0.2.15", flood)


async def echoed_votes(victim: Victim, seconds: float) -> None:
    """Honest votes, said again as fast as the victim takes them, some under another subject.

    Whoever signed them is to be left alone.
    """
    goes_on = lasting(seconds)
    while goes_on():
        with contextlib.suppress(Refused):
            async with meeting(victim, "127.0.2.6") as peer:
                await _echo(peer, goes_on)
        await asyncio.sleep(GATE_S)


async def _echo(peer: Peer, goes_on: Callable[[], bool]) -> None:
    while goes_on() and not peer.gone.is_set():
        for wire in peer.heard[Topic.CONSENSUS]:
            message = decode(wire, MESSAGE_BYTES_MAX)
            if isinstance(message, Nullify | Notarize):
                twisted = Nullify(
                    Nullified(message.subject.epoch, message.subject.view + 1), message.vote
                )
                await peer.tell(Topic.CONSENSUS, wire)
                await peer.tell(Topic.CONSENSUS, encode(twisted))
        await asyncio.sleep(0.02)


async def lying_heights(victim: Victim, seconds: float) -> None:
    """Statuses of heights that are nowhere: the victim believes none of them."""
    goes_on = lasting(seconds)
    async with meeting(victim, "127.0.2.7") as peer:
        while goes_on():
            for epoch in (0, 1, FAR):
                lie = Status(epoch, FAR, epoch, FAR, FAR, os.urandom(32))
                await peer.tell(Topic.CONSENSUS, encode(lie))
            await asyncio.sleep(0.01)
        assert not peer.gone.is_set()
    assert await victim.height() < FAR


async def bad_blocks(victim: Victim, seconds: float) -> None:
    """Blocks that nobody asked for and no certificate stands behind, a megabyte each."""
    goes_on, chance = lasting(seconds), random.Random(3)
    with contextlib.suppress(Refused):
        async with meeting(victim, "127.0.2.8") as peer:
            while goes_on():
                blocks = tuple(_block(at, chance.randbytes(2**20)) for at in range(4))
                if not await peer.tell(Topic.SYNC, encode(BlockReply(blocks))):
                    return
                await peer.tell(Topic.BLOCKS, encode(BlockReply(blocks[:1])))


def _block(at: int, body: bytes) -> Block:
    roots = [os.urandom(32) for _ in range(8)]
    header = Header(FAR + at, 0, FAR, 1, os.urandom(32), FAR, bytes(20), *roots)
    return Block(header, Justify(None, ()), body)


async def endless_announcements(victim: Victim, seconds: float) -> None:
    """Ports, addresses and validators that are none, as many as the topic takes."""
    goes_on, at = lasting(seconds), 0
    async with meeting(victim, "127.0.2.9") as peer:
        while goes_on():
            at += 1
            await peer.tell(Topic.PEERS, encode_network(Listening(1 + at % 60_000)))
            await peer.tell(Topic.PEERS, QUESTION, Kind.REQUEST, at)
            await peer.tell(Topic.PEERS, encode_network(_nobodies(at)))
        assert not peer.gone.is_set()


def _nobodies(at: int) -> Records:
    one, node = NodeKey(at.to_bytes(32, "big")), NodeKey(b"n" * 32)
    record = Announcement(one.node_id, node.node_id, (Address("127.0.2.9", 1),), at)
    return Records((sign_announce(record, bytes(32), one.sign, node),) * 8)


async def ids_that_nobody_has(victim: Victim, seconds: float) -> None:
    """Ids of transactions, told and asked for: the victim pulls some, gets nothing, and forgets."""
    goes_on = lasting(seconds)
    async with meeting(victim, "127.0.2.10") as peer:
        while goes_on():
            ids = tuple(os.urandom(32) for _ in range(1_024))
            await peer.tell(Topic.TRANSACTIONS, encode_state(Told(ids)))
            await peer.tell(Topic.TRANSACTIONS, encode_state(Wanted(ids)))
        assert not peer.gone.is_set()


async def never_valid_transactions(victim: Victim, seconds: float) -> None:
    """Transactions that no state could admit: whoever brings them is banned."""

    async def bring(peer: Peer) -> None:
        wires = tuple(os.urandom(300) for _ in range(50))
        await peer.tell(Topic.TRANSACTIONS, encode_state(Brought(wires)))

    await _banned(victim, seconds, "127.0.2.11", bring)


async def requests_without_end(victim: Victim, seconds: float) -> None:
    """Questions for blocks and certificates as fast as the victim takes them, answers unread."""
    goes_on = lasting(seconds)
    head = bytes.fromhex((await victim.status())["block_id"])
    async with meeting(victim, "127.0.2.12") as peer:
        while goes_on():
            for view in range(50):
                await peer.tell(Topic.CONSENSUS, encode(BlockRequest(head, 32)))
                await peer.tell(Topic.CONSENSUS, encode(CertificateRequest(0, view)))
            await asyncio.sleep(0)
        assert not peer.gone.is_set()


async def hoarders(victim: Victim, seconds: float) -> None:
    """As many peers as have seats, who begin the longest message of every topic and end none."""
    async with contextlib.AsyncExitStack() as stack:
        crowd = [
            await stack.enter_async_context(meeting(victim, f"127.0.3.{1 + at}"))
            for at in range(38)
        ]
        longest = {topic: bytes(limits.message_bytes_max - 1) for topic, limits in LIMITS.items()}
        await asyncio.gather(*[_hoard(peer, longest, seconds) for peer in crowd])


async def _hoard(peer: Peer, longest: Mapping[Topic, bytes], seconds: float) -> None:
    sending = [
        asyncio.create_task(peer.tell(topic, data, short_bytes=1))
        for topic, data in longest.items()
    ]
    await asyncio.wait(sending, timeout=max(seconds, 4.0))
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)


async def who_never_reads(victim: Victim, seconds: float) -> None:
    """A peer that asks, and leaves what it is sent in the victim's hands."""
    goes_on = lasting(seconds)
    async with meeting(victim, "127.0.2.13") as peer:
        connection = peer.socket._response.connection
        assert connection is not None and connection.transport is not None
        connection.transport.pause_reading()
        head = bytes.fromhex((await victim.status())["block_id"])
        while goes_on() and peer.has_leave(Topic.CONSENSUS):
            await peer.tell(Topic.CONSENSUS, encode(BlockRequest(head, 32)))
            await asyncio.sleep(0.002)
