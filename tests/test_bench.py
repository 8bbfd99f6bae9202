"""What the scripts in bench/ say of their figures."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from bench import hostile, load, matching, network
from bench.claims import BAR_MS, BAR_RATIO, judged
from bench.measure import report
from state.modules.all import MESSAGES
from state.transaction import TransactionDecoder


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


def run_network(monkeypatch: pytest.MonkeyPatch, is_met: bool) -> None:
    async def found(*_: Any) -> dict[str, Any]:
        return {"bars_met": {"lost": True, "tx_per_s": is_met}}

    monkeypatch.setattr(network, "run", found)
    network.main()


def run_hostile(monkeypatch: pytest.MonkeyPatch, is_met: bool) -> None:
    async def worst(*_: Any) -> int:
        return hostile.RSS_MB_MAX + (not is_met)

    monkeypatch.setattr(hostile, "_run", worst)
    hostile.main()


def run_matching(monkeypatch: pytest.MonkeyPatch, is_met: bool) -> None:
    monkeypatch.setattr(matching, "book", lambda *_: [])
    monkeypatch.setattr(
        matching, "measure", lambda *_: {"orders_per_s": matching.BAR - (not is_met)}
    )
    matching.main()


def run_report(_: pytest.MonkeyPatch, is_met: bool) -> None:
    report("any", {}, is_met)


@pytest.mark.parametrize("run", [run_network, run_hostile, run_matching, run_report])
def test_a_missed_bar_is_an_exit_code(
    run: Callable[[pytest.MonkeyPatch, bool], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench"])
    run(monkeypatch, True)
    assert "true" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, False)
    assert ended.value.code == 1
    assert "false" in capsys.readouterr().out, "the figures are told first"


async def test_what_the_warm_up_lost_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = network.Run.__new__(network.Run)
    measured._given = argparse.Namespace(mode="sustained", seconds=1.0)
    found = iter([{"tx_per_s": 1.0, "lost": 3}, {"tx_per_s": 1.0, "lost": 0}])

    async def full(*_: float) -> dict[str, Any]:
        return next(found)

    monkeypatch.setattr(measured, "_full", full)
    assert (await measured._sustained())["lost"] == 3


class Fed(load.Load):
    """A load whose feed of blocks opens or not, and ends by itself or tells of no block."""

    def __init__(self, *, is_open: bool = True, is_over: bool = False) -> None:
        super().__init__(["http://127.0.0.1:9"])
        self.is_open, self.is_over = is_open, is_over

    async def _follow(self, opened: asyncio.Event) -> None:
        if self.is_open:
            opened.set()
        if self.is_over:
            await asyncio.sleep(0.05)
            raise ConnectionError("The node went away.")
        await asyncio.sleep(60)


async def run_load(one: Fed, seconds: float, wait: Callable[[load.Load], Any]) -> None:
    async with asyncio.timeout(seconds), one:
        one._waiting = [10_000]
        one._sent["a"] = (0.0, 0)
        await wait(one)


def full(one: load.Load) -> Any:
    batch = load.Batch(b"", ())
    return one.keep_full([repeat(batch)], 1_000, time.perf_counter() + 0.3)


async def test_a_load_ends_in_time_though_no_block_comes() -> None:
    await run_load(Fed(), 5, full)


@pytest.mark.parametrize("wait", [full, load.Load.drained])
async def test_a_load_fails_with_its_feed_of_blocks(wait: Callable[[load.Load], Any]) -> None:
    with pytest.raises(ConnectionError):
        await run_load(Fed(is_over=True), 5, wait)


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_load_whose_feed_does_not_open_fails(
    is_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "OPEN_SECONDS_MAX", 0.3, raising=False)
    with pytest.raises(ConnectionError if is_over else load.NoBlocks):
        await run_load(Fed(is_open=False, is_over=is_over), 5, full)


def test_transfers_of_one_request_have_a_sender_each_and_nonces_leave_no_gap() -> None:
    genesis_hash = b"\x01" * 32
    stock = load.Stock(4, genesis_hash)
    stock.add(load.SENDERS, 100)
    stock.add(1, 100)
    decoder = TransactionDecoder(MESSAGES, genesis_hash)
    nonces: dict[bytes, list[int]] = {}
    for batches in stock.batches:
        for batch in batches:
            wires = [bytes.fromhex(call["params"]["wire"]) for call in json.loads(batch.body)]
            sent = [decoder.decode(wire, bytes_max=1_000) for wire in wires]
            assert len({transaction.body.account for transaction in sent}) == load.BATCH
            assert tuple(transaction.id.hex() for transaction in sent) == batch.tx_ids
            for transaction in sent:
                nonces.setdefault(transaction.body.account, []).append(transaction.body.nonce)
    assert len(nonces) == load.SENDERS
    assert all(seen == [1, 2] for seen in nonces.values())


def test_percentiles_are_of_the_nearest_rank() -> None:
    seconds = [number / 1_000 for number in range(1, 101)]
    assert [network.percentile_ms(seconds, percent) for percent in (1, 50, 99)] == [1, 50, 99]
    assert network.percentile_ms([0.25], 50) == 250
    assert network.percentile_ms([], 50) is None


def figures_of(**more: Any) -> dict[str, Any]:
    plain = {"lost": 0, "refused": {}, "rss_mb_max": 100.0, "tx_per_s": 10_000.0}
    return {**plain, "finality_ms_p50": 5.0, "finality_ms_p99": 9.0, **more}


def test_a_network_is_judged_by_the_bars_of_its_mode() -> None:
    given = argparse.Namespace(validators=4, mode="half")
    half = {"finality_ms_p50": 600, "finality_ms_p99": 1_501, **half_rates(90.0)}
    met = network.bars(given, figures_of(half_load=half))
    assert met.pop("half_p99") is False
    assert all(met.values())
    met = network.bars(given, figures_of(tx_per_s=1_999.0, lost=1))
    assert (met["tx_per_s"], met["lost"]) == (False, False)
    given = argparse.Namespace(validators=1, mode="single")
    assert network.bars(given, figures_of(finality_ms_p50=10.1))["finality"] is False
    assert network.bars(given, figures_of(finality_ms_p50=None))["finality"] is False


def half_rates(tx_per_s: float) -> dict[str, float]:
    return {"asked_per_s": 100.0, "tx_per_s": tx_per_s}


def test_a_network_that_does_nothing_meets_no_bar_of_doing_it() -> None:
    given = argparse.Namespace(validators=7, mode="half")
    quick = {"finality_ms_p50": 1.0, "finality_ms_p99": 1.0, **half_rates(89.0)}
    met = network.bars(given, figures_of(tx_per_s=0.0, half_load=quick))
    assert [name for name, holds in met.items() if not holds] == ["final", "half_rate"]


def test_finality_is_of_all_that_were_sent() -> None:
    finals = load.Finals(at=[1.0, 2.0, 9.0], seconds=[0.5, 0.5, 7.5])
    assert finals.within(0.0, 3.0) == [0.5, 0.5]
    assert finals.sent_within(0.0, 3.0) == [0.5, 0.5, 7.5]
    assert finals.sent_within(1.0, 3.0) == [0.5, 7.5]


def test_a_network_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(network, "WARM_SECONDS", 0.5)
    monkeypatch.setattr(network, "RAMP_SECONDS", 0.1)
    monkeypatch.setattr(network, "FIRST_STOCK_PER_S", 20_000)
    monkeypatch.setattr(network, "LIMIT_ITEMS", 10)
    given = argparse.Namespace(validators=1, mode="half", seconds=1.0, in_flight=256, block_time=20)
    figures = asyncio.run(network.run(given, tmp_path))
    assert figures["tx_per_s"] > 0
    assert figures["half_load"]["finality_ms_p50"] > 0
    assert figures["half_load"]["lost"] == 0
    assert (figures["lost"], figures["refused"]) == (0, {})
    assert figures["cpu_seconds"].keys() == {"node_0", "client"}
    assert figures["cpu_us_per_tx_and_node"] > 0
    assert 0 < figures["machine_share"] <= 1
    assert figures["verify_limit_ratio"] > 0
