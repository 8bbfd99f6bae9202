"""The heap below Python: what the C library holds and nobody uses goes back to the system.

The database fills and frees tables of 8 MiB in small pieces, between allocations that stay, in as
many arenas as there are threads. Left alone, the gaps grow for hours, and with them what the
process takes, while what it uses stays the same. One arena is enough: Python's own small objects
lie elsewhere, and threads that verify or hash allocate nothing. What is long is mapped by itself,
and gone once it is freed; glibc would map ever less of it. Only glibc needs, and has, these calls
(mallopt(3), malloc_trim(3)); elsewhere nothing happens.
"""

import ctypes
from typing import Final

M_ARENA_MAX: Final = -8
M_MMAP_THRESHOLD: Final = -3
ARENAS: Final = 1
MAPPED_BYTES_MIN: Final = 2**17


def settle() -> bool:
    """Hold the C library to one arena, before threads begin; tell whether it took it."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, MAPPED_BYTES_MIN))
    return mallopt is not None and all(mallopt(*one) == 1 for one in wanted)


def trim() -> bool:
    """Give unused pages back, within a few milliseconds; tell whether there were any."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return malloc_trim is not None and malloc_trim(0) == 1
