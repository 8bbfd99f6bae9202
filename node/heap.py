"""The heap below Python: what the C library holds and nobody uses goes back to the system.

The database fills and frees tables of 8 MiB in small pieces, between allocations that stay, in as
many arenas as there are threads. Left alone, the gaps grow for hours, and with them what the
process takes, while what it uses stays the same. Two arenas are enough for what runs at a time.
Only glibc needs, and has, these calls (mallopt(3), malloc_trim(3)); elsewhere nothing happens.
"""

import ctypes
from typing import Final

M_ARENA_MAX: Final = -8
ARENAS: Final = 2


def settle() -> bool:
    """Hold the C library to a few arenas, before threads begin; tell whether it took it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(M_ARENA_MAX, ARENAS) == 1


def trim() -> bool:
    """Give unused pages back, within a few milliseconds; tell whether there were any."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return malloc_trim is not None and malloc_trim(0) == 1
