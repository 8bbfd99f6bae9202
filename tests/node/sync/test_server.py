"""Serving who syncs: what is answered, what is refused, and how much one peer may have."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from node.sync import server as serving
from node.sync.archive import blocks_of, chain_handlers, final_of, headers_of, link_of
from node.sync.messages import (
    BlocksAnswer,
    BlocksRequest,
    FinalAnswer,
    FinalRequest,
    HeadersAnswer,
    HeadersRequest,
    LinkAnswer,
    LinkRequest,
    decode_answer,
    decode_request,
)
from node.sync.server import SyncServer
from p2p.interface import Request
from p2p.scores import Verdict
from p2p.topics import LIMITS, Topic
from state.codec import encode
from state.errors import Malformed
from state.finality import Justify
from tests.node.sync.chains import EPOCH_BLOCKS, Chain

HEIGHTS = 2 * EPOCH_BLOCKS + 3


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain().grow(HEIGHTS)


def test_the_finalization_of_an_epoch_or_the_best_of_the_present_one(chain: Chain) -> None:
    for epoch in (0, 1):
        found = final_of(chain.store, FinalRequest(epoch))
        assert found is not None and found.header.height == (epoch + 1) * EPOCH_BLOCKS
        assert found.finalization.subject.block_id == found.header.id
    last = final_of(chain.store, FinalRequest(2))
    assert last is not None and last.header.height == HEIGHTS
    assert final_of(chain.store, FinalRequest(3)) is None


def test_a_head_without_a_certificate_gives_the_one_below() -> None:
    chain = Chain().grow(4)
    found = final_of(chain.store, FinalRequest(0))
    assert chain.application.head.finalization is None
    assert found is not None and found.header.height == 3


def test_headers_go_down_to_the_start_of_their_epoch(chain: Chain) -> None:
    top = chain.store.header(EPOCH_BLOCKS + 5)
    found = headers_of(chain.store, HeadersRequest(top.block_id, 100))
    assert found is not None
    assert [one.height for one in found.headers] == [*range(EPOCH_BLOCKS + 5, EPOCH_BLOCKS, -1)]
    two = headers_of(chain.store, HeadersRequest(top.block_id, 2))
    assert two == HeadersAnswer(found.headers[:2])
    assert headers_of(chain.store, HeadersRequest(bytes(32), 2)) is None
    genesis = chain.store.header(0).block_id
    assert headers_of(chain.store, HeadersRequest(genesis, 2)) is None


def test_blocks_go_up_to_the_end_of_their_epoch(chain: Chain) -> None:
    found = blocks_of(chain.store, BlocksRequest(3, 100))
    assert found is not None
    assert [one.header.height for one in found.blocks] == [*range(3, EPOCH_BLOCKS + 1)]
    assert found.finalization == chain.store.header(EPOCH_BLOCKS).finalization is not None
    one = blocks_of(chain.store, BlocksRequest(4, 1))
    assert one is not None and one.finalization is None, "it became final with a descendant"
    two = blocks_of(chain.store, BlocksRequest(3, 2))
    assert two is not None and two.finalization == chain.store.header(3).finalization is not None
    assert blocks_of(chain.store, BlocksRequest(HEIGHTS + 1, 1)) is None
    assert blocks_of(chain.store, BlocksRequest(0, 1)) is None, "genesis is no block"


def test_a_range_holds_few_bytes_but_one_block_at_least(chain: Chain) -> None:
    sizes = [
        len(chain.store.body_data(height))
        + chain.store.finality.sized_justify(chain.store.header(height).header.justify_hash)[1]
        for height in (1, 2, 3)
    ]
    found = [
        len(chain.store.blocks_upwards(1, 5, most))
        for most in (1, sizes[0], sum(sizes) - 1, sum(sizes))
    ]
    assert found == [1, 1, 2, 3]


def test_a_body_that_is_not_kept_ends_a_range() -> None:
    chain = Chain().grow(5)
    chain.rows.write([], [b"b" + (3).to_bytes(8, "big")], sync=True)
    found = blocks_of(chain.store, BlocksRequest(1, 5))
    assert found is not None and len(found.blocks) == 2
    assert blocks_of(chain.store, BlocksRequest(3, 5)) is None


def test_links_by_their_hash(chain: Chain) -> None:
    boundary = chain.store.finality.boundary(2)
    assert boundary is not None and boundary.finalization is not None
    subject = boundary.finalization.subject
    assert subject.view > boundary.header.view, "it was proposed again"
    found = link_of(chain.store, LinkRequest(subject.justify_hash))
    assert found is not None and len(found.justify.nullifications) == 1
    assert link_of(chain.store, LinkRequest(bytes(32))) is None


def test_what_is_no_request_or_answer_is_refused() -> None:
    assert decode_request(encode(FinalRequest(3))) == FinalRequest(3)
    for request in (b"", encode(HeadersRequest(bytes(32), 513)), encode(BlocksRequest(1, 0))):
        with pytest.raises(Malformed):
            decode_request(request)
    with pytest.raises(Malformed):
        decode_answer(encode(HeadersAnswer(())))


class Asked:
    """A request as the network would hand it over, and what became of it."""

    def __init__(self, message: Any, peer: bytes = b"p" * 32) -> None:
        self.answers: list[bytes] = []
        self.refusals: list[str] = []
        self.verdicts: list[Verdict] = []
        data = message if isinstance(message, bytes) else encode(message)
        self.request = Request(
            *(peer, Topic.SYNC, data),
            *(self.verdicts.append, self.answers.append, self.refusals.append),
        )

    @property
    def is_done(self) -> bool:
        return bool(self.answers or self.refusals)


async def until(condition: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + 60
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.001)


async def until_done(asked: list[Asked]) -> None:
    await until(lambda: all(one.is_done for one in asked))


async def test_a_request_is_answered_refused_or_judged(chain: Chain) -> None:
    server = SyncServer(chain_handlers(chain.store), lambda: 0)
    good, unknown, bad = Asked(FinalRequest(1)), Asked(FinalRequest(9)), Asked(b"\xc1")
    for one in (good, unknown, bad):
        server.on_request(one.request)
    await until_done([good, unknown, bad])
    assert isinstance(decode_answer(good.answers[0]), FinalAnswer)
    assert good.verdicts == [Verdict.DUPLICATE]
    assert unknown.refusals == [serving.NOT_HERE] and unknown.verdicts == [Verdict.DUPLICATE]
    assert bad.verdicts == [Verdict.INVALID]
    assert server.served_bytes == len(good.answers[0])
    await server.stop()
    late = Asked(FinalRequest(1))
    server.on_request(late.request)
    assert late.refusals == [serving.BUSY]


async def test_a_kind_without_a_handler_is_not_here() -> None:
    server = SyncServer({}, lambda: 0)
    asked = Asked(FinalRequest(0))
    server.on_request(asked.request)
    await until_done([asked])
    assert asked.refusals == [serving.NOT_HERE]


async def test_a_peer_has_a_budget_that_time_refills(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(encode(blocks_of(chain.store, BlocksRequest(1, 8))))
    monkeypatch.setattr(serving, "PEER_BYTES_BURST", 2 * size)
    monkeypatch.setattr(serving, "PEER_BYTES_S", size)
    now = [0]
    server = SyncServer(chain_handlers(chain.store), lambda: now[0])
    asked = [Asked(BlocksRequest(1, 8)) for _ in range(4)]
    for one in asked:
        server.on_request(one.request)
    other = Asked(BlocksRequest(1, 8), b"q" * 32)
    server.on_request(other.request)
    await until_done([*asked, other])
    assert sum(len(one.answers) for one in asked) == 2
    assert other.answers, "another peer has a budget of its own"
    now[0] = 1_000
    again = Asked(BlocksRequest(1, 8))
    server.on_request(again.request)
    await until_done([again])
    assert isinstance(decode_answer(again.answers[0]), BlocksAnswer)


async def test_peers_take_turns_and_few_requests_of_each_wait() -> None:
    order: list[bytes] = []
    gate = threading.Event()

    def slow(_: FinalRequest) -> None:
        assert gate.wait(60)

    server = SyncServer({FinalRequest: slow}, lambda: 0)
    flood = [Asked(FinalRequest(at), b"f" * 32) for at in range(serving.PEER_WAITING_MAX + 4)]
    for one in flood:
        server.on_request(one.request)
    quiet = Asked(FinalRequest(0), b"q" * 32)
    server.on_request(quiet.request)
    assert [one.is_done for one in flood[-3:]] == [True] * 3, "refused at once"
    for one in (*flood, quiet):
        peer = one.request.peer_id
        one.request._refuse = lambda code, peer=peer: order.append(peer)
    gate.set()
    await until(lambda: len(order) >= serving.PEER_WAITING_MAX + 2)
    assert order.index(b"q" * 32) <= 2, "its turn comes after one of the flood's"


async def test_stopping_waits_for_what_is_read() -> None:
    gate, has_read = threading.Event(), threading.Event()

    def slow(_: FinalRequest) -> None:
        assert gate.wait(60)
        has_read.set()

    server = SyncServer({FinalRequest: slow}, lambda: 0)
    first, second = Asked(FinalRequest(0)), Asked(FinalRequest(1))
    server.on_request(first.request)
    server.on_request(second.request)
    asyncio.get_running_loop().call_later(0.01, gate.set)
    await server.stop()
    assert has_read.is_set() and second.refusals == [serving.BUSY]


async def test_an_answer_that_no_message_holds_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a long stretch without finality left behind must not end whoever serves it."""
    answer = LinkAnswer(Justify(None, ()))
    size = len(encode(answer))
    for bytes_max in (size, size - 1):
        monkeypatch.setattr(serving, "ANSWER_BYTES_MAX", bytes_max)
        server = SyncServer({LinkRequest: lambda _: answer}, lambda: 0)
        asked = [Asked(LinkRequest(bytes(32))) for _ in range(2)]
        for one in asked:
            server.on_request(one.request)
        await until_done(asked)
        is_kept = bytes_max == size
        assert [bool(one.answers) for one in asked] == [is_kept] * 2
        assert [one.refusals for one in asked] == [[] if is_kept else [serving.NOT_HERE]] * 2


async def test_who_asks_for_what_is_nowhere_pays_for_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "PEER_BYTES_BURST", 2 * serving.SEARCH_BYTES)
    monkeypatch.setattr(serving, "PEER_BYTES_S", serving.SEARCH_BYTES)
    now = [0]
    server = SyncServer({LinkRequest: lambda _: None}, lambda: now[0])

    async def refusal() -> str:
        asked = Asked(LinkRequest(bytes(32)))
        server.on_request(asked.request)
        await until_done([asked])
        return asked.refusals[0]

    assert [await refusal() for _ in range(4)] == [serving.NOT_HERE] * 2 + [serving.BUSY] * 2
    now[0] = 1_000
    assert [await refusal() for _ in range(2)] == [serving.NOT_HERE, serving.BUSY]
    assert server.served_bytes == 0


def test_the_bound_of_an_answer_is_that_of_its_topic() -> None:
    assert LIMITS[Topic.SYNC].message_bytes_max == serving.ANSWER_BYTES_MAX
