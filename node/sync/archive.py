"""What a node serves of its final blocks: finalizations, headers, ranges of blocks, links.

Every function reads the database alone, so that it may run in a thread beside the event loop.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from node.storage.chain_store import ChainStore
from node.sync.messages import (
    RANGE_BYTES_MAX,
    BlocksAnswer,
    BlocksRequest,
    FinalAnswer,
    FinalRequest,
    HeadersAnswer,
    HeadersRequest,
    LinkAnswer,
    LinkRequest,
)
from node.sync.server import Handler
from state.errors import NotFound
from state.finality import Header

BACK_MAX: Final = 64
"""So far below the head a block with a finalization of its own is looked for."""


def chain_handlers(store: ChainStore) -> Mapping[type[Any], Handler]:
    """Return what serves the blocks of a store, by the kind of request."""
    return {
        FinalRequest: partial(final_of, store),
        HeadersRequest: partial(headers_of, store),
        BlocksRequest: partial(blocks_of, store),
        LinkRequest: partial(link_of, store),
    }


def final_of(store: ChainStore, asked: FinalRequest) -> FinalAnswer | None:
    """Return the finalization that ended an epoch or, while it goes on, the highest one held."""
    boundary = store.finality.boundary(asked.epoch + 1)
    if boundary is not None and boundary.finalization is not None:
        return FinalAnswer(boundary.header, boundary.finalization)
    head = store.head
    if head is None or head.header.epoch != asked.epoch:
        return None
    for height in range(head.header.height, max(0, head.header.height - BACK_MAX), -1):
        row = store.header(height)
        if row.header.epoch != asked.epoch:
            return None
        if row.finalization is not None:
            return FinalAnswer(row.header, row.finalization)
    return None


def headers_of(store: ChainStore, asked: HeadersRequest) -> HeadersAnswer | None:
    """Return a final header and ancestors of its epoch."""
    height = store.finality.height_of(asked.block_id)
    found: list[Header] = []
    while height and len(found) < asked.count:
        try:
            header = store.header(height).header
        except NotFound:
            break
        if found and header.epoch != found[0].epoch:
            break
        found.append(header)
        height -= 1
    return HeadersAnswer(tuple(found)) if found else None


def blocks_of(store: ChainStore, asked: BlocksRequest) -> BlocksAnswer | None:
    """Return final blocks from a height upwards, and the highest finalization of one of them."""
    blocks = store.blocks_upwards(asked.height, asked.count, RANGE_BYTES_MAX)
    if not blocks:
        return None
    for block in reversed(blocks):
        finalization = store.header(block.header.height).finalization
        if finalization is not None:
            return BlocksAnswer(blocks, finalization)
    return BlocksAnswer(blocks, None)


def link_of(store: ChainStore, asked: LinkRequest) -> LinkAnswer | None:
    """Return a justification that is kept."""
    justify = store.finality.stored_justify(asked.justify_hash)
    return None if justify is None else LinkAnswer(justify)
