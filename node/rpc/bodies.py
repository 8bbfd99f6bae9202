"""Bodies that are being read over HTTP: their bytes are bounded, for each address and for all.

A body is counted before it is read, with what it announces, or with all it may have; what is not
read stays in the buffers of the system. Small ones are not counted: connections bound them.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from node.rpc.errors import LimitExceeded
from node.rpc.limits import RpcLimits

SMALL_BYTES = 2**16
"""What a connection may buffer before anybody reads it."""


class Bodies:
    """The bytes of all bodies that are being read, and whose they are."""

    def __init__(self, limits: RpcLimits) -> None:
        self._limits = limits
        self._held: Counter[str | None] = Counter()
        self.held_bytes = 0

    @contextmanager
    def read(self, holder: str | None, announced_bytes: int | None) -> Iterator[None]:
        """Count a body while it is read; a holder of None has no share to keep to.

        Raises LimitExceeded where there is no room.
        """
        limits = self._limits
        size = limits.body_bytes_max if announced_bytes is None else announced_bytes
        if size <= SMALL_BYTES:
            yield
            return
        if self.held_bytes + size > limits.bodies_bytes_total_max or (
            holder is not None and self._held[holder] + size > limits.bodies_bytes_per_address_max
        ):
            raise LimitExceeded("Too many large bodies are on their way; send this one later.")
        self.held_bytes += size
        self._held[holder] += size
        try:
            yield
        finally:
            self.held_bytes -= size
            self._held[holder] -= size
            if not self._held[holder]:
                del self._held[holder]
