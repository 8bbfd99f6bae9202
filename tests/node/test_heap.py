"""The heap: gaps between what stays go back to the system, and other systems do not mind."""

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node import heap, rooms

GAPS = """
import ctypes
from node import heap

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


def taken_mb():
    pages, of_files = map(int, open("/proc/self/statm").read().split()[1:3])
    return (pages - of_files) * 4096 / 1e6


assert heap.settle()
began = taken_mb()
pieces = [libc.malloc(4096) for _ in range(8_192)]
for piece in pieces:
    ctypes.memset(piece, 1, 4096)
full = taken_mb()
for at, piece in enumerate(pieces):
    if at % 64:
        libc.free(piece)  # what stays lies between what goes, and above it
gaps = taken_mb()
assert heap.trim()
print(full - began, gaps - began, taken_mb() - began)
"""


def test_gaps_between_what_stays_are_given_back() -> None:
    root = Path(rooms.__file__).resolve().parents[1]
    shown = subprocess.run(
        [sys.executable, "-P", "-c", GAPS],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    full, gaps, left = [float(word) for word in shown.stdout.split()]
    assert full > 30
    assert gaps > 25, "nothing comes back by itself: what stays is in the way"
    assert left < 5


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        pass

    def opened(_name: Any) -> Other:
        return Other()

    monkeypatch.setattr(ctypes, "CDLL", opened)
    assert (heap.settle(), heap.trim()) == (False, False)
