"""What traders read off claims, what the history tells, and when the demo gives up on a machine."""

from typing import Any

import pytest

from node.demo import serving
from node.demo.calls import Counter
from node.demo.cast import cast_of
from node.demo.claims import Claims
from node.demo.errors import MachineTooSlow, StepFailed
from node.demo.heights import Heights
from node.demo.history import told
from node.demo.lanes import OpenLane
from node.demo.pace import interval_ms_of
from node.demo.profile import DemoPlan
from node.demo.serving import Serving, Window
from node.demo.steps import event_from, require_ok
from node.demo.trace import Trace, TraceCall
from node.rpc.backend import Stage, TxStatus
from state.block import Outcome, Status
from state.codec import encode
from state.modules.futures.events import Cleared, Filled, Marked, Settled, StatusChanged
from state.modules.futures.records import Status as MarketStatus
from state.modules.inference.receipts import LaneTerms
from state.types import ZERO_HASH

# --- claims -------------------------------------------------------------------------------------

CLAIMS = Claims((4_000, 3_000, 0, 0), ((1, 20, 500), (2, 21, 2_500), (2, 22, 700)))


def test_the_floor_rises_by_what_falls_due() -> None:
    found = [CLAIMS.floor_ticks(height, 1_000) for height in (19, 20, 21, 22, 99)]
    assert found == [7, 7, 10, 10, 10]
    assert CLAIMS.floor_ticks(22, 100) == 107


def test_the_outlook_extends_known_buckets_over_the_window() -> None:
    assert CLAIMS.outlook_ticks(1) == 10_700 * 4 // 3
    assert Claims((0, 0), ()).outlook_ticks(1) is None
    assert Claims((5, 5), ()).outlook_ticks(1) == 10


# --- history ------------------------------------------------------------------------------------

ONE, TWO = b"1" * 20, b"2" * 20


def filled(owner: bytes, lots: int, fee: int) -> Filled:
    return Filled(1, owner, 0, b"i" * 32, 0, 21_000, lots, 0, fee)


def test_history_follows_mark_interest_fills_and_fees_of_each_market() -> None:
    blocks: list[tuple[int, list[Any]]] = [
        (5, [StatusChanged(1, MarketStatus.OPEN), Marked(2, 9, 0, 0, 0)]),
        (6, [Cleared(1, 21_000, 8, 0, 8), filled(ONE, 8, 3), filled(TWO, 8, -1)]),
        (7, []),
        (8, [Marked(1, 20_500, 700, 20_000, 8), filled(ONE, 2, 1), Marked(3, 1, 1, 1, 1)]),
        (9, [Settled(1, 19_000, 19_000_500, 10, 10)]),
    ]
    tale = told(blocks, {1: 20_000, 2: 7})[1]
    assert [m.height for m in tale.moments] == [5, 6, 7, 8, 9]
    assert [m.mark for m in tale.moments] == [20_000, 20_000, 20_000, 20_500, 19_000]
    assert [m.accrued for m in tale.moments] == [0, 0, 0, 700, 19_000]
    assert [m.open_interest_lots for m in tale.moments] == [0, 8, 8, 8, 0]
    assert [(m.traded_price, m.traded_lots) for m in tale.moments] == [
        (None, 0),
        (21_000, 8),
        (None, 0),
        (None, 0),
        (None, 0),
    ]
    assert tale.lots == {ONE: 10, TWO: 8}
    assert tale.fees == {ONE: 4, TWO: -1}
    assert tale.statuses == [(5, MarketStatus.OPEN)]


def test_events_come_back_from_their_bytes() -> None:
    event = Cleared(1, 21_000, 8, -3, 8)
    assert event_from(encode(event)) == event


# --- giving up ----------------------------------------------------------------------------------

TRACE = Trace("chat", tuple(TraceCall(n, 10, 0, 10) for n in range(24)), 1_000)
PLAN = DemoPlan((TRACE,), 1.0, payers=2, buckets=3)


def serving_of() -> Serving:
    cast = cast_of(PLAN)
    lanes = {
        ("chat", number): OpenLane(
            "chat",
            number,
            LaneTerms(bytes([number]) * 32, 0, b"m" * 32, 1, 1, ZERO_HASH, 0, 0),
            cast.sessions[number],
            cast.operators["chat"],
        )
        for number in range(2)
    }
    client: Any = None
    return Serving(client, cast, PLAN, lanes, Counter(b"g" * 32, 4, 0))


@pytest.mark.parametrize(("delay", "late"), [(0, False), (4, False), (5, True)])
async def test_claims_after_the_window_are_a_machine_too_slow(
    delay: int, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = Window(bucket_first=4, buckets=3, bucket_blocks=5)
    heights = Heights(window.height_stop)
    sent: list[int] = []

    async def perform(_: Any, __: str, sendings: list[Any]) -> list[TxStatus]:
        bucket = sendings[0][1][0].batch.bucket
        sent.append(bucket)
        return [TxStatus(ZERO_HASH, Stage.FINAL, 5 * bucket + delay, 0)] * len(sendings)

    monkeypatch.setattr(serving, "perform", perform)
    found = serving_of()
    if late:
        with pytest.raises(MachineTooSlow, match="smaller --speed"):
            await found.run(heights, window)
    else:
        await found.run(heights, window)
        assert found.served.claimed == {"chat": 24}
        assert found.served.claimed_by("chat", 20 + delay) == 8
    assert sent == [4, 5, 6]


def test_a_transaction_that_failed_names_its_step_and_reason() -> None:
    failed = Outcome(ZERO_HASH, Status.FAILED, "bank.insufficient_funds", "Too poor.", 1, 1, ())
    with pytest.raises(StepFailed, match=r"failed while paying: bank.insufficient_funds: Too poor"):
        require_ok("paying", TxStatus(ZERO_HASH, Stage.FINAL, 1, 0, failed))


def test_pace_is_whole_milliseconds_and_never_zero() -> None:
    assert interval_ms_of(60, 60) == 1_000
    assert interval_ms_of(0.01, 60) == 1
