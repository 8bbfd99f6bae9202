"""Settlement is exact to the grain, whatever fails."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.modules.futures.margin import Position, equity, traded, value_at
from state.modules.futures.settlement import (
    PayRate,
    Standing,
    close_out,
    loser_pays,
    pay_rate,
    settlement_price,
    variation,
    winner_gets,
)

TICK_VALUE = 7


@st.composite
def markets(draw: st.DrawFn, cash_max: int = 3000) -> list[Standing]:
    """Accounts whose lots and quotes sum to zero because every trade had two sides."""
    count = draw(st.integers(2, 7))
    held = [Position() for _ in range(count)]
    for _ in range(draw(st.integers(1, 12))):
        buyer = draw(st.integers(0, count - 1))
        seller = (buyer + draw(st.integers(1, count - 1))) % count
        lots, price = draw(st.integers(1, 20)), draw(st.integers(0, 200))
        held[buyer] = traded(held[buyer], 0, lots, price, TICK_VALUE)
        held[seller] = traded(held[seller], 1, lots, price, TICK_VALUE)
    return [Standing(position, draw(st.integers(0, cash_max))) for position in held]


def sums(positions: list[Position]) -> tuple[int, int]:
    return sum(p.lots for p in positions), sum(p.quote for p in positions)


@given(markets(), st.integers(0, 200))
def test_variation_moves_cash_and_creates_none(standings: list[Standing], mark: int) -> None:
    found = variation(standings, mark, TICK_VALUE)
    assert sum(found.moved) == 0
    assert sums(found.positions) == (0, 0)
    for standing, move, position in zip(standings, found.moved, found.positions, strict=True):
        assert position.lots == standing.position.lots
        assert value_at(position, mark, TICK_VALUE) == 0
        before = equity(standing.cash, standing.position, mark, TICK_VALUE)
        assert equity(standing.cash + move, position, mark, TICK_VALUE) == before
    unable = [s for s in standings if equity(s.cash, s.position, mark, TICK_VALUE) < 0]
    assert found.shortfall == -sum(equity(s.cash, s.position, mark, TICK_VALUE) for s in unable)


@settings(max_examples=150)
@given(markets(cash_max=400), st.integers(0, 200), st.integers(0, 5000))
def test_after_close_outs_variation_has_no_shortfall(
    standings: list[Standing], mark: int, insurance: int
) -> None:
    """Insolvency storm: close out everyone under water, in order; nothing is created or lost."""
    total = sum(s.cash for s in standings) + insurance
    for index in range(len(standings)):
        failed = standings[index]
        if equity(failed.cash, failed.position, mark, TICK_VALUE) >= 0:
            continue
        found = close_out(standings, index, mark, TICK_VALUE, insurance)
        insurance -= found.insurance_paid
        assert insurance >= 0
        assert sums(found.positions) == (0, 0)
        for other, (before, after) in enumerate(zip(standings, found.positions, strict=True)):
            gain = value_at(before.position, mark, TICK_VALUE)
            if other == index:
                assert after.lots == 0
                continue
            assert abs(after.lots) <= abs(before.position.lots)
            assert after.lots * before.position.lots >= 0
            assert value_at(after, mark, TICK_VALUE) == gain - found.shares[other]
            assert found.shares[other] <= max(0, gain)
        longs = sum(max(0, p.lots) for p in found.positions)
        was = sum(max(0, s.position.lots) for s in standings)
        assert longs == was - abs(failed.position.lots), "exactly the insolvent lots close"
        standings = [
            Standing(position, s.cash + (found.insurance_paid if other == index else 0))
            for other, (s, position) in enumerate(zip(standings, found.positions, strict=True))
        ]
        closed = standings[index]
        assert equity(closed.cash, closed.position, mark, TICK_VALUE) == 0
    settled = variation(standings, mark, TICK_VALUE)
    assert settled.shortfall == 0
    cash = [s.cash + move for s, move in zip(standings, settled.moved, strict=True)]
    assert min(cash) >= 0
    assert sum(cash) + insurance == total


def test_lots_close_against_gains_first_and_the_deficit_falls_on_all_gains() -> None:
    mark = 50
    standings = [
        Standing(Position(10, -1000), 300),  # long 10 at 100: lost 500, has 300
        Standing(Position(-4, 400), 0),  # gains 200
        Standing(Position(-8, 400), 0),  # neither gains nor loses
        Standing(Position(2, -100), 0),  # long at 50, nothing gained
        Standing(Position(0, 300), 0),  # flat with a gain of 300
    ]
    found = close_out(standings, 0, mark, 1, insurance=50)
    assert found.insurance_paid == 50
    assert found.shares == [0, 60, 0, 0, 90]
    assert [p.lots for p in found.positions] == [0, 0, -2, 2, 0]
    assert found.positions[0] == Position(0, -350)


def test_the_whole_open_interest_in_one_insolvent_account() -> None:
    """dYdX, 10 October 2025: nobody is halted, winners keep what there is."""
    standings = [
        Standing(traded(Position(), 0, 30, 100, 1), 500),
        Standing(traded(Position(), 1, 10, 100, 1), 0),
        Standing(traded(Position(), 1, 20, 100, 1), 0),
    ]
    found = close_out(standings, 0, 1, 1, insurance=0)
    assert all(p.lots == 0 for p in found.positions)
    assert found.positions == [Position(0, -500), Position(0, 167), Position(0, 333)]


def test_only_the_insolvent_are_closed_out() -> None:
    standings = [Standing(Position(1, -100), 100), Standing(Position(-1, 100), 0)]
    with pytest.raises(ValueError, match="negative equity"):
        close_out(standings, 0, 0, 1, 0)


@given(markets(cash_max=600), st.integers(0, 200), st.integers(0, 2000), st.randoms())
def test_final_settlement_is_zero_sum_in_any_order(
    standings: list[Standing], price: int, insurance: int, shuffle: object
) -> None:
    values = [value_at(s.position, price, TICK_VALUE) for s in standings]
    pot = sum(loser_pays(v, s.cash) for v, s in zip(values, standings, strict=True))
    gains = sum(max(0, v) for v in values)
    rate, drawn = pay_rate(pot, insurance, gains)
    paid = [winner_gets(v, rate) for v in values]
    left = pot + drawn - sum(paid)
    winners = sum(v > 0 for v in values)
    assert 0 <= drawn <= insurance
    assert 0 <= left <= max(0, winners - 1)
    assert all(0 <= got <= max(0, v) for got, v in zip(paid, values, strict=True))
    if pot + insurance >= gains:
        assert paid == [max(0, v) for v in values]
        assert left == 0
    else:
        assert drawn == insurance


def test_a_haircut_is_the_same_share_for_every_winner() -> None:
    rate, drawn = pay_rate(60, 30, 120)
    assert (rate, drawn) == (PayRate(90, 120), 30)
    assert [winner_gets(v, rate) for v in (80, 39, 1, 0, -120)] == [60, 29, 0, 0, 0]
    assert pay_rate(120, 30, 120) == (PayRate(120, 120), 0)
    assert winner_gets(5, PayRate(0, 0)) == 5
    assert loser_pays(-50, 20) == 20
    assert loser_pays(50, 20) == 0


def test_the_price_rounds_down_once_within_its_bounds() -> None:
    assert settlement_price(38_716_530, 1000, 0, 10**6) == 38_716
    assert settlement_price(19_043_558, 1000, 0, 10**6) == 19_043
    assert settlement_price(38_716_530, 1000, 0, 30_000) == 30_000
