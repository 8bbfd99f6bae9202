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
from node.snapshot.errors import SnapshotError, SnapshotFailed
from node.snapshot.fetch import Alone, Fetch, Stale, TooSlow
from node.snapshot.folder import SnapshotFolder, remove_drafts
from node.snapshot.form import Offer
from node.snapshot.progress import StateSync
from node.snapshot.sources import Sources
from node.snapshot.walk import read_checkpoint
from p2p.interface import Delivery, Network, Request
from p2p.scores import Verdict
from state.genesis import Genesis

POLL_SECONDS: Final = 0.2
SETTLE_MS: Final = 3_000
"""After the first answer others get so long to offer something newer, or anything at all."""
TRIES_MAX: Final = 64
"""Snapshots that are tried: one may be removed meanwhile, another never have been there.

Each that comes to nothing puts its giver behind all the others, so it takes many strangers to use
them up.
"""

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
    )
    try:
        found = await _fetch_best(sources, fetch, config.state_sync_wait_ms, clock, progress, above)
    finally:
        fetch.close()
    if found is not None:
        remove_drafts(folder)
    return found


async def _fetch_best(
    sources: Sources,
    fetch: Fetch,
    wait_ms: int,
    clock: Clock,
    progress: StateSync,
    above: int,
) -> SnapshotFolder | None:
    """Try what is offered, the best first, until something comes of it."""
    reason = "no peer has one"
    for _ in range(TRIES_MAX):
        progress.enter("asks")
        offers = await _offers(sources, wait_ms, clock, above)
        if not offers:
            break
        giver = None
        try:
            giver, manifest = await fetch.manifest(offers)
            return await fetch.run(giver, manifest)
        except SnapshotError as error:
            reason = error.sentence
            log.warning("snapshot not used", extra={"code": error.code, "reason": reason})
            if isinstance(error, SnapshotFailed):
                break  # nobody's fault, and no other snapshot would fit on this disk
            if giver is not None:
                crown_id = manifest.crown.id
                is_over = not isinstance(error, Alone | TooSlow)
                sources.strike(giver, crown_id, is_over=is_over)
                if isinstance(error, Stale):
                    sources.give_up(crown_id)
            sources.begin_anew()
    log.warning("no snapshot: fetching blocks instead", extra={"reason": reason})
    return None


async def _offers(
    sources: Sources, wait_ms: int, clock: Clock, above: int
) -> list[tuple[bytes, Offer]]:
    """Return what is offered and by whom, once those who are connected had time to answer."""
    start_ms = clock.now_ms()
    answered_ms: int | None = None
    while True:
        await asyncio.gather(*[sources.ask_offers(peer_id) for peer_id in sources.unasked])
        now_ms = clock.now_ms()
        if answered_ms is None and sources.usable() and not sources.unasked:
            answered_ms = now_ms
        ranked = sources.ranked(above)
        is_settled = answered_ms is not None and now_ms >= answered_ms + SETTLE_MS
        if ranked and (is_settled or len(sources.having(ranked[0][1].crown_id)) > 1):
            return ranked
        if is_settled or now_ms >= start_ms + wait_ms:
            return ranked
        await asyncio.sleep(POLL_SECONDS)
