"""Index: counting against brute force, what nobody can gain by batching, splitting or timing."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.context import BlockContext
from state.errors import InvariantBroken, Malformed, NotFound
from state.execute import apply_genesis, assert_invariants
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules import index
from state.modules.index import BUCKETS_MAX, UNITS_MAX, Index, Release
from state.modules.staking.shares import bond
from state.params import IndexParams, Params
from state.tables import Base, State
from state.types import GRAINS_PER_SAHARA as SAHARA
from state.types import PPM, ZERO_ADDRESS, ZERO_HASH

MODEL = bytes([7]) * 32
FREE = {"payer_cap_units": 2**62, "provider_cap_units": 2**62, "winsor_history": 12}
TERMS = Index(MODEL, 1, 0, 4, 5 * SAHARA, 1_000, 0, 0)


def who(number: int) -> bytes:
    return bytes([number + 1]) * 20


class Nothing:
    """A reader of an empty database."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(())


class Bench:
    """One index over a fresh state; lanes keep their cumulative totals as releases need them."""

    def __init__(self, terms: Index = TERMS, **params: int) -> None:
        self.params = Params(index=IndexParams(**{**FREE, **params}))
        allocations = tuple([Allocation(who(number), 10**15) for number in range(6)])
        validator = GenesisValidator(bytes(32), who(5), 1)
        genesis = Genesis("test", 0, self.params, allocations, (validator,))
        self.state = apply_genesis(Base(Nothing()), genesis)
        self.terms = terms
        index.INDICES.put(self.state, MODEL, terms)
        self.lanes: dict[Any, tuple[int, ...]] = defaultdict(lambda: (0, 0, 0, 0))
        self.events: list[Any] = []

    def context(self, height: int = 10**6) -> BlockContext:
        return BlockContext(self.state, height, 0, self.params, ZERO_HASH, ZERO_ADDRESS, ZERO_HASH)

    def release(
        self,
        *call: int,
        payer: int = 0,
        operator: int = 1,
        bucket: int = 3,
        lane: int = 0,
        bond: int = 0,
    ) -> int:
        """Release a batch of these tokens in, cached, out and fee; return what it counted."""
        before = self.lanes[payer, operator, lane]
        after = tuple([left + right for left, right in zip(before, call, strict=True)])
        self.lanes[payer, operator, lane] = after
        context = self.context()
        counted = index.count(
            context,
            Release(MODEL, 0, who(operator), bond, who(payer), bucket, before, after),
        )
        self.events += context.events
        return counted

    def units(self, count: int, **where: int) -> int:
        """Release a batch that is worth `count` units by tokens and by fee."""
        return self.release(count, 0, 0, count * self.terms.price_min, **where)

    def bucket(self, number: int = 3) -> int:
        return index.raw_units(self.state, MODEL, number)

    def check(self) -> None:
        assert_invariants(self.context(), every=True)


def total(sequence: Sequence[tuple[int, int, int]], **caps: int) -> int:
    """What releases (payer, operator, units) count in one bucket, in this order."""
    bench = Bench(**caps)
    for lane, (payer, operator, count) in enumerate(sequence):
        bench.units(count, payer=payer, operator=operator, lane=lane)
    bench.check()
    return bench.bucket()


# --- what one release counts


@pytest.mark.parametrize(
    ("call", "units"),
    [
        ((100, 0, 10, 140 * 5_000), 140),
        ((100, 50, 10, 140 * 5_000), 140),
        ((100, 0, 10, 140 * 5_000 - 1), 139),
        ((100, 0, 10, 10**15), 140),
        ((0, 10**6, 0, 10**15), 0),
        ((100, 0, 10, 0), 0),
        ((1, 0, 0, 4_999), 0),
    ],
)
def test_units_are_weighted_tokens_that_the_fee_pays_for(call: tuple[int, ...], units: int) -> None:
    assert Bench().release(*call) == units


def test_the_largest_totals_are_clipped_and_stay_at_rest() -> None:
    bench = Bench()
    huge = 2**63 - 1
    assert bench.release(huge, huge, huge, huge) == huge * PPM // TERMS.price_min
    cheap = Bench(Index(MODEL, 2**32 - 1, 0, 0, 1, 1, 0, 0))
    assert cheap.release(huge, 0, 0, huge) == UNITS_MAX
    assert cheap.release(huge, 0, 0, huge, payer=2, operator=3) == 0
    cheap.check()


def test_buckets_before_the_index_and_models_without_one_count_nothing() -> None:
    bench = Bench(Index(MODEL, 1, 0, 4, 5 * SAHARA, 1_000, 0, 4))
    assert bench.units(10, bucket=3) == 0
    assert bench.units(10, bucket=4) == 10
    other = Release(bytes(32), 0, who(1), 0, who(0), 4, (0, 0, 0, 0), (9, 0, 0, 10**15))
    assert index.count(bench.context(), other) == 0


def test_what_is_counted_is_told() -> None:
    bench = Bench(payer_cap_units=15)
    bench.units(10)
    bench.units(10)
    assert [(event.offered_units, event.counted_units) for event in bench.events] == [
        (10, 10),
        (10, 5),
    ]
    (view,) = index.over(bench.context(), MODEL, 3, 1).buckets
    assert (view.units, view.offered_units, view.batches, view.cap_hits) == (15, 20, 2, 1)


@given(
    st.integers(0, 10**6),
    st.integers(1, 50),
    st.integers(0, 30),
    st.integers(-5, 60),
)
def test_a_claim_may_be_late_by_the_lag_and_never_early(
    height: int, length: int, lag: int, back: int
) -> None:
    params = IndexParams(bucket_blocks=length, claim_lag_buckets=lag)
    now = height // length
    assert index.accepts(params, now - back, height) == (0 <= back <= lag)


# --- batches

_calls = st.lists(
    st.tuples(
        st.integers(0, 5_000), st.integers(0, 5_000), st.integers(0, 500), st.integers(0, 10**8)
    ),
    min_size=1,
    max_size=12,
)


@given(_calls, st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 20_000))
def test_batching_does_not_change_the_total(
    calls: list[tuple[int, ...]], cuts: list[bool], cap: int
) -> None:
    """One batch, one batch a call, or anything between: the lane counts the same, caps or not."""
    results = []
    for ends in ([False] * 12, [True] * 12, cuts):
        bench = Bench(payer_cap_units=cap)
        batch: tuple[int, ...] = (0, 0, 0, 0)
        for call, end in zip(calls, ends, strict=False):
            batch = tuple([left + right for left, right in zip(batch, call, strict=True)])
            if end:
                bench.release(*batch)
                batch = (0, 0, 0, 0)
        bench.release(*batch)
        results.append(bench.bucket())
    sums = [sum(call[part] for call in calls) for part in range(4)]
    exact = min(sums[0] + 4 * sums[2], int(Fraction(sums[3] * PPM, TERMS.price_min)))
    assert results == [min(exact, cap)] * 3


@given(_calls)
def test_splitting_a_lane_never_counts_more(calls: list[tuple[int, ...]]) -> None:
    one, many = Bench(), Bench()
    for lane, call in enumerate(calls):
        one.release(*call)
        many.release(*call, lane=lane)
    assert many.bucket() <= one.bucket()


# --- caps

_receipts = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 60)), max_size=15
)
_caps = st.tuples(st.integers(0, 100), st.integers(0, 100))


@given(_receipts, _caps)
def test_counting_equals_brute_force(
    receipts: list[tuple[int, int, int]], caps: tuple[int, int]
) -> None:
    """min(q, what the payer has left, what the provider has left), each summed over all before."""
    kept: list[tuple[int, int, int]] = []
    for payer, operator, count in receipts:
        used_u = sum(units for one, _, units in kept if one == payer)
        used_v = sum(units for _, one, units in kept if one == operator)
        kept.append((payer, operator, min(count, caps[0] - used_u, caps[1] - used_v)))
    assert total(receipts, payer_cap_units=caps[0], provider_cap_units=caps[1]) == sum(
        units for _, _, units in kept
    )


@given(_receipts, st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 60)), _caps)
def test_a_receipt_at_the_end_never_lowers_the_index(
    receipts: list[tuple[int, int, int]], more: tuple[int, int, int], caps: tuple[int, int]
) -> None:
    limits = {"payer_cap_units": caps[0], "provider_cap_units": caps[1]}
    assert total([*receipts, more], **limits) >= total(receipts, **limits)


@settings(max_examples=200)
@given(_receipts, st.integers(0, 15), st.integers(0, 3), st.integers(0, 60), _caps, st.booleans())
def test_a_newcomers_receipt_anywhere_never_lowers_the_index(
    receipts: list[tuple[int, int, int]],
    at: int,
    other: int,
    count: int,
    caps: tuple[int, int],
    new_payer: bool,
) -> None:
    """Who wants the index low cannot push others out by paying for calls, or by serving them."""
    limits = {"payer_cap_units": caps[0], "provider_cap_units": caps[1]}
    added = (4, other, count) if new_payer else (other, 4, count)
    assert total([*receipts[:at], added, *receipts[at:]], **limits) >= total(receipts, **limits)


@given(
    _receipts,
    st.integers(0, 15),
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 60)),
    st.integers(0, 100),
)
def test_under_one_kind_of_cap_order_is_nothing(
    receipts: list[tuple[int, int, int]], at: int, more: tuple[int, int, int], cap: int
) -> None:
    mixed = [*receipts[:at], more, *receipts[at:]]
    base = total(receipts, payer_cap_units=cap)
    assert total(mixed, payer_cap_units=cap) == total(mixed[::-1], payer_cap_units=cap) >= base


def test_the_one_way_in_which_an_earlier_receipt_takes_room() -> None:
    """It takes room of its own payer and its own provider: never more than it counts itself."""
    limits = {"payer_cap_units": 10, "provider_cap_units": 10}
    honest = [(0, 1, 10), (2, 3, 10)]
    assert total(honest, **limits) == 20
    assert total([(0, 3, 10), *honest], **limits) == 10


@given(st.integers(1, 200), st.integers(1, 4), st.integers(0, 100), st.integers(0, 100))
def test_a_sybil_split_never_raises_the_index_beyond_the_caps(
    count: int, identities: int, payer_cap: int, provider_cap: int
) -> None:
    limits = {"payer_cap_units": payer_cap, "provider_cap_units": provider_cap}
    share, rest = divmod(count, identities)
    split = [(payer, 5, share + (rest if payer == 0 else 0)) for payer in range(identities)]
    whole = total([(0, 5, count)], **limits)
    assert total(split, **limits) <= min(count, identities * payer_cap, provider_cap)
    assert total(split, **{**limits, "payer_cap_units": 2**62}) == min(count, provider_cap)
    assert whole == min(count, payer_cap, provider_cap)


def test_a_payers_cap_grows_with_bonded_age_at_the_start_of_the_bucket() -> None:
    terms = {"payer_cap_units": 100, "payer_cap_units_per_bonded_age": 3, "bucket_blocks": 10}
    bench = Bench(**terms)
    bond(bench.state, who(0), who(5), 2 * SAHARA, 5)
    bench.units(1_000, bucket=3)
    assert bench.bucket(3) == 3 * 2 * (30 - 5)
    bench.units(1_000, bucket=0)
    assert bench.bucket(0) == 100
    bond(bench.state, who(0), who(5), 50 * SAHARA, 25)
    assert bench.units(1_000, bucket=3) == 0, "fixed when the bucket first saw the account"


def test_a_providers_cap_follows_its_bond_and_no_small_one_fixes_it() -> None:
    bench = Bench(provider_cap_units=0, provider_cap_units_per_bonded_grain=10)
    assert bench.units(500, bond=0) == 0
    assert bench.units(500, bond=7) == 70
    assert bench.units(500, bond=3, payer=2) == 0
    assert bench.units(500, bond=8, payer=2) == 10
    bench.check()


# --- winsorising


def reference_window(
    raw: list[int], first: int, params: IndexParams, floor: int, created: int
) -> list[int]:
    """markets 0a.14 word by word, by fractions and a sorted list."""
    kept = []
    for bucket in range(first, len(raw)):
        history = params.winsor_history
        if bucket - created < history:
            kept.append(raw[bucket])
            continue
        last = sorted(raw[bucket - history : bucket])
        middle = last[(history - 1) // 2]
        limit = max(floor, int(Fraction(params.winsor_ppm, PPM) * middle))
        kept.append(min(raw[bucket], limit))
    return kept


@given(
    st.lists(st.integers(0, 1_000), min_size=1, max_size=16),
    st.integers(0, 15),
    st.integers(1, 6),
    st.integers(0, 3 * PPM),
    st.integers(0, 300),
    st.integers(0, 8),
)
def test_winsorising_equals_the_rule(
    raw: list[int], first: int, history: int, ppm: int, floor: int, created: int
) -> None:
    raw = [0 if bucket < created else units for bucket, units in enumerate(raw)]
    first = min(first, len(raw) - 1)
    terms = Index(MODEL, 1, 0, 4, 5 * SAHARA, 1_000, floor, created)
    bench = Bench(terms, winsor_history=history, winsor_ppm=ppm)
    for bucket, units in enumerate(raw):
        bench.units(units, bucket=bucket)
    params = bench.params.index
    found = index.window(bench.state, params, terms, first, len(raw))
    expected = reference_window(raw, first, params, floor, created)
    assert list(found.buckets) == expected
    assert found.units == sum(expected)
    assert found.winsor_hits == sum(
        units > kept for units, kept in zip(raw[first:], expected, strict=True)
    )
    view = index.over(bench.context(), MODEL, first, len(raw) - first)
    assert (view.units, view.ticks) == (found.units, found.units // 1_000)


@pytest.mark.parametrize(("attacked", "lift_ppm"), [(1, 16_666), (3, 50_000), (7, 116_666)])
def test_flooding_buckets_lifts_the_window_by_half_of_each_at_most(
    attacked: int, lift_ppm: int
) -> None:
    """Bound 3 of markets 2.3: 1, 3 or 7 of 30 buckets lift the index by 1.7, 5.0 or 11.7 %."""
    bench = Bench(winsor_history=30)
    for bucket in range(60):
        bench.units(1_000, bucket=bucket)
    for bucket in range(30, 30 + attacked):
        bench.units(10**6, payer=2, bucket=bucket)
    found = index.window(bench.state, bench.params.index, TERMS, 30, 60)
    assert (found.units - 30_000) * PPM // 30_000 == lift_ppm
    assert found.winsor_hits == attacked


def test_a_bucket_up_to_the_floor_is_never_cut() -> None:
    terms = Index(MODEL, 1, 0, 4, 5 * SAHARA, 1_000, 400, 0)
    bench = Bench(terms, winsor_history=2)
    bench.units(500, bucket=2)
    found = index.window(bench.state, bench.params.index, terms, 0, 4)
    assert found.buckets == (0, 0, 400, 0)


# --- queries and invariants


def test_queries_are_bounded_and_name_what_is_missing() -> None:
    bench = Bench()
    assert index.terms(bench.context(), MODEL) == TERMS
    for buckets in (0, BUCKETS_MAX + 1):
        with pytest.raises(Malformed):
            index.over(bench.context(), MODEL, 0, buckets)
    with pytest.raises(NotFound, match=r"no row 0+ in index\.indices"):
        index.terms(bench.context(), bytes(32))
    assert index.over(bench.context(), MODEL, 2**62, BUCKETS_MAX).units == 0


def test_concentration_is_published() -> None:
    bench = Bench()
    bench.units(60, payer=0)
    bench.units(40, payer=2)
    found = index.concentration(bench.context(), MODEL, 3)
    assert (found.payers, found.providers) == (2, 1)
    assert (found.payer_hhi_ppm, found.provider_hhi_ppm) == (520_000, PPM)
    assert found.payer_share_max_ppm == 600_000
    empty = index.concentration(bench.context(), MODEL, 4)
    assert (empty.payers, empty.payer_hhi_ppm, empty.payer_share_max_ppm) == (0, 0, 0)


class Unscanned(State):
    """A state that answers single reads only."""

    def span(self, start: bytes, stop: bytes, decoder: Any) -> Iterator[tuple[bytes, Any]]:
        raise AssertionError("a bucket holds as many payers as somebody pays for")


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2**61)),
        max_size=12,
    )
)
def test_concentration_equals_brute_force_without_a_scan(
    calls: list[tuple[int, int, int]],
) -> None:
    bench = Bench()
    for payer, operator, units in calls:
        bench.units(units, payer=payer, operator=operator)
    shares = [
        [row.used_units for _, row in table.scan(bench.state, under=(MODEL, 3)) if row.used_units]
        for table in (index.PAYERS, index.PROVIDERS)
    ]
    context = bench.context()
    context.state = Unscanned(bench.state)
    found = index.concentration(context, MODEL, 3)
    assert (found.payers, found.providers) == (len(shares[0]), len(shares[1]))
    for parts, hhi in zip(shares, (found.payer_hhi_ppm, found.provider_hhi_ppm), strict=True):
        total = sum(parts)
        assert hhi == sum(Fraction(part, total) ** 2 for part in parts) * PPM // 1
    largest = Fraction(max(shares[0]), sum(shares[0])) if shares[0] else Fraction(0)
    assert found.payer_share_max_ppm == largest * PPM // 1


@pytest.mark.parametrize("table", [index.PAYERS, index.PROVIDERS], ids=lambda table: table.name)
def test_usage_that_does_not_add_up_is_found(table: Any) -> None:
    bench = Bench()
    bench.units(10)
    bench.check()
    ((key, row),) = table.scan(bench.state)
    table.put(bench.state, key, index.Usage(row.cap_units, row.used_units + 1))
    with pytest.raises(InvariantBroken, match="add up"):
        bench.check()
    table.put(bench.state, key, index.Usage(0, row.used_units))
    with pytest.raises(InvariantBroken, match="exceed"):
        bench.check()


def test_totals_that_fall_are_a_bug() -> None:
    falling = Release(MODEL, 0, who(1), 0, who(0), 3, (9, 0, 0, 10**12), (8, 0, 0, 10**12))
    with pytest.raises(AssertionError, match="never fall"):
        index.count(Bench().context(), falling)
