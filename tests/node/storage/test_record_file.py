"""A file that may not tear: whatever a power cut leaves of a sync opens, all else is damage.

The disk is told here by pages: of those that a sync changed, any may have reached it when power
goes, and the file has its old size or its new one.
"""

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from node.guard_file import GUARD_FORM, GuardCorrupt
from node.storage import record_file
from node.storage.record_file import RecordFile, write_records

PAGE_BYTES = 4_096
HEAD_BYTES = 8
RECORD_BYTES = 169
"""What a vote takes in the guard."""

PAYLOAD_BYTES = RECORD_BYTES - HEAD_BYTES - 16


def vote(number: int) -> bytes:
    return bytes([number]) * PAYLOAD_BYTES


def begun(path: Path, left_bytes: int) -> list[bytes]:
    """Write a file that ends so many bytes before the edge of its first page."""
    sizes, rest = [], PAGE_BYTES - left_bytes
    while rest > 1_000:
        sizes.append(500)
        rest -= 500
    payloads = [b"x" * (size - HEAD_BYTES - 16) for size in (*sizes, rest)]
    write_records(path, payloads, GUARD_FORM)
    assert path.stat().st_size == PAGE_BYTES - left_bytes
    return payloads


class Disk:
    """What is durable after each wait for the disk, and what was written until the next one."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = path
        self._durable = path.read_bytes()
        self.waits: list[tuple[bytes, bytes]] = []
        monkeypatch.setattr(os, "fdatasync", self._wait)

    def _wait(self, _: int) -> None:
        written = self._path.read_bytes()
        self.waits.append((self._durable, written))
        self._durable = written

    def cuts(self) -> Iterator[bytes]:
        """Yield every file that power can leave when it goes while the disk is waited for."""
        for durable, written in self.waits:
            grown = durable + bytes(len(written) - len(durable))
            pages = range(len(durable) // PAGE_BYTES, -(-len(written) // PAGE_BYTES))
            for reached in product((False, True), repeat=len(pages)):
                left = bytearray(grown)
                for page, is_there in zip(pages, reached, strict=True):
                    of = slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
                    left[of] = (written if is_there else grown)[of]
                yield bytes(left)
                yield bytes(left[: len(durable)])


def held(path: Path, data: bytes) -> list[bytes]:
    path.write_bytes(data)
    file = RecordFile(path, GUARD_FORM)
    file.close()
    return file.payloads


LEFT = (1, 2, 4, 7, 8, 9, 100, 152, 153, 154, 168, 169, 170, 250, 337, 338, 339, 600)


@pytest.mark.parametrize("count", [1, 2, 3, 60])
@pytest.mark.parametrize("left_bytes", LEFT)
def test_whatever_a_power_cut_leaves_of_a_sync_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_bytes: int, count: int
) -> None:
    """Records that cross into a page, end at its edge, or whose head is split by it."""
    path = tmp_path / "guard"
    synced = begun(path, left_bytes)
    disk = Disk(path, monkeypatch)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    file = RecordFile(path, GUARD_FORM)
    for number in range(count):
        file.append(vote(number + 1))
    file.sync()
    file.close()
    everything = [*synced, *[vote(number + 1) for number in range(count)]]
    whole = path.read_bytes()
    for data in disk.cuts():
        found = held(path, data)
        assert len(found) >= len(synced) and found == everything[: len(found)]
    assert held(path, whole) == everything


def test_a_whole_record_is_kept_whose_end_beyond_the_edge_is_zero(tmp_path: Path) -> None:
    """One byte of its checksum lies there, which is zero in one record of 256."""
    path = tmp_path / "guard"
    found = 0
    for number in range(256):
        begun(path, RECORD_BYTES - 1)
        file = RecordFile(path, GUARD_FORM)
        file.append(vote(number))
        file.sync()
        file.close()
        whole = path.read_bytes()
        found += whole[PAGE_BYTES:] == b"\0"
        assert held(path, whole)[-1] == vote(number)
    assert found > 0


def test_only_a_sync_across_an_edge_waits_more_than_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "guard"
    begun(path, 2 * RECORD_BYTES + 10)
    disk = Disk(path, monkeypatch)
    file = RecordFile(path, GUARD_FORM)
    waits = []
    for number in range(6):
        file.append(vote(number))
        file.sync()
        waits.append(len(disk.waits))
    assert waits == [1, 2, 4, 5, 6, 7]
    file.close()


def lost(data: bytes, start: int, stop: int) -> bytes:
    return data[:start] + bytes(stop - start) + data[stop:]


def test_a_page_that_is_lost_after_its_sync_is_damage(tmp_path: Path) -> None:
    """What no power cut leaves is damage: only a last record may lack all of its last page."""
    path = tmp_path / "guard"
    begun(path, 100)
    file = RecordFile(path, GUARD_FORM)
    ends = []
    for number in (1, 2):
        file.append(vote(number))
        file.sync()
        ends.append(path.stat().st_size)
    file.close()
    whole = path.read_bytes()
    one = whole[: ends[0]]
    start = PAGE_BYTES - 100
    assert len(held(path, lost(one, PAGE_BYTES, len(one)))) == len(held(path, whole)) - 2
    for damaged in (
        lost(whole, PAGE_BYTES, len(whole)),  # another record came after it
        lost(whole, PAGE_BYTES, ends[0]),
        lost(one, start, PAGE_BYTES),  # its last page is there, so the one before was
        lost(one, PAGE_BYTES + 1, len(one)),  # less than a page is
        lost(one, PAGE_BYTES, len(one) - 1),
        lost(one, PAGE_BYTES, len(one)) + b"\0",  # the file is longer than its record
        lost(one, PAGE_BYTES, len(one))[:start] + b"\1" + one[start + 1 : PAGE_BYTES] + bytes(69),
    ):
        with pytest.raises(GuardCorrupt):
            held(path, damaged)
    assert record_file.PAGE_BYTES == PAGE_BYTES
