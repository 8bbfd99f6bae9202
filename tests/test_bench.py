"""What the scripts in bench/ say of their figures."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench import load, matching, network
from bench.claims import BAR_MS, BAR_RATIO, judged
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
