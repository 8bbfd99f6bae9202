"""Orders as plain data, and which of them open a position (markets 0a.4, 2.6)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from state.types import Height, SignedAmount

BUY = 0
SELL = 1

GTC = 0
"""Rests until filled or cancelled."""
IOC = 1
"""What does not fill in its first clear is cancelled."""
FOK = 2
"""Fills in full in its first clear, or is cancelled whole."""

POST_ONLY = 1
"""Never a taker: admission refuses it if it crosses the resting book."""
REDUCE_ONLY = 2
"""Quantity is trimmed to what the position leaves."""
LIQUIDATION = 4
"""Placed by the chain for a flagged account; always reduce-only as well."""

Lots = Annotated[int, Meta(ge=1, le=2**62)]


class Order(Struct, frozen=True, array_like=True, gc=False):
    """An order of one market with the lots still open.

    Prices are in ticks, quantities in lots. The account is the key of a subaccount.
    """

    order_id: bytes
    account: bytes
    side: Annotated[int, Meta(ge=BUY, le=SELL)]
    lots: Lots
    limit: SignedAmount
    height: Height
    tif: Annotated[int, Meta(ge=GTC, le=FOK)] = GTC
    flags: Annotated[int, Meta(ge=0, le=7)] = 0


class Sorted(Struct, frozen=True):
    """One account's orders of one side: those within its position, and those that open."""

    reducing: list[Order]
    opening: list[Order]
    inert: list[Order]


def sort_out(position: int, orders: Iterable[Order]) -> Sorted:
    """Tell reducing orders of one account and one side from opening ones, trimming reduce-only.

    In order-id order the quantities add up; an order is opening unless the sum stays within the
    position it faces (markets 0a.4). A reduce-only order is trimmed to what is left of the
    position, and is inert for this block when nothing is left.
    """
    result = Sorted([], [], [])
    room = -1
    for order in sorted(orders, key=_id_of):
        if room < 0:
            room = max(0, position if order.side == SELL else -position)
        if order.flags & REDUCE_ONLY:
            if room == 0:
                result.inert.append(order)
                continue
            if order.lots > room:
                order = replace(order, lots=room)
            result.reducing.append(order)
        elif order.lots <= room:
            result.reducing.append(order)
        else:
            result.opening.append(order)
        room = max(0, room - order.lots)
    return result


def trim_reduce_only(
    orders: Sequence[Order], reducers: Iterable[Order], positions: Mapping[bytes, int]
) -> Sequence[Order]:
    """Return the orders with the reduce-only `reducers` among them trimmed, inert ones left out.

    The sequence is kept, and it is the very one given when there are no reducers. `positions`
    maps accounts to signed lots; an absent account is flat.
    """
    groups: dict[tuple[bytes, int], list[Order]] = {
        (order.account, order.side): [] for order in reducers
    }
    if not groups:
        return orders
    for order in orders:
        group = groups.get((order.account, order.side))
        if group is not None:
            group.append(order)
    changed: dict[bytes, Order | None] = {}
    for (account, _), group in groups.items():
        sorted_out = sort_out(positions.get(account, 0), group)
        changed.update((order.order_id, None) for order in sorted_out.inert)
        changed.update((order.order_id, order) for order in sorted_out.reducing)
    trimmed = (changed.get(order.order_id, order) for order in orders)
    return [order for order in trimmed if order is not None]


def opening_orders(
    orders: Iterable[Order], side: int, positions: Mapping[bytes, int]
) -> list[Order]:
    """Return the opening orders of one side (markets 0a.4)."""
    sign = 1 if side == SELL else -1
    opening: list[Order] = []
    groups: dict[bytes, list[Order]] = {}
    for order in orders:
        if order.side != side:
            continue
        if sign * positions.get(order.account, 0) > 0:
            groups.setdefault(order.account, []).append(order)
        elif not order.flags & REDUCE_ONLY:
            opening.append(order)
    for account, group in groups.items():
        opening += sort_out(positions[account], group).opening
    return opening


def _id_of(order: Order) -> bytes:
    return order.order_id
