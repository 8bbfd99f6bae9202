"""What the scripts in bench/ say of their figures."""

import pytest

from bench import matching
from bench.claims import BAR_MS, BAR_RATIO, judged


@pytest.mark.parametrize("slow", [0, 1])
def test_claims_are_judged_by_their_milliseconds(slow: int) -> None:
    found = [{"total_ms": BAR_MS, "ratio_to_signatures": 9.0} for _ in range(2)]
    figures, met = judged(*found)
    assert (met, figures["bar_ms_met"], figures["ratio_bar_met"]) == (True, True, False)
    found = [{"total_ms": 1.0, "ratio_to_signatures": BAR_RATIO} for _ in range(2)]
    found[slow]["total_ms"] = BAR_MS + 0.1
    figures, met = judged(*found)
    assert (met, figures["bar_ms_met"], figures["ratio_bar_met"]) == (False, False, True)
    assert figures["total_ms"] == BAR_MS + 0.1


def test_matching_is_judged_by_its_slowest_book() -> None:
    met, missed = {"orders_per_s": matching.BAR}, {"orders_per_s": matching.BAR - 1}
    assert matching.is_met({"one": met, "other": met})
    assert not matching.is_met({"one": met, "other": missed})
