"""Real nodes on loopback: they meet, talk, ask, part, and survive each other."""

import asyncio
from typing import Any

import pytest
import uvloop

from p2p import network
from p2p.addresses import Address
from p2p.announce import Announce, Announcement, sign_announce
from p2p.errors import LocalError, NotConnected, RequestFailed
from p2p.gate import PENDING_MAX
from p2p.handshake import NodeKey
from p2p.limits import Pool
from p2p.scores import Verdict
from p2p.topics import LIMITS, MIB, Topic

GENESIS = b"\x07" * 32


async def test_two_nodes_talk(nodes: Any, until: Any) -> None:
    one, other = await nodes.pair()
    assert one.network.send(other.id, Topic.CONSENSUS, b"vote")
    assert other.network.broadcast(Topic.BLOCKS, bytes(5 * MIB)) == 1
    await until(lambda: one.messages and other.messages)
    assert other.messages == [(one.id, Topic.CONSENSUS, b"vote")]
    assert one.messages == [(other.id, Topic.BLOCKS, bytes(5 * MIB))]
    (info,) = one.network.peers()
    assert (info.peer_id, info.is_outbound, info.host) == (other.id, False, "127.0.0.2")
    await until(lambda: one.network.peers()[0].round_trip_ms is not None)
    assert one.network.peers()[0].score == 1
    assert one.network.counters.verdicts["useful"] == 1
    assert one.network.held_bytes == 0


async def test_questions_are_answered_refused_or_run_out(nodes: Any) -> None:
    one, other = await nodes.pair()
    ask = one.network.request
    assert await ask(other.id, Topic.SYNC, b"abc", 5_000) == b"cba"
    answers = await asyncio.gather(
        *[ask(other.id, Topic.SYNC, b"%d" % at, 5_000) for at in range(10, 40)]
    )
    assert answers == [(b"%d" % at)[::-1] for at in range(10, 40)]
    with pytest.raises(RequestFailed, match=r"test\.refused"):
        await ask(other.id, Topic.SYNC, b"refuse", 5_000)
    with pytest.raises(RequestFailed, match=r"p2p\.timeout"):
        await ask(other.id, Topic.SYNC, b"ignore", 100)
    with pytest.raises(NotConnected):
        await ask(b"?" * 32, Topic.SYNC, b"abc", 5_000)
    with pytest.raises(LocalError):
        one.network.send(other.id, Topic.PEERS, bytes(MIB))
    assert not one.network.send(b"?" * 32, Topic.CONSENSUS, b"vote")


async def test_a_stop_is_heard_and_a_restart_is_met_again(nodes: Any, until: Any) -> None:
    one, other = await nodes.pair()
    waiting = asyncio.create_task(other.network.request(one.id, Topic.SYNC, b"ignore", 60_000))
    await asyncio.sleep(0.05)
    port = one.network.port
    loop = asyncio.get_running_loop()
    start = loop.time()
    await one.network.stop()
    assert loop.time() - start < 2
    await until(lambda: not other.peers)
    assert other.downs == [(one.id, "p2p.disconnected")]
    with pytest.raises(RequestFailed):
        await waiting
    await one.fresh(listen_port=port).start()
    await until(lambda: one.id in other.peers and other.id in one.peers)


async def test_persistent_peers_of_both_sides_settle_on_one_connection(
    nodes: Any, until: Any
) -> None:
    first = await nodes.start()
    others = [await nodes.start([first]) for _ in range(3)]
    everybody = [first, *others]
    targets = [node.target for node in everybody]
    for node in everybody:
        await node.network.stop()
    for node, target in zip(everybody, targets, strict=True):
        node.ups.clear()
        node.downs.clear()
        known = tuple(one for one in targets if one is not target)
        node.fresh(persistent=known, listen_port=target.address.port)
    await asyncio.gather(*[node.network.start() for node in everybody])
    ids = {node.id for node in everybody}
    await until(lambda: all(node.peers == ids - {node.id} for node in everybody))
    await asyncio.sleep(0.7)  # whoever would still change its mind does it now
    for node in everybody:
        assert node.peers == ids - {node.id}
        assert len(node.ups) - len(node.downs) == 3
    for node in everybody:
        for other in everybody:
            if node is not other:
                (there,) = [p for p in node.network.peers() if p.peer_id == other.id]
                (back,) = [p for p in other.network.peers() if p.peer_id == node.id]
                assert there.is_outbound is not back.is_outbound


def record(node: Any, key: NodeKey, sequence: int = 1) -> Announce:
    body = Announcement(key.node_id, node.id, (Address(node.host, node.network.port),), sequence)
    return sign_announce(body, GENESIS, key.sign, node.key)


async def test_validators_find_each_other_and_form_a_mesh(nodes: Any, until: Any) -> None:
    """Eight nodes know only the first; seven are validators and end up joined pairwise."""
    hub = await nodes.start(per_address_max=8)
    keys = [NodeKey(bytes([100 + at]) * 32) for at in range(7)]
    nodes.validators.update(key.node_id for key in keys)
    members = [await nodes.start([hub], joins_mesh=True, outbound_max=0) for _ in keys]
    for node, key in zip(members, keys, strict=True):
        node.network.announce(record(node, key))
    ids = {node.id for node in members}
    await until(lambda: all(ids - {node.id} <= node.peers for node in members))
    for node, key in zip(members, keys, strict=True):
        assert hub.network.node_of(key.node_id) == node.id
        assert members[0].network.validator_of(node.id) == key.node_id
    with pytest.raises(LocalError):
        hub.network.announce(record(hub, NodeKey(b"x" * 32)))


async def test_a_validator_cannot_send_others_to_private_doors(nodes: Any, until: Any) -> None:
    """Announced addresses are held to the same rule as those that strangers tell."""
    door = await nodes.start()
    key = NodeKey(b"\x99" * 32)
    nodes.validators.add(key.node_id)
    wary = await nodes.start([door], joins_mesh=True, allow_private_hosts=False)
    await until(lambda: wary.peers)
    bait = NodeKey(b"\x98" * 32)
    body = Announcement(key.node_id, bait.node_id, (door.target.address, Address("x.test", 1)), 1)
    door.network.announce(sign_announce(body, GENESIS, key.sign, bait))
    await until(lambda: wary.network.node_of(key.node_id) == bait.node_id)
    await asyncio.sleep(0.3)
    assert not wary.network.counters.refused and wary.network._dialler.dialling == 0


async def test_addresses_are_told_and_dialled(nodes: Any, until: Any) -> None:
    """A newcomer knows one node and meets those that it knows; private ones are not told."""
    hidden = await nodes.start()
    known = await nodes.start()
    middle = await nodes.start([hidden, known], private=frozenset({hidden.id}))
    await until(lambda: middle.peers == {hidden.id, known.id})
    newcomer = await nodes.start([middle])
    await until(lambda: known.id in newcomer.peers)
    assert hidden.id not in {entry.peer.node_id for entry in newcomer.book}


async def test_a_provably_bad_message_bans(nodes: Any, until: Any) -> None:
    one, other = await nodes.pair()
    one.verdict = Verdict.INVALID
    other.network.send(one.id, Topic.TRANSACTIONS, b"bad")
    await until(lambda: not one.peers)
    assert one.downs == [(other.id, "p2p.invalid")]
    await until(lambda: one.network.counters.refused.get("p2p.banned"))
    assert not one.peers


async def test_a_provably_bad_answer_bans(nodes: Any, until: Any) -> None:
    one, other = await nodes.pair()
    one.network.judge(other.id, Verdict.USEFUL)
    one.network.judge(b"nobody", Verdict.INVALID)
    assert one.peers == {other.id}
    one.network.judge(other.id, Verdict.INVALID)
    await until(lambda: not one.peers)
    await until(lambda: one.network.counters.refused.get("p2p.banned"))


async def test_trusted_peers_are_dropped_but_not_banned(nodes: Any, until: Any) -> None:
    one, other = await nodes.pair()
    other.verdict = Verdict.INVALID
    one.network.send(other.id, Topic.TRANSACTIONS, b"bad")
    await until(lambda: other.downs)
    await until(lambda: one.id in other.peers)  # the first is the second's persistent peer


async def test_a_flood_of_transactions_does_not_delay_consensus(nodes: Any, until: Any) -> None:
    one, other = await nodes.pair()
    one.hold = True  # nothing of what comes is ever settled
    for _ in range(2_000):
        other.network.send(one.id, Topic.TRANSACTIONS, bytes(64 * 1_024))
    for _ in range(4):
        other.network.send(one.id, Topic.BLOCKS, bytes(8 * MIB))
    for at in range(20):
        start, vote = asyncio.get_running_loop().time(), b"vote %d" % at
        other.network.send(one.id, Topic.CONSENSUS, vote)
        await until(lambda vote=vote: any(data == vote for _, _, data in one.messages))
        assert asyncio.get_running_loop().time() - start < 0.5
    limits = LIMITS[Topic.TRANSACTIONS]
    flood = sum(len(m[2]) for m in one.messages if m[1] is Topic.TRANSACTIONS)
    assert flood <= limits.window_bytes
    assert one.network.held_bytes <= limits.window_bytes + 8 * MIB + 4 * MIB
    assert other.network.counters.dropped_messages[Topic.TRANSACTIONS] > 1_000


async def test_seats_are_limited_and_the_operators_peers_exempt(nodes: Any, until: Any) -> None:
    friends = [NodeKey(bytes([number]) * 32).node_id for number in (4, 5)]
    full = await nodes.start(inbound_max=2, unconditional=frozenset(friends))
    strangers = [await nodes.start([full]) for _ in range(2)]
    await until(lambda: len(full.peers) == 2)
    trusted = [await nodes.start([full]) for _ in range(2)]
    refused = await nodes.start([full])
    await until(lambda: len(full.peers) == 4)
    await until(lambda: full.network.counters.refused.get("p2p.full"))
    await until(lambda: refused.downs)  # it saw the door for a moment
    assert full.peers == {node.id for node in (*strangers, *trusted)}


async def test_one_address_does_not_take_every_seat(nodes: Any, until: Any) -> None:
    one = await nodes.start(per_address_max=2)
    for _ in range(4):
        await nodes.start([one], dial_from="127.0.0.77")
    await until(lambda: len(one.peers) == 2)
    await until(lambda: one.network.counters.refused.get("p2p.gate", 0) >= 2)
    assert len(one.peers) == 2


async def test_anchors_are_kept_and_met_again(nodes: Any, until: Any) -> None:
    from p2p.addresses import PeerAddress
    from p2p.peerbook import PeerBook

    one, other = await nodes.start(), await nodes.start()
    one.book.hear(PeerAddress(other.id, other.target.address), "127.0.0.9")
    await until(lambda: one.book.anchors)
    stored = one.book.to_bytes()
    await one.network.stop()
    await until(lambda: not other.peers)
    one.book = PeerBook.from_bytes(stored, "peers.book")
    assert one.book.anchors == (PeerAddress(other.id, other.target.address),)
    one.book._entries.clear()
    one.book._buckets.clear()
    await one.fresh().start()
    await until(lambda: other.id in one.peers)


async def test_a_bug_in_a_task_is_heard(nodes: Any) -> None:
    one = await nodes.start()

    async def broken() -> None:
        raise ZeroDivisionError

    one.network._spawn(broken())
    with pytest.raises(ZeroDivisionError):
        await one.network.failed()
    with pytest.raises(ZeroDivisionError):
        await one.network.stop()
    nodes.all.remove(one)


def test_the_network_runs_on_uvloop_too(make_nodes: Any, until: Any) -> None:
    """Nodes run on uvloop, whose transports are none of asyncio's classes."""

    async def scenario() -> None:
        nodes = make_nodes()
        one, other = await nodes.pair()
        assert other.network.broadcast(Topic.BLOCKS, bytes(5 * MIB)) == 1
        await until(lambda: one.messages)
        assert await one.network.request(other.id, Topic.SYNC, b"abc", 5_000) == b"cba"
        for _ in range(40):
            _, writer = await asyncio.open_connection(
                one.host, one.network.port, local_addr=("127.0.0.66", 0)
            )
            writer.transport.abort()
        await until(lambda: one.network.counters.refused.get("p2p.gate"))
        assert one.peers == {other.id}
        await asyncio.gather(*[node.network.stop() for node in nodes.all])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_strangers_that_fill_their_pool_keep_no_friend_out(nodes: Any, until: Any) -> None:
    friend = await nodes.start()
    one = await nodes.start([friend])
    one.network._pools = {True: Pool(3 * MIB), False: Pool(3 * MIB)}
    strangers = [await nodes.start([one]) for _ in range(2)]
    await until(lambda: {friend.id, *[other.id for other in strangers]} <= one.peers)
    one.hold = True
    long = bytes(5 * MIB // 2)
    for other in strangers:
        for topic in (Topic.BLOCKS, Topic.SYNC):
            assert other.network.send(one.id, topic, long)
    await until(lambda: one.held)
    assert friend.network.send(one.id, Topic.BLOCKS, long)
    await until(lambda: friend.id in [delivery.peer_id for delivery in one.held])
    assert len(one.held) == 2, "the other strangers wait for the first"
    assert sum(pool.held_bytes for pool in one.network._pools.values()) == 2 * len(long)


async def test_strangers_that_leave_much_unfinished_are_dropped_the_oldest_first(
    nodes: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    friend = await nodes.start()
    one = await nodes.start([friend])
    one.network._pools[False] = full = Pool(1)
    assert full.reserve(1)
    strangers = [await nodes.start([one]) for _ in range(3)]
    await until(lambda: {friend.id, *[other.id for other in strangers]} <= one.peers)
    one.hold = True
    window = LIMITS[Topic.BLOCKS].window_bytes
    for at, other in enumerate([friend, *strangers]):
        assert other.network.send(one.id, Topic.BLOCKS, bytes(window + 1))
        await until(lambda held=(at + 1) * (window - 2**16): one.network.held_bytes >= held)
    await asyncio.sleep(0.3)
    assert one.downs == []
    monkeypatch.setattr(network, "STRANGERS_HELD_BYTES_MAX", 5 * MIB)
    await until(lambda: one.downs)
    assert one.downs == [(strangers[0].id, "p2p.hoarding")]
    assert one.network.held_bytes <= 7 * MIB
    assert not one.network.scores.is_banned(strangers[0].id, one.network._clock())


async def test_what_strangers_do_not_take_counts_too(
    nodes: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    friend = await nodes.start()
    one = await nodes.start([friend])
    strangers = [await nodes.start([one]) for _ in range(2)]
    await until(lambda: {friend.id, *[other.id for other in strangers]} <= one.peers)
    for other in (friend, *strangers):
        other.hold = True
        for _ in range(4):  # the window is full after the first, and is never given back
            one.network.send(other.id, Topic.SYNC, bytes(2 * MIB))
        await asyncio.sleep(0.2)
    assert one.downs == []
    monkeypatch.setattr(network, "STRANGERS_HELD_BYTES_MAX", 9 * MIB)
    await until(lambda: one.downs)
    assert one.downs == [(strangers[0].id, "p2p.hoarding")]


async def test_what_waits_for_strangers_is_bounded_and_for_friends_is_not(
    nodes: Any, until: Any
) -> None:
    friend = await nodes.start()
    one = await nodes.start([friend])
    strangers = [await nodes.start([one]) for _ in range(4)]
    await until(lambda: {friend.id, *[other.id for other in strangers]} <= one.peers)
    size = LIMITS[Topic.SYNC].message_bytes_max
    kept = [one.network.send(other.id, Topic.SYNC, bytes(size)) for other in strangers]
    assert kept == [True, True, False, False]
    assert one.network.send(friend.id, Topic.SYNC, bytes(size))
    assert one.network.send(strangers[3].id, Topic.CONSENSUS, b"vote")
    await until(lambda: strangers[3].messages)


async def test_who_is_no_stranger(nodes: Any, until: Any) -> None:
    key = NodeKey(b"\x98" * 32)
    nodes.validators.add(key.node_id)
    friend = await nodes.start()
    one = await nodes.start([friend])
    stranger, validator = await nodes.start([one]), await nodes.start([one])
    validator.network.announce(record(validator, key))
    await until(lambda: one.network.node_of(key.node_id) == validator.id)
    found = [one.network.is_exempt(node.id) for node in (friend, validator, stranger)]
    assert found == [True, True, False]


async def test_strangers_at_the_door_keep_no_validator_out(nodes: Any, until: Any) -> None:
    """They open as many connections as the gate takes, and say nothing."""
    key = NodeKey(b"\x97" * 32)
    nodes.validators.add(key.node_id)
    one, validator = await nodes.pair()
    validator.network.announce(record(validator, key))
    await until(lambda: one.network.node_of(key.node_id) == validator.id)
    await until(lambda: validator.host in one.network._gate._validators)
    await validator.network.stop()
    lines = [
        await asyncio.open_connection(
            one.host, one.network.port, local_addr=(f"127.0.7.{at % 16}", 0)
        )
        for at in range(PENDING_MAX)
    ]
    await until(lambda: one.network._gate._pending_total == PENDING_MAX)
    start = asyncio.get_running_loop().time()
    await validator.fresh().start()
    await until(lambda: validator.id in one.peers)
    assert asyncio.get_running_loop().time() - start < 3, "before the strangers' time was over"
    for _, writer in lines:
        writer.transport.abort()
