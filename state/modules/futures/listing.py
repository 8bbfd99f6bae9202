"""Relations between the terms of a contract without which its margin fails (markets 0a.1)."""

from typing import ClassVar

from state.errors import Rejected
from state.modules.futures.margin import Terms
from state.modules.futures.mark import PRICE_CAP_MAX
from state.types import PPM

QUOTE_LIMIT = 2**62
"""Price cap times tick value times the most lots must stay below: no quote can overflow (0a.16)."""


class TermsRefused(Rejected):
    """The terms of a listing contradict each other."""

    code: ClassVar[str] = "futures.terms_refused"


def check_terms(terms: Terms, *, mark_step_ppm: int, reference: int, oi_lots_max: int) -> None:
    """Refuse terms under which a block could take more from an account than its margin holds.

    The band and twice the step of the mark must fit into the maintenance range at its narrowest,
    which is `range_floor_ppm`. The initial range must be the wider one, and no larger than the
    whole price. `reference` is the first mark, in ticks.
    """
    narrowest = terms.range_floor_ppm
    relations = (
        (0 < narrowest <= terms.mm_ppm, "the range floor lies in 1 ppm .. the maintenance range"),
        (terms.mm_ppm < terms.im_ppm <= PPM, "maintenance range < initial range <= whole price"),
        (0 < terms.band_ppm <= narrowest, "the batch band lies in 1 ppm .. the range floor"),
        (0 < 2 * mark_step_ppm <= narrowest, "the mark steps at most half the range floor"),
        (0 <= terms.taker_ppm <= terms.im_ppm, "the taker fee is at most the initial range"),
        (0 <= terms.win_start < terms.win_end, "the window starts before it ends"),
        (0 < reference <= terms.price_cap < PRICE_CAP_MAX, "0 < reference <= price cap < 2^46"),
        (
            0 < terms.price_cap * terms.tick_value * oi_lots_max < QUOTE_LIMIT,
            "price cap * tick value * most lots lies in 1 .. 2^62 - 1",
        ),
    )
    broken = [sentence for holds, sentence in relations if not holds]
    if broken:
        raise TermsRefused(f"The terms do not hold together; expected: {'; '.join(broken)}.")
