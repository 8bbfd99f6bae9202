"""Settlement arithmetic: variation, close-out of the insolvent, and the final payment.

Lots and quote of a market sum to zero, so gains equal losses to the grain, and all that is ever
split is a deficit or an insufficient fund. Every function takes the accounts of one market in
ascending order of their keys and returns one result per account in the same order. Positions are
`margin.Position`, prices ticks, money grains.
"""

from collections.abc import Sequence

from msgspec import Struct

from state.maths import clamp, floor_div, largest_remainder, mul_div_floor
from state.modules.futures.margin import Position, equity, value_at


class Standing(Struct, frozen=True):
    """One account of a market: its position and its cash."""

    position: Position
    cash: int


class Variation(Struct, frozen=True):
    """Cash moved to each account, the positions left, and what losers could not pay."""

    moved: list[int]
    positions: list[Position]
    shortfall: int


def variation(standings: Sequence[Standing], mark: int, tick_value: int) -> Variation:
    """Turn unsettled gains and losses at the mark into cash (markets 2.9).

    The moves sum to zero. Accounts with negative equity have been closed out before, so every
    loser can pay; a shortfall other than 0 means a bug, and the market is quarantined (0a.2).
    """
    moved = [value_at(standing.position, mark, tick_value) for standing in standings]
    positions = [
        Position(standing.position.lots, -standing.position.lots * mark * tick_value)
        for standing in standings
    ]
    shortfall = sum(
        max(0, -move - standing.cash) for move, standing in zip(moved, standings, strict=True)
    )
    return Variation(moved, positions, shortfall)


class CloseOut(Struct, frozen=True):
    """Positions after a close-out, what the insurance paid into the account, and what winners lost.

    `shares` is each account's part of the deficit beyond the insurance, in grains.
    """

    positions: list[Position]
    insurance_paid: int
    shares: list[int]


def close_out(
    standings: Sequence[Standing], insolvent: int, mark: int, tick_value: int, insurance: int
) -> CloseOut:
    """Close all lots of the account at index `insolvent` at the mark (markets 0a.2, 0a.3).

    Its equity must be negative. `insurance` is what the fund may still draw this epoch. The lots go
    against the other side, those with an unsettled gain first, in proportion to their lots. Apart
    from that, what insurance does not cover is split over the unsettled gains of all accounts; as
    gains sum to the losses, it never exceeds anyone's gain. The account ends with equity 0: what
    it lost and can pay, insurance included, is due at the next variation settlement.
    """
    failed = standings[insolvent]
    deficit = -equity(failed.cash, failed.position, mark, tick_value)
    if deficit <= 0:
        raise ValueError("only an account with negative equity is closed out")
    paid = min(deficit, insurance)
    gains = [max(0, value_at(standing.position, mark, tick_value)) for standing in standings]
    closed = _closing_lots(standings, failed.position.lots, gains)
    shares = largest_remainder(deficit - paid, gains)
    positions: list[Position] = []
    sign = 1 if failed.position.lots > 0 else -1
    for standing, lots, share in zip(standings, closed, shares, strict=True):
        held = standing.position
        taken = sign * lots
        positions.append(
            Position(held.lots + taken, held.quote - taken * mark * tick_value - share)
        )
    value = value_at(failed.position, mark, tick_value)
    positions[insolvent] = Position(0, value + deficit - paid)
    return CloseOut(positions, paid, shares)


def _closing_lots(standings: Sequence[Standing], lots: int, gains: Sequence[int]) -> list[int]:
    """Share |lots| over the opposite side: those with gains first, pro rata by their lots."""
    sign = 1 if lots > 0 else -1
    against = [max(0, -sign * standing.position.lots) for standing in standings]
    first = [side if gain else 0 for side, gain in zip(against, gains, strict=True)]
    taken = largest_remainder(min(abs(lots), sum(first)), first)
    left = abs(lots) - sum(taken)
    if not left:
        return taken
    second = [0 if gain else side for side, gain in zip(against, gains, strict=True)]
    rest = largest_remainder(left, second)
    return [one + other for one, other in zip(taken, rest, strict=True)]


def settlement_price(index_units: int, tick_index: int, floor: int, cap: int) -> int:
    """Return the final price in ticks: the index rounded down once, within its bounds (2.11)."""
    return clamp(floor_div(index_units, tick_index), floor, cap)


class PayRate(Struct, frozen=True):
    """The rate at which winners are paid at final settlement: `fund` grains for every `gains`."""

    fund: int
    gains: int


def pay_rate(collected: int, insurance: int, gains: int) -> tuple[PayRate, int]:
    """Fix the rate once all losers have paid, and what the insurance adds (markets 0a.9).

    The insurance covers what is missing without its epoch cap; where it does not reach, all
    winners take the same haircut.
    """
    drawn = min(insurance, max(0, gains - collected))
    return PayRate(min(gains, collected + drawn), gains), drawn


def loser_pays(value: int, cash: int) -> int:
    """Return what an account with final value `value` pays into the pot; 0 for a winner."""
    return min(cash, max(0, -value))


def winner_gets(value: int, rate: PayRate) -> int:
    """Return what an account with final value `value` is paid; 0 for a loser.

    Rounded down, so that chunks and their order make no difference; what rounding leaves in the
    pot, less than a grain for each winner and only after a haircut, goes to the insurance.
    """
    if value <= 0:
        return 0
    return value if rate.fund == rate.gains else mul_div_floor(value, rate.fund, rate.gains)
