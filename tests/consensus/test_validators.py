"""Leaders: in proportion to stake, the same for everyone, shuffled by the seed."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.validators import ROTATION_MAX, Validators
from state.finality import Validator, ValidatorSet


def members(*stakes: int) -> ValidatorSet:
    return tuple(
        [Validator(bytes([at]) * 32, bytes([at]) * 20, one) for at, one in enumerate(stakes)]
    )


def leaders(validators: Validators, count: int) -> list[int]:
    return [validators.leader(view) for view in range(1, count + 1)]


def test_equal_stakes_take_turns() -> None:
    found = leaders(Validators(members(5, 5, 5, 5), b"a" * 32), 12)
    assert sorted(found[:4]) == [0, 1, 2, 3]
    assert found[:4] == found[4:8] == found[8:]


def test_the_seed_shuffles_and_nothing_else_does() -> None:
    one = members(3, 3, 3, 3, 3, 3, 3)
    orders = {tuple(leaders(Validators(one, bytes([at]) * 32), 7)) for at in range(20)}
    assert len(orders) > 10
    assert leaders(Validators(one, b"a" * 32), 7) == leaders(Validators(one, b"a" * 32), 7)


def test_the_order_is_pinned() -> None:
    assert leaders(Validators(members(1, 2, 3, 4), b"a" * 32), 10) == PINNED


PINNED = [3, 2, 1, 3, 2, 0, 3, 1, 2, 3]


@settings(max_examples=50)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_a_rotation_gives_each_its_share_and_spreads_it(stakes: list[int]) -> None:
    validators = Validators(members(*stakes), b"x" * 32)
    found = leaders(validators, sum(stakes))
    counts = Counter(found)
    total = sum(stakes)
    assert all(counts[at] == stake for at, stake in enumerate(stakes))
    for view in range(1, total + 1):
        for at, stake in enumerate(stakes):
            share = found[:view].count(at)
            assert abs(share * total - stake * view) < 2 * total, "no one waits for long"


@given(st.lists(st.integers(10**9, 10**15), min_size=1, max_size=20))
@settings(max_examples=10)
def test_unwieldy_stakes_are_rounded_to_a_bounded_rotation(stakes: list[int]) -> None:
    validators = Validators(members(*stakes), b"x" * 32)
    counts = Counter(leaders(validators, ROTATION_MAX))
    for at, stake in enumerate(stakes):
        exact = stake * ROTATION_MAX // sum(stakes)
        if sum(stakes) > ROTATION_MAX * max(stakes):
            assert exact - 1 <= counts[at] <= exact + 1


def test_a_validator_is_found_by_its_key() -> None:
    validators = Validators(members(1, 1), b"x" * 32)
    assert validators.index_of(bytes([1]) * 32) == 1
    assert validators.index_of(bytes([9]) * 32) is None
    assert validators.index_of(None) is None
