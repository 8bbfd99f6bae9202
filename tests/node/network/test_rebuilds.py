"""Bodies rebuilt from what is here and what is asked for: right, lossy, slow, and hostile."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.messages import Propose
from node.network.rebuilds import (
    ASK_AGAIN_MS,
    NAMES_MAX,
    PATIENCE_MS,
    PER_PEER_MAX,
    PER_VIEW_MAX,
    PULL_MS,
    REBUILDS_MAX,
    SHOWN_MAX,
    Rebuilds,
    Rebuilt,
)
from node.network.shelf import Shelf
from node.network.sketches import (
    ID_BYTES,
    SENT_ALONG_BYTES_MAX,
    Contradictory,
    Outline,
    Parts,
    PartsWanted,
    Sketch,
    check_sketch,
    decode,
)
from state.block import TRANSACTIONS_MAX, Body
from state.codec import encode
from state.errors import Malformed
from state.finality import Header, Proposal, Vote

LEADER, HELPER, OTHER = b"leader", b"helper", b"other"


def wire(number: int, signature: bytes = b"s") -> bytes:
    """A transaction: its id, then a signature, of which the id tells nothing."""
    return number.to_bytes(ID_BYTES, "big") + signature


def id_of(data: bytes) -> bytes:
    if len(data) <= ID_BYTES:
        raise Malformed("too short")
    return data[:ID_BYTES]


def proposal(
    numbers: list[int], view: int = 5, along: list[int] | None = None, **options: Any
) -> tuple[Sketch, Propose]:
    """A proposal of these transactions, in outline and whole."""
    wires = tuple([wire(number) for number in numbers])
    body = Body(wires)
    header = Header(
        **{
            **{name: bytes(32) for name in Header.__struct_fields__ if name not in ("proposer",)},
            **{"height": 1, "epoch": 0, "view": view, "parent_view": 0, "time_ms": 1},
            **{"proposer": bytes(20), "tx_root": body.root, "evidence_root": body.evidence_root},
            **options,
        }
    )
    subject = Proposal(0, view, 0, header.id, bytes(32))
    vote = Vote(0, bytes(64))
    places = tuple(along or ())
    outline = Outline(
        b"".join([each[:ID_BYTES] for each in wires]),
        places,
        tuple([wires[at] for at in places]),
        None,
        (),
    )
    sketch = Sketch(subject, vote, header, None, outline)
    return sketch, Propose(subject, vote, header, None, encode(body))


class Node:
    """Somebody who rebuilds, with a mempool, and gossip under way."""

    def __init__(self, *held: bytes) -> None:
        self.pool = {id_of(each): each for each in held}
        self.coming: set[bytes] = set()
        self.rebuilds = Rebuilds(self.pool.get, self.coming.__contains__, id_of)

    def asks(self, now_ms: int = 0) -> list[tuple[bytes, PartsWanted]]:
        return list(self.rebuilds.poll(now_ms))


def whole(rebuilt: Rebuilt | None) -> Propose:
    assert rebuilt is not None
    return rebuilt.propose


def answer(sketch: Sketch, numbers: list[int], places: tuple[int, ...]) -> Parts:
    chosen = places or range(len(numbers))
    return Parts(sketch.proposal.block_id, places, tuple([wire(numbers[at]) for at in chosen]))


# --- the good case --------------------------------------------------------------------------------


def test_what_is_all_here_needs_no_question() -> None:
    sketch, propose = proposal([1, 2, 3])
    node = Node(wire(3), wire(2), wire(1))
    assert whole(node.rebuilds.on_sketch(LEADER, sketch, 0)) == propose
    assert (len(node.rebuilds), node.asks()) == (0, [])


def test_an_empty_body_and_none_at_all() -> None:
    sketch, propose = proposal([])
    node = Node()
    assert whole(node.rebuilds.on_sketch(LEADER, sketch, 0)) == propose
    bare = Sketch(sketch.proposal, sketch.vote, sketch.header, None, None)
    assert whole(node.rebuilds.on_sketch(LEADER, bare, 0)).body == b""


def test_what_is_missing_is_asked_for_in_one_question() -> None:
    numbers = [1, 2, 3, 4]
    sketch, propose = proposal(numbers)
    node = Node(wire(2))
    assert node.rebuilds.on_sketch(LEADER, sketch, 0) is None
    block_id = sketch.proposal.block_id
    assert node.asks() == [(LEADER, PartsWanted(block_id, (0, 2, 3)))]
    assert node.asks() == []
    parts = answer(sketch, numbers, (0, 2, 3))
    assert whole(node.rebuilds.on_parts(LEADER, parts, 1)) == propose
    assert node.rebuilds.on_parts(LEADER, parts, 2) is None, "it is done"


def test_what_was_sent_along_is_not_asked_for() -> None:
    sketch, propose = proposal([1, 2, 3], along=[0, 2])
    assert whole(Node(wire(2)).rebuilds.on_sketch(LEADER, sketch, 0)) == propose


def test_gossip_is_given_a_moment() -> None:
    sketch, propose = proposal([1, 2])
    node = Node()
    node.coming |= {id_of(wire(1)), id_of(wire(2))}
    assert node.rebuilds.on_sketch(LEADER, sketch, 0) is None
    assert node.asks() == []
    assert node.rebuilds.next_ms() == PATIENCE_MS
    node.pool[id_of(wire(1))] = wire(1)
    assert node.rebuilds.on_transaction(id_of(wire(1)), 1) == []
    assert node.asks(PATIENCE_MS) == [(LEADER, PartsWanted(sketch.proposal.block_id, (1,)))]
    node.pool[id_of(wire(2))] = wire(2)
    (done,) = node.rebuilds.on_transaction(id_of(wire(2)), PATIENCE_MS + 1)
    assert done.propose == propose


def test_others_who_voted_are_asked_when_the_sender_is_silent_or_gone() -> None:
    numbers = [1, 2]
    sketch, propose = proposal(numbers)
    block_id = sketch.proposal.block_id
    wanted = PartsWanted(block_id, (0, 1))
    node = Node()
    node.rebuilds.on_shown(HELPER, block_id, 0)  # its vote was faster than the proposal
    assert node.rebuilds.on_sketch(LEADER, sketch, 0) is None
    assert node.asks() == [(LEADER, wanted)]
    assert node.asks(PULL_MS - 1) == []
    assert node.asks(PULL_MS) == [(HELPER, wanted)]
    node.rebuilds.on_shown(OTHER, block_id, PULL_MS + 1)
    node.rebuilds.on_peer_down(HELPER, PULL_MS + 2)
    assert node.asks(PULL_MS + 2) == [(OTHER, wanted)]
    # nobody else: whoever gave no answer is asked once more, more and more slowly
    late = PULL_MS + 2 + ASK_AGAIN_MS
    assert node.asks(late - 1) == []
    assert node.asks(late) == [(LEADER, wanted)]
    assert whole(node.rebuilds.on_parts(OTHER, answer(sketch, numbers, (0, 1)), late)) == propose


def test_who_does_not_have_it_is_asked_for_no_more() -> None:
    sketch, _ = proposal([1])
    block_id = sketch.proposal.block_id
    node = Node()
    node.rebuilds.on_sketch(LEADER, sketch, 0)
    assert node.asks() == [(LEADER, PartsWanted(block_id, (0,)))]
    assert node.rebuilds.on_parts(LEADER, Parts(block_id, (0,), ()), 1) is None
    assert node.asks(1) == [(LEADER, PartsWanted(block_id, ()))], "the names may be wrong"
    assert node.rebuilds.on_parts(LEADER, Parts(block_id, (), ()), 2) is None
    assert node.asks(2) == []
    assert node.rebuilds.next_ms() is None
    # sent again: the sender is there, and may have it by now
    node.rebuilds.on_sketch(LEADER, sketch, 10_000)
    assert node.asks(10_000) == [(LEADER, PartsWanted(block_id, ()))]


def test_other_signatures_under_the_ids_lead_to_the_whole_body() -> None:
    numbers = [1, 2, 3]
    sketch, propose = proposal(numbers)
    node = Node(wire(1), wire(2, b"another"), wire(3))
    assert node.rebuilds.on_sketch(LEADER, sketch, 0) is None
    assert node.asks() == [(LEADER, PartsWanted(sketch.proposal.block_id, ()))]
    assert whole(node.rebuilds.on_parts(LEADER, answer(sketch, numbers, ()), 1)) == propose
    assert node.rebuilds.wholes == 1


def test_the_whole_body_is_asked_for_once_the_rest_has_come_and_does_not_fit() -> None:
    numbers = [1, 2]
    sketch, propose = proposal(numbers)
    node = Node(wire(1, b"another"))
    node.rebuilds.on_sketch(LEADER, sketch, 0)
    assert [one.indices for _, one in node.asks()] == [(1,)]
    assert node.rebuilds.on_parts(LEADER, answer(sketch, numbers, (1,)), 1) is None
    assert [one.indices for _, one in node.asks(1)] == [()]
    assert whole(node.rebuilds.on_parts(LEADER, answer(sketch, numbers, ()), 2)) == propose


def test_views_that_passed_are_dropped() -> None:
    node = Node()
    for view in (3, 4, 5):
        node.rebuilds.on_sketch(bytes([view]), proposal([view], view)[0], 0)
    node.rebuilds.forget((0, 5))
    assert len(node.rebuilds) == 1
    node.rebuilds.forget((1, 1))
    assert (len(node.rebuilds), node.rebuilds.names_held) == (0, 0)


# --- any loss, any order --------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_loss_and_order_ends_with_equal_bytes(data: st.DataObject) -> None:
    """Whatever is lost or late, once somebody answers the proposal is whole, and the same."""
    count = data.draw(st.integers(0, 12))
    numbers = data.draw(st.permutations(list(range(count))))
    sketch, propose = proposal(list(numbers))
    held = data.draw(st.sets(st.integers(0, max(0, count - 1)))) if count else set()
    forged = data.draw(st.sets(st.sampled_from(sorted(held)))) if held else set()
    node = Node(*[wire(number, b"x" if number in forged else b"s") for number in held])
    node.coming |= {id_of(wire(n)) for n in data.draw(st.sets(st.integers(0, 12)))}
    shelves = {peer: Shelf() for peer in (LEADER, HELPER, OTHER)}
    for shelf in shelves.values():
        shelf.put(sketch.proposal.block_id, tuple([wire(number) for number in numbers]))
    now_ms = 0
    done = node.rebuilds.on_sketch(LEADER, sketch, now_ms)
    flying: list[tuple[bytes, Parts]] = []
    for step in range(60):
        if done is not None:
            break
        is_lossy = step < 30
        if is_lossy and data.draw(st.booleans()):
            peer = data.draw(st.sampled_from([HELPER, OTHER]))
            node.rebuilds.on_shown(peer, sketch.proposal.block_id, now_ms)
        flying += [
            (peer, shelves[peer].draw(bytes([step]), wanted))
            for peer, wanted in node.asks(now_ms)
            if not (is_lossy and data.draw(st.booleans()))
        ]
        if flying and not (is_lossy and data.draw(st.booleans())):
            at = data.draw(st.integers(0, len(flying) - 1))
            done = node.rebuilds.on_parts(*flying.pop(at), now_ms)
        if done is None and count and data.draw(st.booleans()):
            number = data.draw(st.integers(0, count - 1))
            node.pool.setdefault(id_of(wire(number)), wire(number))
            found = node.rebuilds.on_transaction(id_of(wire(number)), now_ms)
            done = found[0] if found else None
        now_ms += data.draw(st.integers(0, 400)) if is_lossy else ASK_AGAIN_MS << 4
    assert whole(done) == propose
    assert len(node.rebuilds) == 0


# --- hostile --------------------------------------------------------------------------------------


def test_ids_that_exist_nowhere_cost_a_few_questions() -> None:
    sketch, _ = proposal(list(range(500)))
    node = Node()
    node.rebuilds.on_sketch(LEADER, sketch, 0)
    asked = [one for now_ms in range(0, 4_000, 50) for one in node.asks(now_ms)]
    assert 1 <= len(asked) <= 3
    node.rebuilds.forget((0, sketch.proposal.view + 1))
    assert len(node.rebuilds) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"ids": wire(1)[:ID_BYTES] + b"x"},
        {"ids": wire(1)[:ID_BYTES] * 2},
        {"indices": (0,)},
        {"indices": (0, 0), "wires": (wire(1), wire(1))},
        {"indices": (1, 0), "wires": (wire(2), wire(1))},
        {"indices": (2,), "wires": (wire(3),)},
        {"indices": (0,), "wires": (wire(2),)},
        {"indices": (0,), "wires": (b"no transaction",)},
        {"indices": (0,), "wires": (wire(1, bytes(SENT_ALONG_BYTES_MAX - ID_BYTES + 1)),)},
        {"ids": b""},
    ],
)
def test_sketches_that_contradict_themselves(change: dict[str, Any]) -> None:
    sketch, _ = proposal([1, 2])
    assert sketch.outline is not None
    values = {name: getattr(sketch.outline, name) for name in Outline.__struct_fields__}
    outline = Outline(**{**values, **change})
    bad = Sketch(sketch.proposal, sketch.vote, sketch.header, None, outline)
    node = Node()
    with pytest.raises(Malformed):
        node.rebuilds.on_sketch(LEADER, bad, 0)
    assert len(node.rebuilds) == 0


def test_as_much_may_be_sent_along_as_leaders_send() -> None:
    sketch, _ = proposal([1])
    assert sketch.outline is not None
    along = wire(1, bytes(SENT_ALONG_BYTES_MAX - ID_BYTES))
    outline = Outline(sketch.outline.ids, (0,), (along,), None, ())
    check_sketch(Sketch(sketch.proposal, sketch.vote, sketch.header, None, outline))


def test_headers_that_are_not_the_proposals() -> None:
    sketch, _ = proposal([1])
    other, _ = proposal([1], view=6)
    with pytest.raises(Contradictory):
        check_sketch(Sketch(sketch.proposal, sketch.vote, other.header, None, sketch.outline))
    changed, _ = proposal([1], evidence_root=b"e" * 32)
    with pytest.raises(Contradictory):
        check_sketch(changed)


def test_a_million_ids_are_refused_before_they_are_looked_at() -> None:
    sketch, _ = proposal([1])
    outline = Outline(bytes(ID_BYTES * 10**6), (), (), None, ())
    bad = encode(Sketch(sketch.proposal, sketch.vote, sketch.header, None, outline))
    with pytest.raises(Malformed):
        decode(bad, 2**26)
    many = PartsWanted(bytes(32), tuple(range(TRANSACTIONS_MAX)))
    assert decode(encode(many), 2**20) == many
    with pytest.raises(Malformed):
        decode(encode(PartsWanted(bytes(32), (TRANSACTIONS_MAX,))), 2**20)


def test_answers_that_prove_a_lie() -> None:
    numbers = [1, 2]
    sketch, propose = proposal(numbers)
    block_id = sketch.proposal.block_id
    for lie in (
        Parts(block_id, (0, 1), (wire(1), wire(3))),
        Parts(block_id, (0, 1), (wire(1), b"short")),
        Parts(block_id, (0, 1), (wire(1),)),
        Parts(block_id, (1, 0), (wire(2), wire(1))),
        Parts(block_id, (0, 9), (wire(1), wire(2))),
        Parts(block_id, (), (wire(1), wire(2, b"x"))),
    ):
        node = Node()
        node.rebuilds.on_sketch(LEADER, sketch, 0)
        node.rebuilds.on_shown(HELPER, block_id, 0)
        assert [peer for peer, _ in node.asks()] == [LEADER]
        with pytest.raises(Malformed):
            node.rebuilds.on_parts(LEADER, lie, 1)
        assert node.asks(1) == [(HELPER, PartsWanted(block_id, node_lacks(node)))]
        done = node.rebuilds.on_parts(HELPER, answer(sketch, numbers, node_lacks(node)), 2)
        assert whole(done) == propose


def node_lacks(node: Node) -> tuple[int, ...]:
    (rebuild,) = node.rebuilds._open.values()
    return tuple(sorted(rebuild.missing.values()))


def test_names_that_are_wrong_are_held_against_who_gave_them_alone() -> None:
    """A liar was faster than the leader; a helper's true transactions have other ids."""
    numbers = [1, 2]
    sketch, propose = proposal(numbers)
    assert sketch.outline is not None
    names = Outline(wire(7)[:ID_BYTES] + wire(8)[:ID_BYTES], (), (), None, ())
    false = Sketch(sketch.proposal, sketch.vote, sketch.header, None, names)
    block_id = sketch.proposal.block_id
    node = Node()
    node.rebuilds.on_sketch(OTHER, false, 0)
    node.rebuilds.on_sketch(LEADER, sketch, 1)
    assert [peer for peer, _ in node.asks(1)] == [OTHER]
    node.rebuilds.on_parts(OTHER, Parts(block_id, (0, 1), ()), 2)
    assert [peer for peer, _ in node.asks(2)] == [LEADER]
    assert node.rebuilds.on_parts(LEADER, answer(sketch, numbers, (0, 1)), 3) is None
    assert node.asks(3) == [(OTHER, PartsWanted(block_id, ()))]
    node.rebuilds.on_parts(OTHER, Parts(block_id, (), ()), 4)
    assert node.asks(4) == [(LEADER, PartsWanted(block_id, ()))]
    assert whole(node.rebuilds.on_parts(LEADER, answer(sketch, numbers, ()), 5)) == propose


def test_nobody_is_heard_who_was_not_asked() -> None:
    sketch, _ = proposal([1])
    node = Node()
    parts = answer(sketch, [1], (0,))
    assert node.rebuilds.on_parts(LEADER, parts, 0) is None
    node.rebuilds.on_sketch(LEADER, sketch, 0)
    assert node.rebuilds.on_parts(OTHER, Parts(sketch.proposal.block_id, (), (b"x",)), 0) is None


def test_every_table_is_bounded() -> None:
    node = Node()
    for at in range(4 * PER_VIEW_MAX):
        node.rebuilds.on_sketch(bytes([at]), proposal([at], height=2 + at)[0], 0)
    assert len(node.rebuilds) == PER_VIEW_MAX
    for view in range(10, 10 + 4 * PER_PEER_MAX):
        node.rebuilds.on_sketch(LEADER, proposal([1], view)[0], 0)
    assert len(node.rebuilds) == PER_VIEW_MAX + PER_PEER_MAX
    for view in range(300, 100, -1):
        node.rebuilds.on_sketch(view.to_bytes(2, "big"), proposal([1], view)[0], 0)
    assert len(node.rebuilds) == REBUILDS_MAX
    assert max(one.round[1] for one in node.rebuilds._open.values()) < 160, "the nearest stay"
    for at in range(4 * SHOWN_MAX):
        node.rebuilds.on_shown(HELPER, at.to_bytes(32, "big"), 0)
    assert len(node.rebuilds._shown) == SHOWN_MAX


@pytest.mark.parametrize("has_body", [True, False])
def test_what_is_whole_at_once_takes_a_place_as_well(has_body: bool) -> None:
    """Who signs many blocks of one view of what everybody has makes nobody execute them all."""
    node = Node(wire(1))
    sketches = [proposal([1] if has_body else [], height=2 + at)[0] for at in range(20)]
    if not has_body:
        sketches = [Sketch(one.proposal, one.vote, one.header, None, None) for one in sketches]
    done = [node.rebuilds.on_sketch(LEADER, sketch, 0) is not None for sketch in sketches]
    assert done == [True] * PER_VIEW_MAX + [False] * (20 - PER_VIEW_MAX)
    assert node.rebuilds.on_sketch(LEADER, sketches[0], 0) is not None, "said again, it is no other"
    missing, _ = proposal([2], height=50)
    node.rebuilds.on_sketch(LEADER, missing, 0)
    assert missing.proposal.block_id not in node.rebuilds
    assert node.rebuilds.on_sketch(LEADER, proposal([1], 6)[0], 0) is not None, "another view"
    node.rebuilds.forget((0, 7))
    assert not node.rebuilds._handed


def test_one_block_under_many_names_takes_places_too() -> None:
    node, (plain, _) = Node(), proposal([])
    subjects = [Proposal(0, 5, 0, plain.proposal.block_id, bytes([at]) * 32) for at in range(20)]
    sketches = [Sketch(one, plain.vote, plain.header, None, plain.outline) for one in subjects]
    done = [node.rebuilds.on_sketch(LEADER, sketch, 0) for sketch in sketches]
    assert len([one for one in done if one is not None]) == PER_VIEW_MAX


def test_each_validator_has_places_of_its_own_until_one_of_them_leads() -> None:
    node = Node()
    blocks = {}
    for at in range(8):
        for height in range(2, 2 + 2 * PER_VIEW_MAX):
            plain, _ = proposal([at], height=height)
            subject = Proposal(1, 5, 0, plain.header.id, bytes(32))
            sketch = Sketch(subject, Vote(at, bytes(64)), plain.header, None, plain.outline)
            node.rebuilds.on_sketch(bytes([at]), sketch, 0)
            blocks[subject.block_id] = at
    assert len(node.rebuilds) == 8 * PER_VIEW_MAX
    node.rebuilds.begin_epoch(2, lambda view: 0)
    assert len(node.rebuilds) == 8 * PER_VIEW_MAX
    node.rebuilds.begin_epoch(1, lambda view: view - 2)
    assert {blocks[block_id] for block_id in node.rebuilds._open} == {3}
    assert len(node.rebuilds) == PER_VIEW_MAX


def test_names_are_bounded_in_all_and_the_nearest_view_wins() -> None:
    node = Node()
    size = NAMES_MAX // 8
    for view in range(20, 5, -1):
        node.rebuilds.on_sketch(bytes([view]), proposal(list(range(size)), view)[0], 0)
        assert node.rebuilds.names_held <= NAMES_MAX
    assert {one.round[1] for one in node.rebuilds._open.values()} == set(range(6, 14))
    node.rebuilds.on_sketch(b"far", proposal(list(range(size)), 40)[0], 0)
    assert max(one.round[1] for one in node.rebuilds._open.values()) == 13
