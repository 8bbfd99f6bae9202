"""The sliding window of nonces against a plain set of what was used."""

from hypothesis import given
from hypothesis import strategies as st

from state.nonces import FRESH, WINDOW, NonceWindow, is_usable, use


@given(st.lists(st.integers(0, 700), max_size=120))
def test_window_matches_a_set_of_used_nonces(nonces: list[int]) -> None:
    window, used, high = FRESH, set[int](), 0
    for nonce in nonces:
        expected = nonce >= 1 and (
            high < nonce <= high + WINDOW or (high - WINDOW < nonce <= high and nonce not in used)
        )
        assert is_usable(window, nonce) is expected
        if expected:
            window = use(window, nonce)
            used.add(nonce)
            high = max(high, nonce)
            assert window.high == high
            assert not is_usable(window, nonce)


def test_edges() -> None:
    assert not is_usable(FRESH, 0)
    assert is_usable(FRESH, 1)
    assert is_usable(FRESH, WINDOW)
    assert not is_usable(FRESH, WINDOW + 1)
    moved = use(FRESH, WINDOW)
    assert is_usable(moved, 1)
    moved = use(moved, 2 * WINDOW)
    assert not is_usable(moved, WINDOW)
    assert is_usable(moved, WINDOW + 1)
    assert moved == NonceWindow(2 * WINDOW, (1).to_bytes(32, "big"))
