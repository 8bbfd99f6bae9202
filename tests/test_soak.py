"""What a soak makes of its samples, and that it takes them from a devnet that runs."""

import argparse
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import soak
from bench.soak import MB, Footprint, Sample, Taken
from node.devnet.errors import DevnetMissing
from node.devnet.state_file import read_state

SECONDS_MAX = 60.0

NODE = Sample(
    0.0,
    130 * 10**6,
    100 * 10**6,
    30,
    (101,),
    0,
    0,
    10**7,
    10**6,
    10**5,
    500,
    5 * 10**6,
    2 * 10**6,
    {"state": 9 * 10**6},
)
PROCESS = Footprint(0.0, 60 * 10**6, 50 * 10**6, 12, (100,))


def run_of(
    *,
    mb_per_s: float = 0.0,
    mapped_per_s: int = 0,
    handles_per_s: float = 0.0,
    unexplained: int = 0,
    log: int = 0,
    cached: int = 0,
    tree: int = 0,
    last_block_at: int = 600,
    last_transaction_at: int = 600,
    dies_at: int = 600,
) -> list[Sample]:
    """A run of ten minutes, ten transactions and a kilobyte of state each a second."""
    return [
        replace(
            NODE,
            seconds=float(second),
            # a cache fills in the first minutes, which is nobody's leak
            rss_bytes=NODE.rss_bytes + mapped_per_s * second,
            anonymous_bytes=NODE.anonymous_bytes
            + int((mb_per_s * second + min(second, 120) / 4) * MB)
            + tree * second,
            handles=NODE.handles + int(handles_per_s * second) + second // 5 % 2,
            pids=(101 + (second >= dies_at),),
            height=5 * min(second, last_block_at),
            transactions=10 * min(second, last_transaction_at),
            data_bytes=NODE.data_bytes + 10_000 * second + unexplained,
            log_bytes=NODE.log_bytes + log * second,
            database_memory_bytes=NODE.database_memory_bytes + cached * second,
            tree_memory_bytes=NODE.tree_memory_bytes + tree * second,
            parts={"state": 9 * 10**6 + 10_000 * second},
        )
        for second in range(0, 600, 5)
    ]


def taken(**more: Any) -> Taken:
    nodes = {0: run_of(), 1: run_of(**more)}
    traffic = [replace(PROCESS, seconds=float(second)) for second in range(0, 600, 5)]
    whole = [soak.summed(found) for found in zip(*nodes.values(), traffic, strict=True)]
    return Taken(nodes, traffic, whole, len(whole))


def test_a_steady_run_holds_and_its_disk_is_told_by_transaction() -> None:
    report = soak.reported(taken(), 600)
    assert report["bar_met"]
    node = report["processes"]["node_1"]
    assert (node["rss_mb_per_hour"], node["handles"]) == (0.0, NODE.handles + 1)
    assert (node["tx_per_s"], node["stored_bytes_per_tx"]) == (10.0, 1_000)
    assert node["part_bytes_per_tx"] == {"state": 1_000}
    assert node["stored_mb_per_hour"] == 36.0
    assert report["processes"]["traffic"]["rss_mb"] == 60.0
    mapped = soak.reported(taken(mapped_per_s=10**5), 600)
    assert mapped["bar_met"], "pages of the database's files are the system's"
    assert mapped["processes"]["node_1"]["rss_mb_per_hour"] == 360.0


@pytest.mark.parametrize(
    ("leak", "broken"),
    [
        ({"mb_per_s": 0.1}, "memory_flat"),
        ({"unexplained": 10**8}, "database_explained"),
        ({"log": 1_000}, "log_quiet"),
        ({"cached": 10**5}, "database_memory_bounded"),
        ({"tree": 2 * 10**5}, "tree_memory_bounded"),
        ({"last_block_at": 0}, "blocks_go_on"),
        ({"last_block_at": 500}, "blocks_go_on"),
        ({"last_transaction_at": 0}, "transactions_go_on"),
        ({"last_transaction_at": 500}, "transactions_go_on"),
        ({"dies_at": 10}, "never_restarted"),
        ({"dies_at": 400}, "never_restarted"),
    ],
)
def test_what_grows_without_a_reason_is_found(leak: dict[str, Any], broken: str) -> None:
    report = soak.reported(taken(**leak), 600)
    held = report["processes"]["node_1"]["held"]
    assert [name for name, holds in held.items() if not holds] == [broken]
    assert all(report["processes"]["node_0"]["held"].values())
    assert report["held"] == {"handles_flat": True, "answered": True}
    assert not report["bar_met"]


def test_the_cached_tree_is_no_leak_and_hides_none() -> None:
    """It grows by 24 MB here, far below its bound."""
    explained = soak.reported(taken(tree=40_000), 600)
    assert explained["bar_met"]
    node = explained["processes"]["node_1"]
    assert (node["anonymous_mb_per_hour"], node["own_mb_per_hour"]) == (144.0, 0.0)
    assert node["tree_memory_mb"] == 25.8
    leaking = soak.reported(taken(tree=40_000, mb_per_s=0.02), 600)
    held = leaking["processes"]["node_1"]["held"]
    assert [name for name, holds in held.items() if not holds] == ["memory_flat"]


def test_handles_are_counted_over_all_processes() -> None:
    leaking = soak.reported(taken(handles_per_s=0.1), 600)
    assert not leaking["bar_met"] and not leaking["held"]["handles_flat"]
    one, other = run_of(), run_of()
    for at, sample in enumerate(one):  # the connections of a client that changes its node
        is_later = at > len(one) // 2
        one[at] = replace(sample, handles=sample.handles + 20 * is_later)
        other[at] = replace(other[at], handles=other[at].handles + 20 * (not is_later))
    traffic = taken().traffic
    whole = [soak.summed(found) for found in zip(one, other, traffic, strict=True)]
    assert soak.reported(Taken({0: one, 1: other}, traffic, whole, len(whole)), 600)["bar_met"]


def test_a_run_without_a_verdict_on_everything_does_not_hold() -> None:
    whole = taken()
    short = {0: whole.nodes[0], 1: whole.nodes[1][: soak.SAMPLES_MIN - 1]}
    for nodes, traffic, sums in (
        (whole.nodes, [], whole.whole),
        (whole.nodes, whole.traffic, []),
        (short, whole.traffic, whole.whole),
        ({0: [], 1: []}, [], []),
    ):
        assert not soak.reported(Taken(nodes, traffic, sums, len(sums)), 600)["bar_met"]


@pytest.mark.parametrize(("looks", "holds"), [(120, True), (133, True), (134, False), (900, False)])
def test_who_answers_now_and_then_only_is_not_judged_by_that(looks: int, holds: bool) -> None:
    whole = taken()
    assert len(whole.whole) == 120
    whole.looks = looks
    report = soak.reported(whole, 600)
    assert (report["bar_met"], report["held"]["answered"]) == (holds, holds)


def test_a_short_stand_is_no_end() -> None:
    samples = [replace(NODE, seconds=float(at), height=max(at, 20) // 10) for at in range(50)]
    assert soak.stood_seconds(samples, "height") == 29.0
    assert soak.goes_on(samples, "height")
    assert not soak.goes_on(samples[:20], "height"), "it did not rise at all"


def test_samples_come_from_a_devnet_that_runs(tmp_path: Path) -> None:
    folder = tmp_path / "devnet"
    given = argparse.Namespace(validators=1, transfers=20.0, block_time=50)
    began = time.monotonic()
    samples: list[Sample] = []
    with soak.devnet(folder, given):
        while len(samples) < 2:
            assert time.monotonic() < began + SECONDS_MAX, "the node does not answer"
            time.sleep(0.2)
            with suppress(DevnetMissing):
                state = read_state(folder)
                found = [soak.take(node, began) for node in state.nodes]
                samples += [one for one in found if one is not None]
        assert state.traffic is not None
        assert soak.footprint(state.traffic.pid, began).rss_bytes > 10 * MB
    last = samples[-1]
    assert last.rss_bytes > 10 * MB and last.handles > 5
    assert last.height > 1 and last.seconds > 0
    assert last.data_bytes > 0 and last.journal_bytes > 0 and last.guard_bytes > 0
    assert {"state", "bodies", "certificates"} <= {*last.parts}
    soak.draw({0: samples}, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
