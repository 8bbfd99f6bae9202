"""Split: every grain of a payment goes where the table says, against fractions."""

from fractions import Fraction
from math import floor

from hypothesis import given
from hypothesis import strategies as st

from state.modules.models.records import WHOLE, Payee, PayeeKind
from state.modules.split import shares
from state.params import SplitParams
from state.types import ZERO_HASH


def hamilton(amount: int, weights: list[int]) -> list[int]:
    """Largest remainder by exact fractions, one unit at a time; written apart from maths.py."""
    total = sum(weights)
    exact = [Fraction(amount * weight, total) for weight in weights]
    parts = [floor(part) for part in exact]
    order = sorted(range(len(weights)), key=lambda at: (parts[at] - exact[at], at))
    for at in order[: amount - sum(parts)]:
        parts[at] += 1
    return parts


def table(weights: list[int]) -> list[Payee]:
    return [Payee(PayeeKind.ANCESTOR, ZERO_HASH, 0, weight) for weight in weights]


cuts = st.lists(st.integers(0, 500), min_size=4, max_size=4)
grains = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))


@st.composite
def weights_of_whole(draw: st.DrawFn) -> list[int]:
    """Weights that sum to at most WHOLE; what is missing has no recipient."""
    left, found = WHOLE, []
    for _ in range(draw(st.integers(1, 12))):
        weight = draw(st.integers(0, left))
        found.append(weight)
        left -= weight
    if draw(st.booleans()):
        found[-1] += left
    return found


@given(gross=grains, cut=cuts, weights=weights_of_whole())
def test_shares_equal_the_reference_and_sum_exactly(
    gross: int, cut: list[int], weights: list[int]
) -> None:
    found = shares(gross, SplitParams(*cut), table(weights))
    *kept, net = hamilton(gross, [*cut, 10_000 - sum(cut)])
    *parts, orphaned = hamilton(net, [*weights, WHOLE - sum(weights)])
    assert [found.burn, found.validators, found.audit] == kept[:3]
    assert found.treasury == kept[3] + orphaned
    assert list(found.parts) == parts
    everything = found.burn + found.validators + found.audit + found.treasury + sum(found.parts)
    assert everything == gross
