"""Waits: they grow by halves while nothing becomes final, and keep their order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.timeouts import DEVNET, MAINNET, Pacing, Timeouts


def test_the_profiles_are_those_of_the_specification() -> None:
    assert (MAINNET.delta_ms, MAINNET.backoff_ms_max) == (1_000, 30_000)
    assert (DEVNET.delta_ms, DEVNET.retry_ms, DEVNET.backoff_ms_max) == (200, 500, 4_000)
    assert MAINNET.proposal_ms(0) == 2_000
    assert MAINNET.advance_ms(0) > MAINNET.proposal_ms(0)


def test_back_off_grows_by_halves_up_to_the_cap() -> None:
    assert [MAINNET.proposal_ms(failed) for failed in range(4)] == [2_000, 3_000, 4_500, 6_750]
    assert MAINNET.proposal_ms(50) == 30_000


@settings(max_examples=100)
@given(st.integers(1, 5_000), st.integers(0, 10**9))
def test_a_view_is_left_later_than_its_proposal_is_late(delta_ms: int, failed: int) -> None:
    timeouts = Timeouts(delta_ms, 500, 30 * delta_ms)
    assert timeouts.advance_ms(failed) > timeouts.proposal_ms(failed) >= 2 * delta_ms
    assert timeouts.proposal_ms(failed + 1) >= timeouts.proposal_ms(failed)


def test_settings_that_cannot_work_are_refused() -> None:
    for broken in ((0, 500, 4_000), (200, 0, 4_000), (200, 500, 599)):
        with pytest.raises(AssertionError):
            Timeouts(*broken)
    with pytest.raises(AssertionError):
        Pacing(100, 99)
