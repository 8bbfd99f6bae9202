"""Index: the demand for a model, counted in state from receipts that were finally paid.

A model has at most one index, so that the budget of Bound 1 cannot be had twice for one demand. A
release adds f(after) - f(before) of its lane's cumulative totals to the bucket of service, where
f(units, fee) = min(units, fee * 10^6 // price_min): the total does not depend on how calls were
batched and never falls (markets 2.3 and 0a.12-15). Payer caps, then provider caps, are absolute
numbers that nothing counted in the bucket can lower. So one more receipt at the end, or one of
another payer or provider, never lowers the index; one put before others can only take room that
its own payer and its own provider would have used later.
"""

from typing import NamedTuple

from state.codec import Struct
from state.context import BlockContext, Event, QueryContext, TxContext
from state.errors import Malformed, Rejected
from state.keys import ADDRESS_KEY, HASH_KEY, U64_KEY
from state.maths import lower_median
from state.modules import models, staking
from state.params import IndexParams
from state.registry import Message, Module
from state.tables import State, Table
from state.types import (
    PPM,
    U32,
    U128,
    Address,
    Amount,
    Count,
    Hash,
    Height,
    PositiveAmount,
)

MODULE = Module("index", 0x06)

UNITS_MAX = 2**62
"""No bucket counts more, so that a window's sum stays far from the bounds of integers at rest."""

BUCKETS_MAX = 366
"""Buckets of one window, and the most that a query returns at once."""


class IndexExists(Rejected):
    """The model has an index already, and its terms are fixed for ever."""

    code = "index.exists"


class NotOwner(Rejected):
    """Somebody other than the model's owner tries to fix the terms of its index."""

    code = "index.not_owner"


class Index(Struct):
    """The terms of a model's demand index, fixed when it is created."""

    model_id: Hash
    weight_in: U32
    weight_cached: U32
    weight_out: U32
    price_min: PositiveAmount
    """Grains per 10^6 index units: the fee that every counted unit carries at least."""
    tick_index: PositiveAmount
    """Index units in one tick of a future."""
    winsor_floor_units: Amount
    """A bucket up to this size is never cut (markets 0a.14, w0)."""
    first_bucket: Height
    """The bucket in which the index was created; earlier ones are no history."""


class Bucket(Struct):
    """What one bucket of an index has counted so far."""

    units: Amount
    offered_units: Amount
    batches: Count
    cap_hits: Count


class Usage(Struct):
    """What a payer or provider has used of its cap in one bucket."""

    cap_units: Amount
    used_units: Amount


class Spread(Struct):
    """How a bucket's units spread over accounts: numbers of them, and sums of squared units."""

    payers: Count
    payer_squares: U128
    payer_units_max: Amount
    providers: Count
    provider_squares: U128


class Counted(Event, tag="index.counted"):
    """A released batch was counted in its bucket of service."""

    model_id: Hash
    bucket: Height
    payer: Address
    provider: Address
    offered_units: Amount
    counted_units: Amount


class Release(NamedTuple):
    """A released batch; before and after are its lane's released totals.

    The totals are cumulative: (tokens in, tokens cached, tokens out, fee in grains).
    """

    model_id: Hash
    version: int
    operator: Address
    operator_bond: int
    payer: Address
    bucket: int
    before: tuple[int, int, int, int]
    after: tuple[int, int, int, int]


class Window(NamedTuple):
    """An index over consecutive buckets: the winsorised sum, and what was cut on the way."""

    units: int
    buckets: tuple[int, ...]
    cap_hits: int
    winsor_hits: int


INDICES: Table[Hash, Index] = MODULE.table(1, "indices", (HASH_KEY,), Index)
BUCKETS: Table[tuple[Hash, int], Bucket] = MODULE.table(2, "buckets", (HASH_KEY, U64_KEY), Bucket)
PAYERS: Table[tuple[Hash, int, Address], Usage] = MODULE.table(
    3, "payers", (HASH_KEY, U64_KEY, ADDRESS_KEY), Usage
)
PROVIDERS: Table[tuple[Hash, int, Address], Usage] = MODULE.table(
    4, "providers", (HASH_KEY, U64_KEY, ADDRESS_KEY), Usage
)
SPREADS: Table[tuple[Hash, int], Spread] = MODULE.table(5, "spreads", (HASH_KEY, U64_KEY), Spread)

_EMPTY = Bucket(0, 0, 0, 0)
_NOBODY = Spread(0, bytes(16), 0, 0, bytes(16))


def bucket_of(params: IndexParams, height: int) -> int:
    """Return the bucket that a height belongs to."""
    return height // params.bucket_blocks


def accepts(params: IndexParams, bucket: int, height: int) -> bool:
    """Tell whether a claim in a block of `height` may name this bucket of service (0a.15)."""
    return 0 <= bucket_of(params, height) - bucket <= params.claim_lag_buckets


def counted_units(index: Index, totals: tuple[int, int, int, int]) -> int:
    """Return f of a lane's cumulative totals: weighted tokens, but never more than the fee pays."""
    tokens_in, tokens_cached, tokens_out, fee = totals
    units = (
        index.weight_in * tokens_in
        + index.weight_cached * tokens_cached
        + index.weight_out * tokens_out
    )
    return min(units, fee * PPM // index.price_min)


def count(ctx: BlockContext, release: Release) -> int:
    """Count a released batch in its bucket and return the units that the caps left of it."""
    index = INDICES.get(ctx.state, release.model_id)
    if index is None or release.bucket < index.first_bucket:
        return 0
    offered = counted_units(index, release.after) - counted_units(index, release.before)
    assert offered >= 0, "cumulative totals never fall"
    state, model_id, bucket = ctx.state, release.model_id, release.bucket
    row = BUCKETS.get(state, (model_id, bucket)) or _EMPTY
    offered = min(offered, UNITS_MAX)
    payer = _payer_usage(ctx, release)
    provider = _provider_usage(ctx, release)
    units = min(
        offered,
        payer.cap_units - payer.used_units,
        provider.cap_units - provider.used_units,
        UNITS_MAX - row.units,
    )
    payer_key = (model_id, bucket, release.payer)
    provider_key = (model_id, bucket, release.operator)
    PAYERS.put(state, payer_key, Usage(payer.cap_units, payer.used_units + units))
    PROVIDERS.put(state, provider_key, Usage(provider.cap_units, provider.used_units + units))
    _spread(state, (model_id, bucket), payer.used_units, provider.used_units, units)
    BUCKETS.put(
        state,
        (model_id, bucket),
        Bucket(
            row.units + units,
            min(row.offered_units + offered, UNITS_MAX),
            row.batches + 1,
            row.cap_hits + (units < offered),
        ),
    )
    ctx.emit(Counted(model_id, bucket, release.payer, release.operator, offered, units))
    return units


def _spread(state: State, key: tuple[Hash, int], paid: int, served: int, units: int) -> None:
    """Keep the bucket's concentration: a payer of `paid` and a provider of `served` get `units`."""
    if units == 0:
        return
    row = SPREADS.get(state, key) or _NOBODY
    spread = Spread(
        row.payers + (paid == 0),
        _add_square(row.payer_squares, paid, units),
        max(row.payer_units_max, paid + units),
        row.providers + (served == 0),
        _add_square(row.provider_squares, served, units),
    )
    SPREADS.put(state, key, spread)


def _add_square(squares: U128, before: int, units: int) -> U128:
    """Return the sum after one of its numbers grew; below 2^124, as a bucket is at most 2^62."""
    grown = int.from_bytes(squares, "big") + units * (2 * before + units)
    return grown.to_bytes(16, "big")


def _payer_usage(ctx: BlockContext, release: Release) -> Usage:
    found = PAYERS.get(ctx.state, (release.model_id, release.bucket, release.payer))
    if found is not None:
        return found
    params = ctx.params.index
    start = release.bucket * params.bucket_blocks
    age = staking.bonded_age(ctx.state, release.payer, start)
    cap = max(params.payer_cap_units, params.payer_cap_units_per_bonded_age * age)
    return Usage(min(cap, UNITS_MAX), 0)


def _provider_usage(ctx: BlockContext, release: Release) -> Usage:
    params = ctx.params.index
    by_bond = params.provider_cap_units_per_bonded_grain * release.operator_bond
    cap = min(max(params.provider_cap_units, by_bond), UNITS_MAX)
    found = PROVIDERS.get(ctx.state, (release.model_id, release.bucket, release.operator))
    if found is None:
        return Usage(cap, 0)
    # An operator of several versions has the cap of the best bonded one, whichever came first.
    return Usage(max(found.cap_units, cap), found.used_units)


def raw_units(state: State, model_id: Hash, bucket: int) -> int:
    """Return what a bucket has counted so far, before winsorising."""
    row = BUCKETS.get(state, (model_id, bucket))
    return 0 if row is None else row.units


def window(
    state: State, params: IndexParams, index: Index, first_bucket: int, stop_bucket: int
) -> Window:
    """Return the index over buckets first..stop-1 as the state stands now.

    X[b] = min(U[b], max(w0, win_ppm * lower_median(U[b-M..b-1]) // 10^6)) once M earlier buckets of
    this index exist, else U[b] (markets 0a.14).
    """
    assert 0 <= stop_bucket - first_bucket <= BUCKETS_MAX, "a window has a bounded length"
    history = params.winsor_history
    start = max(index.first_bucket, first_bucket - history)
    raw = {
        bucket: raw_units(state, index.model_id, bucket)
        for bucket in range(min(start, first_bucket), stop_bucket)
    }
    kept: list[int] = []
    cap_hits = winsor_hits = 0
    for bucket in range(first_bucket, stop_bucket):
        units = raw[bucket]
        if bucket - history >= index.first_bucket:
            middle = lower_median([raw[bucket - back] for back in range(1, history + 1)])
            limit = max(index.winsor_floor_units, params.winsor_ppm * middle // PPM)
            winsor_hits += units > limit
            units = min(units, limit)
        row = BUCKETS.get(state, (index.model_id, bucket))
        cap_hits += 0 if row is None else row.cap_hits
        kept.append(units)
    return Window(sum(kept), tuple(kept), cap_hits, winsor_hits)


@MODULE.tx
class CreateIndex(Message, tag=0x0601):
    """Fix the terms of a model's demand index for ever; only the model's owner may."""

    model_id: Hash
    weight_in: U32
    weight_cached: U32
    weight_out: U32
    price_min: PositiveAmount
    tick_index: PositiveAmount
    winsor_floor_units: Amount

    def check(self) -> None:
        """Refuse an index that would count nothing."""
        if self.weight_in == self.weight_cached == self.weight_out == 0:
            raise Malformed("All weights of the index are zero; give at least one token a weight.")

    def apply(self, ctx: TxContext) -> None:
        """Write the terms, unless the model has an index or is not the signer's."""
        if models.model_of(ctx.state, self.model_id).title.owner != ctx.account:
            raise NotOwner("Only the model's owner creates its index; sign with the owner's key.")
        if INDICES.get(ctx.state, self.model_id) is not None:
            raise IndexExists("The model has an index, whose terms are fixed; list series on it.")
        INDICES.put(
            ctx.state,
            self.model_id,
            Index(
                self.model_id,
                self.weight_in,
                self.weight_cached,
                self.weight_out,
                self.price_min,
                self.tick_index,
                self.winsor_floor_units,
                bucket_of(ctx.params.index, ctx.height),
            ),
        )


class BucketView(Struct):
    """One bucket of an index: what it counted, and what winsorising leaves of it."""

    bucket: Height
    units: Amount
    winsorised_units: Amount
    offered_units: Amount
    batches: Count
    cap_hits: Count


class WindowView(Struct):
    """An index over a window as the state stands now."""

    units: Amount
    ticks: Amount
    cap_hits: Count
    winsor_hits: Count
    buckets: tuple[BucketView, ...]


class Concentration(Struct):
    """How a bucket's units spread over the accounts that have any; never part of the index (0a.13).

    Hostile payers cost nothing here: the figures are kept as units are counted.
    """

    payers: Count
    providers: Count
    payer_hhi_ppm: Count
    provider_hhi_ppm: Count
    payer_share_max_ppm: Count


@MODULE.query
def terms(ctx: QueryContext, model_id: Hash) -> Index:
    """Return the terms of a model's index."""
    return INDICES.require(ctx.state, model_id)


@MODULE.query
def over(ctx: QueryContext, model_id: Hash, first_bucket: Height, buckets: Count) -> WindowView:
    """Return an index bucket by bucket: what it would be if no more receipts were released."""
    if not 1 <= buckets <= BUCKETS_MAX:
        raise Malformed(f"A query covers 1 to {BUCKETS_MAX} buckets; ask for fewer.")
    index = INDICES.require(ctx.state, model_id)
    found = window(ctx.state, ctx.params.index, index, first_bucket, first_bucket + buckets)
    views = []
    for bucket, kept in enumerate(found.buckets, first_bucket):
        row = BUCKETS.get(ctx.state, (model_id, bucket)) or _EMPTY
        counts = (row.offered_units, row.batches, row.cap_hits)
        views.append(BucketView(bucket, row.units, kept, *counts))
    ticks = found.units // index.tick_index
    return WindowView(found.units, ticks, found.cap_hits, found.winsor_hits, tuple(views))


@MODULE.query
def concentration(ctx: QueryContext, model_id: Hash, bucket: Height) -> Concentration:
    """Return payer and provider shares of a bucket as Herfindahl indices in parts per million."""
    row = SPREADS.get(ctx.state, (model_id, bucket)) or _NOBODY
    total = raw_units(ctx.state, model_id, bucket)
    return Concentration(
        row.payers,
        row.providers,
        _herfindahl_ppm(row.payer_squares, total),
        _herfindahl_ppm(row.provider_squares, total),
        row.payer_units_max * PPM // total if total else 0,
    )


def _herfindahl_ppm(squares: U128, total: int) -> int:
    """Return the sum of squared shares in parts per million, rounded down; 0 of nothing."""
    return int.from_bytes(squares, "big") * PPM // (total * total) if total else 0


@MODULE.invariant(always=False)
def usage_adds_up(ctx: BlockContext) -> str | None:
    """A bucket's units are the sum over its payers, and over its providers, within their caps."""
    for table in (PAYERS, PROVIDERS):
        sums: dict[tuple[Hash, int], int] = {}
        for (model_id, bucket, _), row in table.scan(ctx.state):
            sums[model_id, bucket] = sums.get((model_id, bucket), 0) + row.used_units
            if row.used_units > row.cap_units:
                return f"{table.name} of bucket {bucket} exceed their cap."
        for key, bucket_row in BUCKETS.scan(ctx.state):
            if sums.get(key, 0) != bucket_row.units:
                return f"{table.name} do not add up to bucket {key[1]}."
    return None
