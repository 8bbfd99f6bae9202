"""Terms that would not protect are refused, each by its own sentence."""

import pytest
from msgspec.structs import replace

from state.modules.futures.listing import TermsRefused, check_terms
from state.modules.futures.margin import Terms

DEVNET = Terms(175, 200_000, 200_000, 100_000, 100_000, 100_000, 500, 100, 160)


def check(terms: Terms, step: int = 50_000, reference: int = 20_000, lots: int = 2000) -> None:
    check_terms(terms, mark_step_ppm=step, reference=reference, oi_lots_max=lots)


def test_the_devnet_terms_hold_together() -> None:
    check(DEVNET)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"range_floor_ppm": 100_001}, "range floor lies"),
        ({"im_ppm": 100_000}, "initial range"),
        ({"im_ppm": 1_000_001}, "whole price"),
        ({"band_ppm": 100_001}, "batch band"),
        ({"range_floor_ppm": 99_999}, "batch band"),
        ({"taker_ppm": 200_001}, "taker fee"),
        ({"win_end": 100}, "window starts"),
        ({"price_cap": 19_999}, "reference <= price cap"),
        ({"price_cap": 2**46}, "price cap < 2"),
        ({"tick_value": 0}, "most lots"),
        ({"tick_value": 2**34}, "most lots"),
    ],
)
def test_each_relation_is_named(change: dict[str, int], said: str) -> None:
    with pytest.raises(TermsRefused, match=said):
        check(replace(DEVNET, **change))


def test_the_step_of_the_mark_and_the_reference() -> None:
    with pytest.raises(TermsRefused, match="mark steps"):
        check(DEVNET, step=50_001)
    with pytest.raises(TermsRefused, match="reference"):
        check(DEVNET, reference=0)
