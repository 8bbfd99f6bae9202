"""What final blocks tell Prometheus: how long they took, what they skipped, whose votes lack."""

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from node.consensus_metrics import MODES, ConsensusMetrics, mode_of
from state.finality import (
    Finalization,
    Header,
    Justify,
    Nullification,
    Nullified,
    Proposal,
    Validator,
    Vote,
)
from state.types import ZERO_HASH

MEMBERS = tuple(Validator(bytes([at]) * 32, bytes([at]) * 20, 10) for at in range(4))
PROPOSED_MS = 1_000


class Clock:
    def now_ns(self) -> int:
        return 0

    def now_ms(self) -> int:
        return 0

    def wall_ms(self) -> int:
        return PROPOSED_MS + 250


def header() -> Header:
    zeros: dict[str, Any] = dict.fromkeys(Header.__struct_fields__, 0)
    hashes = {name: ZERO_HASH for name in zeros if name.endswith(("_id", "_hash", "_root"))}
    return Header(**{**zeros, **hashes, "time_ms": PROPOSED_MS, "height": 7})


def justify(views: int) -> Justify:
    votes = (Vote(0, bytes(64)),)
    skipped = [Nullification(Nullified(0, view + 1), votes) for view in range(views)]
    return Justify(None, tuple(skipped))


def late(*came: int) -> Finalization:
    zeros: dict[str, Any] = dict.fromkeys(Proposal.__struct_fields__, 0)
    hashes = {name: ZERO_HASH for name in zeros if name.endswith(("_id", "_hash", "_root"))}
    proposal = Proposal(**{**zeros, **hashes})
    return Finalization(proposal, tuple(Vote(at, bytes(64)) for at in came))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_final_blocks_are_counted(registry: CollectorRegistry) -> None:
    metrics = ConsensusMetrics(Clock(), registry)
    metrics.members = lambda epoch: MEMBERS if epoch == 0 else None
    metrics.committed(header(), justify(0), None, is_behind=False)
    metrics.committed(header(), justify(3), late(0, 1, 3), is_behind=False)
    metrics.committed(header(), justify(0), late(0, 1, 2, 3), is_behind=True)
    value = registry.get_sample_value
    assert value("sahara_consensus_finality_seconds_count") == 2, "not of what is caught up with"
    assert value("sahara_consensus_finality_seconds_sum") == 0.5
    assert value("sahara_consensus_nullified_views_total") == 3
    missed = [
        value("sahara_consensus_missed_votes_total", {"validator": member.public_key.hex()})
        for member in MEMBERS
    ]
    assert missed == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("engine", "mode"),
    [
        ({}, "votes"),
        ({"me": None}, "follows"),
        ({"is_behind": True}, "behind"),
        ({"awaits_epoch": True}, "behind"),
        ({"is_lost": True, "is_behind": True}, "lost"),
    ],
)
def test_the_engine_is_shown_as_it_stands(
    registry: CollectorRegistry, engine: dict[str, Any], mode: str
) -> None:
    epoch = SimpleNamespace(number=5, view=17, me=engine.pop("me", 2))
    core: Any = SimpleNamespace(
        **{"is_lost": False, "is_behind": False, "awaits_epoch": False, **engine}, epoch=epoch
    )
    assert mode_of(core) == mode
    host: Any = SimpleNamespace(engine=None, round=(4, 16))
    syncing: list[bool] = []
    ConsensusMetrics(Clock(), registry).watch(host, lambda: bool(syncing), lambda _: None)

    def modes() -> dict[str, float | None]:
        return {
            one: registry.get_sample_value("sahara_consensus_mode", {"mode": one}) for one in MODES
        }

    assert {*modes().values()} == {0.0}, "it does not run"
    syncing.append(True)
    assert [one for one, is_now in modes().items() if is_now] == ["syncs"]
    assert registry.get_sample_value("sahara_consensus_epoch") == 4, "that of the head"
    assert registry.get_sample_value("sahara_consensus_view") == 16
    syncing.clear()
    host.engine, host.round = core, (5, 17)
    assert [one for one, is_now in modes().items() if is_now] == [mode]
    assert registry.get_sample_value("sahara_consensus_epoch") == 5
    assert registry.get_sample_value("sahara_consensus_view") == 17
