"""State sync: how an empty home begins with a snapshot that its peers have, or falls back.

It runs before the node does, over a network of its own: there is nothing yet to vote on, to serve
or to tell. Whatever goes wrong, the node begins with genesis and fetches blocks instead.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.history_settings import HistorySettings
from node.snapshot.errors import SnapshotError
from node.snapshot.fetch import Fetch
from node.snapshot.folder import SnapshotFolder
from node.snapshot.progress import StateSync
from node.snapshot.sources import Sources
from node.snapshot.walk import read_checkpoint
from p2p.interface import Delivery, Network, Request
from p2p.scores import Verdict
from state.genesis import Genesis

POLL_SECONDS: Final = 0.2
SETTLE_MS: Final = 3_000
"""After the first answer others get so long to offer something newer, or anything at all."""
TRIES_MAX: Final = 16
"""Snapshots that are tried: one may be removed meanwhile, another never have been there."""

log = logging.getLogger("sahara.statesync")


class Silent:
    """A handler for a node that does not run yet: it takes note of nothing and refuses all."""

    def on_message(self, delivery: Delivery) -> None:
        """Settle without a word: what others say is for a node that runs."""
        delivery.settle(Verdict.DUPLICATE)

    def on_request(self, request: Request) -> None:
        """Refuse: there is nothing here yet."""
        request.refuse("sync.not_here")

    def on_peer_up(self, peer_id: bytes) -> None:
        """Do nothing: who is there is asked of the network."""

    def on_peer_down(self, peer_id: bytes, code: str) -> None:
        """Do nothing, as above."""


async def fetch_newest(
    network: Network,
    genesis: Genesis,
    config: HistorySettings,
    folder: Path,
    clock: Clock,
    progress: StateSync,
    *,
    above: int = 0,
) -> SnapshotFolder | None:
    """Return the newest snapshot of the connected peers, whole and checked; None to fall back.

    It is of a height above what the node has.
    """
    sources = Sources(network)
    fetch = Fetch(
        sources,
        genesis,
        read_checkpoint(config.state_sync_trust),
        folder,
        config.state_sync_age_blocks_max,
        progress,
        above,
    )
    failed: set[bytes] = set()
    reason = "no peer has one"
    for _ in range(TRIES_MAX):
        progress.enter("asks")
        crown_id = await _choose(sources, failed, config.state_sync_wait_ms, clock, above)
        if crown_id is None:
            break
        try:
            return await fetch.run(crown_id)
        except SnapshotError as error:
            reason = error.sentence
            failed.add(crown_id)
            sources.forget_offers()
            log.warning("snapshot not used", extra={"code": error.code, "reason": reason})
    log.warning("no snapshot: fetching blocks instead", extra={"reason": reason})
    return None


async def _choose(
    sources: Sources, failed: set[bytes], wait_ms: int, clock: Clock, above: int
) -> bytes | None:
    """Return the newest crown that is offered, once those who are connected had time to answer."""
    start_ms = clock.now_ms()
    answered_ms: int | None = None
    while True:
        await asyncio.gather(*[sources.ask_offers(peer_id) for peer_id in sources.unasked])
        now_ms = clock.now_ms()
        if answered_ms is None and sources.usable() and not sources.unasked:
            answered_ms = now_ms
        offered = [
            offer for offer in sources.offers() if offer[1] not in failed and offer[0] > above
        ]
        is_settled = answered_ms is not None and now_ms >= answered_ms + SETTLE_MS
        if offered and (is_settled or len(sources.having(max(offered)[1])) > 1):
            return max(offered)[1]
        if is_settled or now_ms >= start_ms + wait_ms:
            return max(offered)[1] if offered else None
        await asyncio.sleep(POLL_SECONDS)
