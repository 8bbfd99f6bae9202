"""Waits: they grow by halves while nothing becomes final, and keep their order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.messages import BODY_BYTES_MAX, MESSAGE_BYTES_MAX
from consensus.timeouts import (
    DEVNET,
    GAP_FREE_VIEWS,
    MAINNET,
    NEVER,
    Pacing,
    Timeouts,
)
from state.codec import encode
from state.finality import (
    NULLIFICATIONS_MAX,
    VALIDATORS_MAX,
    Finalization,
    Justify,
    Nullification,
    Nullified,
    Proposal,
    Vote,
)
from state.types import INT_MAX


def test_the_profiles_are_those_of_the_specification() -> None:
    assert (MAINNET.delta_ms, MAINNET.backoff_ms_max) == (1_000, 30_000)
    assert (DEVNET.delta_ms, DEVNET.retry_ms, DEVNET.backoff_ms_max) == (200, 500, 4_000)
    assert MAINNET.proposal_ms(0) == 2_000
    assert MAINNET.advance_ms(0) > MAINNET.proposal_ms(0)
    assert (MAINNET.skip_ms, DEVNET.skip_ms) == (10_000, 2_000)


def test_back_off_grows_by_halves_up_to_the_cap() -> None:
    assert [MAINNET.proposal_ms(failed) for failed in range(4)] == [2_000, 3_000, 4_500, 6_750]
    assert MAINNET.proposal_ms(50) == 30_000


@settings(max_examples=100)
@given(st.integers(1, 5_000), st.integers(0, 10**9))
def test_a_view_is_left_later_than_its_proposal_is_late(delta_ms: int, failed: int) -> None:
    timeouts = Timeouts(delta_ms, 500, 30 * delta_ms, skip_ms=500 + 5 * delta_ms)
    assert timeouts.advance_ms(failed) > timeouts.proposal_ms(failed) >= 2 * delta_ms
    assert timeouts.proposal_ms(failed + 1) >= timeouts.proposal_ms(failed)


def test_a_failing_view_takes_ever_longer_and_the_bound_is_months_away() -> None:
    """A justification has room for so many nullifications; the last view before is never left."""
    waits = [MAINNET.nullify_wait_ms(gap) for gap in range(NULLIFICATIONS_MAX + 2)]
    assert waits[:GAP_FREE_VIEWS] == [0] * GAP_FREE_VIEWS
    assert waits == sorted(waits)
    assert waits[NULLIFICATIONS_MAX] == NEVER
    assert sum(waits[:NULLIFICATIONS_MAX]) > 90 * 24 * 3_600_000
    assert DEVNET.nullify_wait_ms(GAP_FREE_VIEWS) == DEVNET.backoff_ms_max


def test_the_longest_justification_of_the_largest_set_fits_beside_the_longest_body() -> None:
    votes = tuple([Vote(VALIDATORS_MAX - 1, b"s" * 64)] * VALIDATORS_MAX)
    one = Nullification(Nullified(INT_MAX, INT_MAX), votes)
    parent = Finalization(Proposal(INT_MAX, INT_MAX, INT_MAX, b"b" * 32, b"j" * 32), votes)
    long = Justify(parent, (one,) * NULLIFICATIONS_MAX)
    assert len(encode(long)) + 4_096 <= MESSAGE_BYTES_MAX - BODY_BYTES_MAX


def test_settings_that_cannot_work_are_refused() -> None:
    cannot = ((0, 500, 4_000), (200, 0, 4_000), (200, 500, 599))
    silent = ((200, 500, 4_000, 1_000, 500, 800), (200, 2_000, 4_000, 1_000, 500, 2_000))
    for broken in (*cannot, *silent):
        with pytest.raises(AssertionError):
            Timeouts(*broken)
    with pytest.raises(AssertionError):
        Pacing(100, 99)
