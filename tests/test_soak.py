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
    0,
    0,
    10**7,
    10**6,
    10**5,
    500,
    5 * 10**6,
    {"state": 9 * 10**6},
)
PROCESS = Footprint(0.0, 60 * 10**6, 50 * 10**6, 12)


def run_of(
    *,
    mb_per_s: float = 0.0,
    mapped_per_s: int = 0,
    handles_per_s: float = 0.0,
    unexplained: int = 0,
    log: int = 0,
    cached: int = 0,
) -> list[Sample]:
    """A run of ten minutes, ten transactions and a kilobyte of state each a second."""
    return [
        replace(
            NODE,
            seconds=float(second),
            # a cache fills in the first minutes, which is nobody's leak
            rss_bytes=NODE.rss_bytes + mapped_per_s * second,
            anonymous_bytes=NODE.anonymous_bytes
            + int((mb_per_s * second + min(second, 120) / 4) * MB),
            handles=NODE.handles + int(handles_per_s * second) + second // 5 % 2,
            height=5 * second,
            transactions=10 * second,
            data_bytes=NODE.data_bytes + 10_000 * second + unexplained,
            log_bytes=NODE.log_bytes + log * second,
            database_memory_bytes=NODE.database_memory_bytes + cached * second,
            parts={"state": 9 * 10**6 + 10_000 * second},
        )
        for second in range(0, 600, 5)
    ]


def taken(**more: Any) -> Taken:
    nodes = {0: run_of(), 1: run_of(**more)}
    traffic = [replace(PROCESS, seconds=float(second)) for second in range(0, 600, 5)]
    return Taken(
        nodes, traffic, [soak.summed(found) for found in zip(*nodes.values(), traffic, strict=True)]
    )


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
    ],
)
def test_what_grows_without_a_reason_is_found(leak: dict[str, Any], broken: str) -> None:
    report = soak.reported(taken(**leak), 600)
    held = report["processes"]["node_1"]["held"]
    assert [name for name, holds in held.items() if not holds] == [broken]
    assert all(report["processes"]["node_0"]["held"].values())
    assert report["held"] == {"handles_flat": True}
    assert not report["bar_met"]


def test_handles_are_counted_over_all_processes() -> None:
    leaking = soak.reported(taken(handles_per_s=0.1), 600)
    assert not leaking["bar_met"] and leaking["held"] == {"handles_flat": False}
    one, other = run_of(), run_of()
    for at, sample in enumerate(one):  # the connections of a client that changes its node
        is_later = at > len(one) // 2
        one[at] = replace(sample, handles=sample.handles + 20 * is_later)
        other[at] = replace(other[at], handles=other[at].handles + 20 * (not is_later))
    traffic = taken().traffic
    whole = [soak.summed(found) for found in zip(one, other, traffic, strict=True)]
    assert soak.reported(Taken({0: one, 1: other}, traffic, whole), 600)["bar_met"]


def test_a_run_without_a_verdict_on_everything_does_not_hold() -> None:
    whole = taken()
    assert not soak.reported(Taken(whole.nodes, [], whole.whole), 600)["bar_met"]
    assert not soak.reported(Taken(whole.nodes, whole.traffic, []), 600)["bar_met"]
    short = {0: whole.nodes[0], 1: whole.nodes[1][: soak.SAMPLES_MIN - 1]}
    assert not soak.reported(Taken(short, whole.traffic, whole.whole), 600)["bar_met"]
    assert not soak.reported(Taken({0: [], 1: []}, [], []), 600)["bar_met"]


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
