"""File handles: how many this process may have, and how many of them clients may take.

A database that cannot open a file stops the node. So the soft limit is raised as far as the system
allows, and where that is little, clients get what is left over.
"""

import resource
from typing import Final

from node.storage.kv import OPEN_FILES_MAX
from p2p.gate import PENDING_MAX

WANTED: Final = 65_536
"""More than a node can use."""
KEPT: Final = OPEN_FILES_MAX + PENDING_MAX + 320
"""For the database, strangers' handshakes, peers in their seats, and files of the node's own."""
CLIENTS_MIN: Final = 32
"""Clients are served even where there is little."""


def raise_limit() -> int:
    """Raise the limit of this process as far as it may be raised, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < WANTED:
        most = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
        soft = max(soft, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return WANTED if soft == resource.RLIM_INFINITY else soft


def for_clients(limit: int, wanted: int) -> int:
    """Return how many connections clients may have: what is wanted, or what the limit leaves."""
    return max(CLIENTS_MIN, min(wanted, limit - KEPT))
