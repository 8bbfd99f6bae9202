"""The forgetful disk: what was synced stays, and of the rest a beginning that can be read."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.sim.disk import DiskFaults, PowerFailed, SimulatedFile


def file(seed: int = 1, probability: float = 0.0) -> SimulatedFile:
    return SimulatedFile(DiskFaults(Random(seed), probability))


@given(
    st.integers(0, 2**32),
    st.lists(st.binary(min_size=1, max_size=20), max_size=8),
    st.lists(st.binary(min_size=1, max_size=20), max_size=8),
    st.booleans(),
)
def test_a_crash_keeps_what_was_synced_and_a_beginning_of_the_rest(
    seed: int, synced: list[bytes], pending: list[bytes], corrupt: bool
) -> None:
    disk = file(seed)
    for payload in synced:
        disk.append(payload)
    disk.sync()
    for payload in pending:
        disk.append(payload)
    disk.crash(corrupt)
    found = disk.read()
    assert found[: len(synced)] == synced
    assert found == (synced + pending)[: len(found)]
    disk.append(b"after")
    disk.sync()
    assert disk.read() == [*found, b"after"]


def test_pending_records_are_lost_by_some_crashes_and_survive_others() -> None:
    kept = set()
    for seed in range(30):
        disk = file(seed)
        for payload in (b"a", b"b"):
            disk.append(payload)
        disk.crash(corrupt=True)
        kept.add(len(disk.read()))
    assert kept == {0, 1, 2}


def test_power_fails_while_syncing_as_often_as_asked() -> None:
    disk = file(probability=1.0)
    disk.append(b"vote")
    with pytest.raises(PowerFailed):
        disk.sync()
    assert not disk.is_synced
    disk.faults.enabled = False
    disk.sync()
    assert disk.is_synced


def test_sizes_are_those_of_the_records() -> None:
    disk = file()
    disk.append(b"1234")
    assert disk.size_bytes == 12
    disk.rewrite([b"12", b""])
    assert disk.size_bytes == 18
    assert disk.read() == [b"12", b""]
