"""Final blocks, justifications and ends of epochs for peers, out of the store: so many a step."""

from collections.abc import Callable

from consensus.effects import ServeBlocks, ServeBoundary, ServeJustify
from consensus.inputs import Peer
from consensus.messages import BlockReply, JustifyReply, Message
from node.storage.chain_store import ChainStore

SERVED_BYTES_MAX = 2**24
"""Final blocks and justifications served in one step; whoever asks for more asks again."""
SERVED_MAX = 64
"""Requests for stored things that are answered in one step."""

Serve = ServeBlocks | ServeBoundary | ServeJustify


class Serving:
    """The answers of one step; `send` hands them to a peer."""

    def __init__(self, store: ChainStore, send: Callable[[Peer, Message], None]) -> None:
        self._store = store
        self._send = send
        self._count = 0
        self._budget_bytes = SERVED_BYTES_MAX

    def answer(self, effect: Serve) -> None:
        """Answer a request if this step has room for one more."""
        self._count += 1
        if self._count <= SERVED_MAX:
            self._budget_bytes -= self._answered(effect)

    def _answered(self, effect: Serve) -> int:
        """Answer from the store, unless the budget is spent; return the bytes that were read."""
        finality = self._store.finality
        match effect:
            case ServeBlocks(to, block_id, count) if self._budget_bytes > 0:
                blocks, size = self._store.blocks_from(block_id, count, self._budget_bytes)
                if blocks:
                    self._send(to, BlockReply(blocks))
                return size
            case ServeBoundary(to, epoch):
                boundary = finality.boundary(epoch + 1)
                if boundary is not None and boundary.finalization is not None:
                    self._send(to, boundary.finalization)
            case ServeJustify(to, digest) if self._budget_bytes > 0:
                justify, size = finality.sized_justify(digest)
                if justify is not None:
                    self._send(to, JustifyReply(justify))
                return size
        return 0
