"""Parameters: the defaults hold together, each relation bites alone, and bounds are declared."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from state.codec import Decoder, encode
from state.errors import Malformed
from state.params import BASE_FEE_MAX, Params
from state.types import INT_MAX

DECODER: Decoder[Params] = Decoder(Params)
ROOMS = Params.__struct_fields__


def changed(room: str, **fields: Any) -> Params:
    return replace(Params(), **{room: replace(getattr(Params(), room), **fields)})


def test_the_defaults_hold_together_and_round_trip() -> None:
    Params().check()
    assert DECODER.decode(encode(Params())) == Params()


@dataclass(frozen=True)
class Relation:
    room: str
    broken: dict[str, Any]
    edge: dict[str, Any]


RELATIONS = [
    Relation("fees", {"base_fee_min": 0, "base_fee_start": 1}, {"base_fee_min": 1}),
    Relation("fees", {"base_fee_min": 2}, {"base_fee_min": 2, "base_fee_start": 2}),
    Relation("fees", {"base_fee_start": BASE_FEE_MAX + 1}, {"base_fee_start": BASE_FEE_MAX}),
    Relation("fees", {"block_weight_target": 10**7 + 1}, {"block_weight_target": 10**7}),
    Relation(
        "fees",
        {"block_bytes_max": 2**17 - 1},
        {"block_bytes_max": 2**17, "transaction_bytes_max": 2**17},
    ),
    Relation("staking", {"unbonding_blocks": 1_210_799}, {"unbonding_blocks": 1_210_800}),
    Relation("staking", {"evidence_blocks": 599}, {"evidence_blocks": 600}),
    Relation("staking", {"validators_min": 101}, {"validators_min": 100}),
    Relation("split", {"burn_bps": 1_201}, {"burn_bps": 1_200}),
    Relation("inference", {"leaf_answer_blocks": 1_798}, {"leaf_answer_blocks": 1_797}),
    Relation("inference", {"release_batches_max": 15_999}, {"release_batches_max": 16_000}),
    Relation("inference", {"due_entries_max": 62_499}, {"due_entries_max": 62_500}),
    Relation("futures", {"maintenance_margin_ppm": 200_000}, {"maintenance_margin_ppm": 199_999}),
    Relation("futures", {"band_ppm": 100_001}, {"band_ppm": 100_000}),
    Relation("futures", {"mark_clamp_ppm": 50_001}, {"mark_clamp_ppm": 50_000}),
    Relation("futures", {"auction_blocks": 301}, {"auction_blocks": 300}),
    Relation("futures", {"auction_blocks": 0}, {"auction_blocks": 0, "breaker_blocks": 0}),
    Relation("futures", {"breaker_ppm": 0}, {"breaker_ppm": 1}),
    Relation("futures", {"gap_ms": (1, 2, 2, 3)}, {"gap_ms": (1, 2, 3, 4)}),
    Relation("futures", {"gap_ms": ()}, {"gap_ms": (), "gap_auction_blocks": ()}),
]


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda r: f"{r.room}-{'-'.join(r.broken)}")
def test_each_relation_bites_and_only_beyond_its_edge(relation: Relation) -> None:
    with pytest.raises(Malformed, match=relation.room):
        changed(relation.room, **relation.broken).check()
    changed(relation.room, **relation.edge).check()


@pytest.mark.parametrize(
    ("room", "field", "value"),
    [
        (room, field, value)
        for room in ROOMS
        for field in getattr(Params(), room).__struct_fields__
        for value in (-1, INT_MAX + 1)
    ],
)
def test_every_field_is_bounded(room: str, field: str, value: int) -> None:
    with pytest.raises(Malformed) as caught:
        DECODER.decode(encode(changed(room, **{field: value})))
    assert isinstance(caught.value.__cause__, msgspec.ValidationError)


def test_a_float_is_no_parameter() -> None:
    for room in ROOMS:
        field = getattr(Params(), room).__struct_fields__[0]
        with pytest.raises(Malformed):
            DECODER.decode(encode(changed(room, **{field: 1.0})))


def test_only_burn_and_treasury_are_irrecoverable() -> None:
    split = Params().split
    assert (split.total_bps, split.irrecoverable_ppm) == (1_000, 40_000)
    devnet = replace(split, burn_bps=1_000, treasury_bps=400)
    assert (devnet.total_bps, devnet.irrecoverable_ppm) == (2_000, 140_000)
