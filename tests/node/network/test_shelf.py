"""Bodies for others: some of the newest, few of what is to come, and little to each peer."""

from node.network.shelf import AHEAD_MAX, BODIES_MAX, DRAWS_MAX, Shelf
from node.network.sketches import PartsWanted

LEADER, HELPER = b"leader", b"helper"


def test_a_shelf_gives_what_it_has_and_says_when_it_has_nothing() -> None:
    shelf = Shelf()
    wires = (b"a", b"b", b"c")
    shelf.put(b"1" * 32, wires)
    assert shelf.draw(LEADER, PartsWanted(b"1" * 32, (0, 2))).wires == (b"a", b"c")
    assert shelf.draw(LEADER, PartsWanted(b"1" * 32, ())).wires == wires
    for indices in ((3,), (2, 0), (1, 1)):
        assert shelf.draw(LEADER, PartsWanted(b"1" * 32, indices)).wires == ()
    assert shelf.draw(LEADER, PartsWanted(b"2" * 32, (0,))).wires == ()


def test_a_shelf_is_bounded_and_so_is_what_one_peer_draws() -> None:
    shelf = Shelf()
    for at in range(3 * BODIES_MAX):
        shelf.put(bytes([at]) * 32, (bytes(2**20),) * 3)
    assert 1 <= len(shelf) <= BODIES_MAX
    newest = PartsWanted(bytes([3 * BODIES_MAX - 1]) * 32, ())
    answers = [shelf.draw(LEADER, newest).wires for _ in range(2 * DRAWS_MAX)]
    assert [bool(each) for each in answers] == [True] * DRAWS_MAX + [False] * DRAWS_MAX
    assert shelf.draw(HELPER, newest).wires
    assert shelf.drawn_wires == 3 * (DRAWS_MAX + 1)


def test_bodies_of_views_that_have_not_come_push_out_nothing_but_farther_ones() -> None:
    shelf = Shelf()
    for at in range(BODIES_MAX):
        shelf.put(bytes([at]) * 32, (b"now",))
    for view in range(5 + 4 * AHEAD_MAX, 5, -1):
        shelf.put(bytes([100 + view]) * 32, (b"later",), view_ahead=view)
    assert len(shelf) == BODIES_MAX + AHEAD_MAX
    assert all(bytes([at]) * 32 in shelf for at in range(BODIES_MAX))
    assert all(bytes([100 + view]) * 32 in shelf for view in range(6, 6 + AHEAD_MAX)), "the nearest"
    shelf.put(b"x" * 32, (bytes(2**24),), view_ahead=6)
    assert b"x" * 32 not in shelf, "as near, and there is no room beside"
    assert shelf.draw(LEADER, PartsWanted(bytes([106]) * 32, ())).wires == (b"later",)
    shelf.come_to(7)
    assert len(shelf) == BODIES_MAX + AHEAD_MAX - 2
    assert [bytes([at]) * 32 in shelf for at in range(3)] == [False, False, True]
    assert bytes([106]) * 32 in shelf
    shelf.forget_ahead()
    assert len(shelf) == BODIES_MAX


def test_one_long_body_is_kept_though_it_exceeds_the_bound() -> None:
    shelf = Shelf()
    shelf.put(b"1" * 32, (b"a",))
    shelf.put(b"2" * 32, (bytes(2**26),))
    assert (b"1" * 32 in shelf, b"2" * 32 in shelf) == (False, True)
