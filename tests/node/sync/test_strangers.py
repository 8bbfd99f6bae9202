"""Block sync among silent strangers, few or many: what is proven decides, and a deadline.

Each claims to be far ahead. Some leave once they were asked and come back under another name, one
that sorts before all others; that costs them nothing.
"""

from collections.abc import Callable
from typing import Any

import pytest

from node.sync import core as cores
from node.sync.finals import CLOSE_MS
from node.sync.messages import BlocksRequest, FinalAnswer, FinalRequest, HeadersRequest
from state.codec import replace
from state.genesis import Genesis
from tests.node.sync.chains import GENESIS, LONG, Chain, same
from tests.node.sync.lab import Change, Lab, Peer

FAR = (10**6, 10**9)
SILENT_MS = 10**6
HEIGHTS = 90


class Idle(Chain):
    """Blocks with nothing in them, which are made quickly."""

    def transactions(self, height: int) -> list[object]:
        return []


@pytest.fixture(scope="module")
def still() -> Chain:
    return Idle(genesis=LONG).grow(HEIGHTS)


class Strangers:
    """Silent peers of a lab, who keep their names or come back under others."""

    def __init__(
        self,
        chain: Chain,
        count: int,
        *,
        is_fickle: bool = False,
        change: Change | None = None,
    ) -> None:
        self._chain = chain
        self._is_fickle = is_fickle
        self._change = change
        self._names = 0
        self.here = [self._made() for _ in range(count)]

    def _made(self) -> Peer:
        self._names += 1
        name = self._names.to_bytes(32, "big")
        if self._change is None:
            return Peer(name, self._chain, claim=FAR, delay_ms=SILENT_MS)
        return Peer(name, self._chain, claim=FAR, delay_ms=1, change=self._change)

    def go_on(self, lab: Lab) -> None:
        """Let those who were asked leave, and others come in their place."""
        if not self._is_fickle:
            return
        for at, peer in enumerate(self.here):
            if peer.asked:
                lab.core.gone(peer.name)
                del lab.peers[peer.name]
                self.here[at] = fresh = self._made()
                lab.peers[fresh.name] = fresh
                lab.core.claimed(fresh.name, *FAR)


def honest(chain: Chain, count: int = 1, delay_ms: int = 20) -> list[Peer]:
    return [Peer(b"\xff" + bytes([at]) * 31, chain, delay_ms=delay_ms) for at in range(count)]


def run(lab: Lab, strangers: Strangers, until: Callable[[], bool], ms_max: int) -> None:
    def is_so() -> bool:
        strangers.go_on(lab)
        return until()

    lab.run(is_so, ms_max)


@pytest.mark.parametrize("is_fickle", [False, True])
@pytest.mark.parametrize("count", [1, 4, 40])
def test_a_sync_begins(count: int, is_fickle: bool, still: Chain) -> None:
    strangers = Strangers(still, count, is_fickle=is_fickle)
    lab = Lab(*strangers.here, *honest(still, 4), genesis=LONG)
    run(lab, strangers, lambda: bool(lab.begun), 10_000)
    assert not lab.accused, "silence proves nothing"


@pytest.mark.parametrize("count", [1, 4, 40])
def test_blocks_come_though_whoever_is_asked_leaves(count: int, still: Chain) -> None:
    strangers = Strangers(still, count, is_fickle=True)
    known = honest(still)
    lab = Lab(*strangers.here, *known, genesis=LONG)
    run(lab, strangers, lambda: bool(lab.begun), 10_000)
    run(lab, strangers, lambda: lab.height >= HEIGHTS - 1, 10_000)
    same(lab.store, still.store, 100)
    assert any(isinstance(one, BlocksRequest) for one in known[0].asked)


def test_a_claim_that_nothing_stands_behind_is_looked_into_seldom(still: Chain) -> None:
    young = Idle(genesis=LONG).grow(3)
    names = [bytes([at]) for at in range(40)]
    lab = Lab(*[Peer(name, young, claim=FAR) for name in names], genesis=LONG)
    lab.run(lambda: lab.now_ms > 20_000)
    asked = [len(lab.peers[name].asked) for name in names]
    assert min(asked) >= 1 and max(asked) <= 3
    assert sum(asked) <= 21 * cores.PROBE_PEERS_MAX


# --- the end --------------------------------------------------------------------------------------


def shows_only(request: Any, answer: Any) -> Any:
    """True finalizations, and nothing else."""
    return answer if isinstance(request, FinalRequest) else None


def grows(lab: Lab, chain: Chain, block_ms: int) -> Callable[[], None]:
    """Return what makes a block in so long."""
    since = lab.now_ms // block_ms - chain.height

    def tick() -> None:
        while chain.height < lab.now_ms // block_ms - since:
            chain.grow(1)

    return tick


@pytest.mark.parametrize(
    ("genesis", "block_ms"),
    [(LONG, 1_000), (LONG, 100), (GENESIS, 200)],
    ids=["slow", "quick", "short_epochs"],
)
@pytest.mark.parametrize("change", [None, shows_only], ids=["silent", "shows_only"])
@pytest.mark.parametrize("is_fickle", [False, True], ids=["stays", "leaves"])
@pytest.mark.parametrize("count", [1, 4, 40])
def test_a_sync_ends_though_the_chain_grows(
    count: int, is_fickle: bool, change: Change | None, genesis: Genesis, block_ms: int
) -> None:
    chain = Idle(genesis=genesis).grow(80)
    strangers = Strangers(chain, count, is_fickle=is_fickle, change=change)
    lab = Lab(*strangers.here, *honest(chain), genesis=genesis)
    tick = grows(lab, chain, block_ms)
    near_ms: list[int] = []

    def has_ended() -> bool:
        tick()
        if chain.height - lab.height <= cores.BEHIND_HEIGHTS:
            near_ms.append(lab.now_ms)
        return lab.ended > 0

    run(lab, strangers, has_ended, 20_000)
    assert lab.now_ms - near_ms[0] <= CLOSE_MS
    assert chain.height - lab.height <= cores.BEHIND_HEIGHTS
    same(lab.store, chain.store, lab.application.epoch_blocks)


def test_who_has_proven_much_and_falls_silent_holds_a_sync_no_longer_than_its_deadline(
    still: Chain,
) -> None:
    """It has merits, and is the only one: it is waited for, and not for ever."""
    known = Peer(b"known", still)
    lab = Lab(known, genesis=LONG)
    lab.run(lambda: lab.height >= HEIGHTS - 1)
    since_ms = lab.now_ms
    known.claim, known.delay_ms = FAR, SILENT_MS
    lab.claim()
    lab.run(lambda: lab.ended > 0)
    assert CLOSE_MS // 2 < lab.now_ms - since_ms <= CLOSE_MS + 200
    assert not lab.accused


def test_who_gives_one_header_at_a_time_is_asked_once_where_others_give_more(
    still: Chain,
) -> None:
    """However quick it is."""

    def one(_: Any, answer: Any) -> Any:
        return replace(answer, headers=answer.headers[:1]) if hasattr(answer, "headers") else answer

    brief = Peer(b"brief", still, delay_ms=1, change=one)
    lab = Lab(brief, *honest(still, 3, delay_ms=100), genesis=LONG)
    lab.run(lambda: lab.height >= HEIGHTS - 1, 20_000)
    asked = [len(headers_asked(peer)) for peer in lab.peers.values()]
    assert asked[0] == 1 and sum(asked) <= 3
    assert not lab.accused


def test_who_alone_has_headers_may_give_one_at_a_time(still: Chain) -> None:
    brief = Peer(
        b"brief",
        still,
        change=lambda _, answer: (
            replace(answer, headers=answer.headers[:1]) if hasattr(answer, "headers") else answer
        ),
    )
    lab = Lab(brief, genesis=LONG)
    lab.run(lambda: lab.height >= HEIGHTS - 1, 60_000)
    assert len(headers_asked(brief)) > 10


def headers_asked(peer: Peer) -> list[HeadersRequest]:
    return [one for one in peer.asked if isinstance(one, HeadersRequest)]


def test_low_finalizations_shown_quickly_do_not_shorten_the_way(still: Chain) -> None:
    """What was verified once is the goal, whatever else is shown before the others answer."""

    def low(request: Any, answer: Any) -> Any:
        if not isinstance(request, FinalRequest):
            return None
        row = still.store.header(9)
        assert row.finalization is not None
        return FinalAnswer(row.header, row.finalization)

    liars = Strangers(still, 40, change=low)
    lab = Lab(*liars.here, *honest(still, delay_ms=300), genesis=LONG)
    lab.run(lambda: lab.ended > 0, 20_000)
    same(lab.store, still.store, 100)
    assert lab.height >= HEIGHTS - 1
    assert len(lab.descents) == 1, "in one go"
