"""Block sync among honest and hostile peers: the same chain in the end, and liars are named."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import ConsensusHalted
from node.storage.kv import MemoryStore
from node.sync import archive, descent, messages, ranges, sources
from node.sync import core as cores
from node.sync.leg import CLOSE_HEIGHTS, Stage
from node.sync.messages import BlocksRequest, FinalRequest, HeadersRequest, LinkRequest
from state.codec import encode
from tests.node.sync.chains import EPOCH_BLOCKS, LONG, Chain, same
from tests.node.sync.lab import (
    LIES,
    Change,
    Crash,
    Lab,
    Peer,
    all_but_the_last,
    few_votes,
    garbage,
    one_at_a_time,
    silence,
)

HEIGHTS = 5 * EPOCH_BLOCKS + 5
LONG_HEIGHTS = 130


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain().grow(HEIGHTS)


@pytest.fixture(scope="module")
def long() -> Chain:
    return Chain(genesis=LONG).grow(LONG_HEIGHTS)


def arrived(lab: Lab, chain: Chain) -> None:
    """The node has the others' chain, but for what the engine fetches by itself."""
    assert lab.core.stage is Stage.IDLE
    assert 0 <= chain.height - lab.height <= CLOSE_HEIGHTS
    same(lab.store, chain.store, chain.application.epoch_blocks)


def test_from_genesis_through_changing_sets(chain: Chain) -> None:
    lab = Lab(Peer(b"a", chain), Peer(b"b", chain)).sync()
    arrived(lab, chain)
    assert not lab.accused
    sets = {lab.store.finality.members(epoch) for epoch in range(6)}
    assert len(sets) > 2, "the sets did change"
    assert [epoch for epoch, _ in lab.descents] == [*range(5)]


def test_within_an_epoch_to_the_best_that_anybody_shows(long: Chain) -> None:
    low = Chain(genesis=LONG).grow(110)
    lab = Lab(Peer(b"low", low, delay_ms=1), Peer(b"high", long), genesis=LONG).sync()
    arrived(lab, long)
    head = lab.application.head
    assert head.finalization is not None, "the tip has its certificate"


def test_every_block_is_fetched_once_when_nobody_is_late(long: Chain) -> None:
    peers = [Peer(bytes([at]), long) for at in range(4)]
    Lab(*peers, genesis=LONG).sync()
    asked = [one for peer in peers for one in peer.asked if isinstance(one, BlocksRequest)]
    assert all(any(isinstance(one, BlocksRequest) for one in peer.asked) for peer in peers)
    fetched = sum(one.count for one in asked)
    assert fetched <= 2 * LONG_HEIGHTS, "only near the end two are asked for the same"


def test_certificates_are_kept_along_the_way(long: Chain) -> None:
    lab = Lab(Peer(b"a", long), genesis=LONG).sync()
    gaps = 0
    for height in range(1, lab.height):
        gaps = 0 if lab.store.header(height).finalization else gaps + 1
        assert gaps <= 2 * messages.BLOCKS_MAX
    assert any(lab.store.header(height).finalization for height in range(1, 100))


def test_a_small_gap_is_left_to_the_engine(chain: Chain, long: Chain) -> None:
    lab = Lab(Peer(b"a", chain), genesis=chain.genesis)
    lab.sync()
    begun = len(lab.begun)
    lab.run(lambda: lab.now_ms > 60_000)
    assert len(lab.begun) == begun and lab.core.stage is Stage.IDLE
    few = Chain(genesis=LONG).grow(cores.BEHIND_HEIGHTS)
    idle = Lab(Peer(b"a", few, claim=(0, 10**9)), genesis=LONG)
    idle.run(lambda: idle.now_ms > 60_000)
    assert not idle.begun, "what is verified counts, not what is claimed"


# --- lies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_liar_is_named_and_the_chain_is_the_honest_one(lie: Change, chain: Chain) -> None:
    liar = Peer(b"liar", chain, delay_ms=1, change=lie)
    lab = Lab(liar, Peer(b"honest", chain, delay_ms=200)).sync()
    arrived(lab, chain)
    assert lab.accused == [b"liar"]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_who_has_lied_is_not_asked_again(lie: Change, chain: Chain) -> None:
    liar = Peer(b"liar", chain, delay_ms=1, change=lie)
    lab = Lab(liar, Peer(b"honest", chain, delay_ms=200))
    lab.run(lambda: bool(lab.accused))
    asked = len(liar.asked)
    lab.peers[b"liar"] = liar  # it stays connected, as trusted peers do
    lab.sync()
    assert len(liar.asked) == asked


def test_the_only_peer_is_heard_again_once_its_lie_is_old(chain: Chain) -> None:
    liar = Peer(b"liar", chain, change=garbage)
    lab = Lab(liar)
    lab.run(lambda: bool(lab.accused))
    asked = len(liar.asked)
    lab.peers[b"liar"] = Peer(b"liar", chain)  # its disk was repaired
    lab.run(lambda: lab.now_ms >= sources.LIE_MS)
    assert (len(liar.asked), lab.height) == (asked, 0)
    lab.sync()
    arrived(lab, chain)
    assert lab.accused == [b"liar"]


def test_liars_alone_bring_nobody_anywhere(chain: Chain) -> None:
    lab = Lab(*[Peer(bytes([at]), chain, change=lie) for at, lie in enumerate(LIES)])
    lab.run(lambda: lab.now_ms > 30_000)
    assert len(lab.accused) == len(LIES)
    same(lab.store, chain.store)


def test_claims_that_nothing_proves_move_nothing(chain: Chain) -> None:
    young = Chain().grow(3)
    lab = Lab(*[Peer(bytes([at]), young, claim=(10**6, 10**9)) for at in range(5)])
    lab.run(lambda: lab.now_ms > 20_000)
    assert not lab.begun and lab.core.target <= 3
    asked = [len(peer.asked) for peer in lab.peers.values()]
    assert sum(asked) <= 25, "one question a second, whoever claims what"


def test_high_claims_do_not_stop_the_way_to_what_is_proven(chain: Chain) -> None:
    liars = [Peer(bytes([at]), Chain().grow(3), claim=(10**6, 10**9)) for at in range(5)]
    lab = Lab(*liars, Peer(b"honest", chain))
    lab.run(lambda: lab.height >= HEIGHTS - CLOSE_HEIGHTS)
    same(lab.store, chain.store)
    assert not lab.accused, "a claim is a hint"


def test_the_set_of_another_epoch_finalizes_nothing(chain: Chain) -> None:
    """Whoever has the keys of an old set may sign what it likes: the epoch's own set decides."""

    def later(request: Any, answer: Any) -> Any:
        if not isinstance(request, FinalRequest) or request.epoch != 3:
            return answer
        boundary = chain.store.finality.boundary(5)
        assert boundary is not None and boundary.finalization is not None
        return messages.FinalAnswer(boundary.header, boundary.finalization)

    lab = Lab(Peer(b"later", chain, delay_ms=1, change=later), Peer(b"honest", chain)).sync()
    arrived(lab, chain)
    assert lab.accused == [b"later"]


def test_a_fork_below_a_quorum_is_not_followed(chain: Chain) -> None:
    """Blocks that stand on each other and on genesis, and that too few have finalized."""
    fork = Chain()
    fork.nonce = 1_000
    fork.grow(HEIGHTS)

    def weak(request: Any, answer: Any) -> Any:
        return few_votes(request, answer)

    lab = Lab(Peer(b"fork", fork, delay_ms=1, change=weak), Peer(b"honest", chain))
    lab.run(lambda: lab.height >= HEIGHTS - CLOSE_HEIGHTS)
    same(lab.store, chain.store)
    assert lab.accused == [b"fork"]


def test_headers_that_fork_from_the_proven_one_are_lies(chain: Chain) -> None:
    fork = Chain()
    fork.nonce = 1_000
    fork.grow(HEIGHTS)

    def forked(request: Any, answer: Any) -> Any:
        if not isinstance(request, HeadersRequest):
            return answer
        height = chain.store.finality.height_of(request.block_id)
        assert height is not None
        block_id = fork.store.header(height).block_id
        return Peer(b"", fork).answer(HeadersRequest(block_id, request.count))

    lab = Lab(Peer(b"fork", chain, delay_ms=1, change=forked), Peer(b"honest", chain)).sync()
    arrived(lab, chain)
    assert lab.accused == [b"fork"]


def test_a_finalization_against_the_own_head_halts_the_node(chain: Chain) -> None:
    """Two final blocks of one height: a quorum has broken the rules, and going on helps nobody."""
    rows = MemoryStore()
    fork = Chain(rows)
    fork.nonce = 1_000
    fork.grow(3)
    lab = Lab(Peer(b"a", chain), rows=rows)
    with pytest.raises(ConsensusHalted, match="contradicts a block that is final here"):
        lab.sync()


def test_a_final_block_that_breaks_a_rule_halts_the_node(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(Peer(b"a", chain))
    execute = lab.application.execute

    def other(*given: Any) -> Any:
        done = execute(*given)
        if done.header.height == 5:
            done.state_root = bytes(32)
        return done

    monkeypatch.setattr(lab.application, "execute", other)
    with pytest.raises(ConsensusHalted, match="Block 6 is final"):
        lab.sync()
    assert lab.height == 5


# --- silence, loss, slowness ----------------------------------------------------------------------


def test_the_silent_are_left_behind(chain: Chain) -> None:
    silent = [Peer(bytes([at]), chain, change=silence, delay_ms=10**6) for at in range(6)]
    lab = Lab(*silent, Peer(b"honest", chain)).sync()
    arrived(lab, chain)
    assert not lab.accused, "silence proves nothing"
    assert lab.now_ms < 120_000


def test_one_block_a_timeout_holds_nobody_up(long: Chain) -> None:
    trickle = Peer(b"t", long, change=one_at_a_time, delay_ms=cores.ANSWER_MS - 100)
    alone = Lab(Peer(b"honest", long), genesis=LONG).sync().now_ms
    lab = Lab(trickle, Peer(b"honest", long), genesis=LONG).sync()
    arrived(lab, long)
    assert lab.now_ms < alone + 4 * cores.ANSWER_MS
    assert not lab.accused


def test_truncated_ranges_are_continued(long: Chain) -> None:
    lab = Lab(Peer(b"a", long, change=one_at_a_time), genesis=LONG).sync()
    arrived(lab, long)
    assert not lab.accused


def test_a_whole_answer_after_a_short_one_is_no_lie(long: Chain) -> None:
    """The range was shortened meanwhile: what comes late is held against nothing."""
    short = Peer(b"short", long, change=all_but_the_last, delay_ms=5)
    others = [Peer(bytes([at]), long, delay_ms=200 + 50 * at) for at in range(3)]
    lab = Lab(short, *others, genesis=LONG).sync()
    arrived(lab, long)
    assert not lab.accused


def test_the_only_peer_may_be_slow_and_lossy(chain: Chain) -> None:
    lab = Lab(Peer(b"a", chain, delay_ms=3_000, loses=0.3)).sync()
    arrived(lab, chain)


def test_peers_that_leave_are_replaced(long: Chain) -> None:
    first = Peer(b"first", long)
    lab = Lab(first, genesis=LONG)
    lab.run(lambda: lab.height >= 20)
    del lab.peers[b"first"]
    lab.core.gone(b"first")
    lab.run(lambda: lab.now_ms > 60_000)
    assert lab.core.is_stalled
    held = lab.height
    lab.peers[b"second"] = Peer(b"second", long)
    lab.sync()
    assert held < lab.height and not lab.core.is_stalled
    arrived(lab, long)


def test_who_has_pruned_its_blocks_sends_to_others(long: Chain) -> None:
    pruned = Chain(genesis=LONG).grow(LONG_HEIGHTS)
    gone = [b"b" + height.to_bytes(8, "big") for height in range(1, 60)]
    pruned.rows.write([], gone, sync=True)
    lab = Lab(Peer(b"p", pruned, delay_ms=1), Peer(b"whole", long), genesis=LONG).sync()
    arrived(lab, long)
    assert not lab.accused


def _without(chain: Chain, first: int, last: int, epoch_blocks: int) -> None:
    """Prune blocks as a node does: the last ones of epochs stay."""
    gone = [height for height in range(first, last) if height % epoch_blocks]
    for kind in (b"b", b"h"):
        chain.rows.write([], [kind + height.to_bytes(8, "big") for height in gone], sync=True)


def test_blocks_that_everybody_has_pruned_are_told(long: Chain) -> None:
    pruned = Chain(genesis=LONG).grow(LONG_HEIGHTS)
    _without(pruned, 1, 60, 100)
    lab = Lab(*[Peer(bytes([at]), pruned) for at in range(3)], genesis=LONG)
    lab.run(lambda: bool(lab.lacks))
    assert lab.lacks == [1] and not lab.accused
    assert lab.now_ms >= cores.STALLED_MS
    lab.peers[b"whole"] = Peer(b"whole", long)
    lab.sync()
    arrived(lab, long)
    assert len(lab.lacks) <= 2


def test_silent_peers_hide_only_for_a_while_that_the_others_have_pruned(long: Chain) -> None:
    pruned = Chain(genesis=LONG).grow(LONG_HEIGHTS)
    _without(pruned, 1, 60, 100)
    silent = Peer(b"silent", long, delay_ms=10**6)
    lab = Lab(Peer(b"p", pruned), silent, genesis=LONG)
    lab.run(lambda: bool(lab.lacks))
    assert 2 * cores.STALLED_MS <= lab.now_ms <= 4 * cores.STALLED_MS


def test_who_is_only_silent_has_pruned_nothing(long: Chain) -> None:
    lab = Lab(Peer(b"silent", long, delay_ms=10**6), genesis=LONG)
    lab.run(lambda: lab.now_ms > 8 * cores.STALLED_MS)
    assert not lab.lacks


# --- ahead ----------------------------------------------------------------------------------------


def test_short_epochs_wait_for_fewer_answers_than_they_need(chain: Chain) -> None:
    """Each needs a finalization, headers and blocks in turn: the next epoch's come meanwhile."""
    delay_ms = 200
    lab = Lab(*[Peer(bytes([at]), chain, delay_ms=delay_ms) for at in range(3)])
    lab.run(lambda: bool(lab.begun))
    since_ms = lab.now_ms
    lab.run(lambda: lab.height >= 5 * EPOCH_BLOCKS)
    assert not lab.accused
    took_ms = lab.now_ms - since_ms
    assert took_ms < 5 * 3.5 * delay_ms, f"{took_ms} ms for five epochs"


def test_what_lies_ahead_is_kept_only_once_it_is_its_turn(chain: Chain) -> None:
    """The floor of the journal is raised to no epoch whose predecessor is not final here."""
    lab = Lab(*[Peer(bytes([at]), chain, delay_ms=5) for at in range(3)])
    floors: list[tuple[int, int]] = []

    def watched() -> bool:
        for at, (epoch, _) in enumerate(lab.descents):
            if at >= len(floors):
                floors.append((epoch, lab.height))
        return lab.ended > 0

    lab.run(watched)
    arrived(lab, chain)
    assert len(floors) == 5
    assert all(height >= epoch * EPOCH_BLOCKS for epoch, height in floors)


def test_the_next_epoch_is_bounded_together_with_this_one(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(*[Peer(bytes([at]), chain, delay_ms=40) for at in range(5)])
    most = 0

    def watched() -> bool:
        nonlocal most
        most = max(most, len(lab.core._legs))
        asks = [one for one in lab.core._asked.values() if one.part is not None]
        assert len(asks) <= 2 * ranges.ASKS_MAX
        return lab.ended > 0

    lab.run(watched)
    assert most == 2


# --- bounds ---------------------------------------------------------------------------------------


def test_long_epochs_are_done_in_segments(long: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "SEGMENT", 7)
    monkeypatch.setattr(descent, "HEADERS_MAX", 5)
    lab = Lab(Peer(b"a", long), Peer(b"b", long), genesis=LONG)
    most = 0

    def watched() -> bool:
        nonlocal most
        most = max([most, *[len(one._descent.ids) for one in lab.core._legs if one._descent]])
        return lab.ended > 0

    lab.run(watched)
    arrived(lab, long)
    assert most <= 7 + 5


def test_what_is_under_way_and_held_is_bounded(
    long: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = max(len(encode(one)) for one in long.store.blocks_upwards(1, 99, 2**30))
    monkeypatch.setattr(ranges, "RANGE_BYTES", 2 * size)
    for module in (ranges, archive):
        monkeypatch.setattr(module, "RANGE_BYTES_MAX", 4 * size)
    monkeypatch.setattr(ranges, "BYTES_MAX", 64 * size)
    lab = Lab(*[Peer(bytes([at]), long) for at in range(5)], genesis=LONG)
    most = asks = 0

    def watched() -> bool:
        nonlocal most, asks
        most = max(most, sum([leg.ranges.held_bytes for leg in lab.core._legs]))
        waiting = [one for one in lab.core._asked.values() if one.part is not None]
        asks = max(asks, len(waiting))
        return lab.ended > 0

    lab.run(watched)
    arrived(lab, long)
    assert 16 * size < most <= 64 * size and asks <= 2 * ranges.ASKS_MAX


def test_few_questions_at_a_time_to_one_peer(long: Chain) -> None:
    lab = Lab(Peer(b"a", long), genesis=LONG)
    most = 0

    def watched() -> bool:
        nonlocal most
        most = max(most, len(lab.core._asked))
        return lab.ended > 0

    lab.run(watched)
    assert 1 < most <= sources.ASKS_PER_PEER_MAX


# --- links, crashes -------------------------------------------------------------------------------


def test_links_of_boundaries_are_asked_for_and_held_against_the_proposal(chain: Chain) -> None:
    def other(request: Any, answer: Any) -> Any:
        if isinstance(request, LinkRequest):
            digest = chain.store.header(3).header.justify_hash
            return messages.LinkAnswer(chain.store.finality.justify(digest))
        return answer

    liar = Peer(b"liar", chain, delay_ms=1, change=other)
    honest = Peer(b"honest", chain)
    lab = Lab(liar, honest).sync()
    arrived(lab, chain)
    assert lab.accused == [b"liar"]
    assert any(isinstance(one, LinkRequest) for one in honest.asked)


@pytest.mark.parametrize("height", [1, EPOCH_BLOCKS, EPOCH_BLOCKS + 1, 2 * EPOCH_BLOCKS, 30])
def test_a_crash_anywhere_and_a_new_start(height: int, chain: Chain) -> None:
    rows = MemoryStore()
    lab = Lab(Peer(b"a", chain), Peer(b"b", chain), rows=rows)
    lab.crash_at = height
    with pytest.raises(Crash):
        lab.sync()
    again = Lab(Peer(b"a", chain), Peer(b"b", chain), rows=rows)
    assert again.height == height - 1
    again.sync()
    arrived(again, chain)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_one_honest_peer_among_any_others_is_enough(data: st.DataObject, chain: Chain) -> None:
    lies: list[Change] = [*LIES, silence, one_at_a_time, lambda request, answer: answer]
    count = data.draw(st.integers(0, 6), label="others")
    others = [
        Peer(
            bytes([at]),
            chain,
            claim=data.draw(st.sampled_from([None, (10**5, 10**8), (2, 20)])),
            delay_ms=data.draw(st.sampled_from([1, 50, 900, 5_900, 10**6])),
            change=data.draw(st.sampled_from(lies)),
            loses=data.draw(st.sampled_from([0.0, 0.2, 0.9])),
        )
        for at in range(count)
    ]
    honest = Peer(b"honest", chain, delay_ms=data.draw(st.integers(1, 2_000)), loses=0.1)
    rows = MemoryStore()
    lab = Lab(*others, honest, rows=rows, seed=data.draw(st.integers(0, 2**16)))
    lab.crash_at = data.draw(st.sampled_from([None, 9, 17, 33]))
    goal = HEIGHTS - CLOSE_HEIGHTS
    try:
        lab.run(lambda: lab.height >= goal, 3_600_000)
    except Crash:
        lab = Lab(*others, honest, rows=rows, seed=data.draw(st.integers(0, 2**16)))
        lab.run(lambda: lab.height >= goal, 3_600_000)
    same(lab.store, chain.store)
    assert b"honest" not in lab.accused
