"""Which orders open and which reduce, in order-id order."""

from state.modules.futures.orders import (
    BUY,
    REDUCE_ONLY,
    SELL,
    Order,
    Sorted,
    opening_orders,
    sort_out,
    trim_reduce_only,
)


def order(order_id: int, side: int, lots: int, flags: int = 0, owner: bytes = b"a") -> Order:
    return Order(bytes([order_id]) * 32, owner, side, lots, 10, 1, flags=flags)


def test_quantities_add_up_in_order_id_order() -> None:
    first, second, third = order(1, SELL, 4), order(2, SELL, 7), order(3, SELL, 1)
    given = [third, second, first]
    assert sort_out(12, given) == Sorted([first, second, third], [], [])
    # Four of ten leave six: seven open, and after them nothing is left to reduce.
    assert sort_out(10, given) == Sorted([first], [second, third], [])
    assert sort_out(0, given) == Sorted([], [first, second, third], [])
    assert sort_out(-10, given) == Sorted([], [first, second, third], [])


def test_buys_face_a_short_position() -> None:
    first, second = order(1, BUY, 4), order(2, BUY, 7)
    assert sort_out(-4, [first, second]) == Sorted([first], [second], [])
    assert sort_out(4, [first, second]) == Sorted([], [first, second], [])


def test_reduce_only_is_trimmed_or_inert_and_never_opens() -> None:
    first, second = order(1, SELL, 4), order(2, SELL, 7, REDUCE_ONLY)
    third = order(3, SELL, 2, REDUCE_ONLY)
    found = sort_out(9, [first, second, third])
    assert found == Sorted([first, order(2, SELL, 5, REDUCE_ONLY)], [], [third])
    assert sort_out(0, [third]) == Sorted([], [], [third])


def test_trimming_keeps_the_sequence_and_touches_nothing_else() -> None:
    other = order(9, SELL, 50, owner=b"b")
    reducer = order(2, SELL, 7, REDUCE_ONLY)
    inert = order(3, SELL, 7, REDUCE_ONLY)
    given = [other, inert, reducer]
    trimmed = trim_reduce_only(given, [inert, reducer], {b"a": 5})
    assert trimmed == [other, order(2, SELL, 5, REDUCE_ONLY)]
    assert trim_reduce_only(given, [], {b"a": 5}) is given


def test_opening_orders_of_one_side_over_many_accounts() -> None:
    orders = [
        order(1, SELL, 4),
        order(2, SELL, 4),
        order(3, SELL, 4, owner=b"b"),
        order(4, BUY, 4, owner=b"b"),
        order(5, SELL, 4, REDUCE_ONLY, owner=b"c"),
        order(6, SELL, 4, owner=b"d"),
    ]
    held = {b"a": 5, b"b": -9, b"c": 4, b"d": 4}
    assert opening_orders(orders, SELL, held) == [orders[2], orders[1]]
    assert opening_orders(orders, BUY, held) == []
