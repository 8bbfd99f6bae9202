"""A node's history as settings: what it keeps, what it makes snapshots of, and how it begins."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from node.network_settings import PeerSettings

CHECKPOINT_PATTERN = r"^(\d{1,18}:[0-9a-f]{64})?(?!\n)$"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings(PeerSettings):
    """Settings of blocks that are kept, of snapshots, and of state sync."""

    blocks_kept: Annotated[
        int,
        Meta(
            ge=0,
            le=10**12,
            description="Final blocks that stay, never fewer than evidence needs; 0: all.",
        ),
    ] = 0
    snapshot_every_blocks: Annotated[
        int, Meta(ge=0, le=10**9, description="Blocks from one snapshot to the next; 0: none.")
    ] = 0
    snapshots_kept: Annotated[
        int, Meta(ge=1, le=100, description="Snapshots that stay; older ones are removed.")
    ] = 2
    state_sync: Annotated[
        bool,
        Meta(
            description="Take a snapshot of the peers into an empty home, or where blocks are gone."
        ),
    ] = False
    state_sync_trust: Annotated[
        str,
        Meta(
            pattern=CHECKPOINT_PATTERN,
            description="EPOCH:BLOCKID of the block before an epoch, on the chain that is trusted.",
        ),
    ] = ""
    state_sync_age_blocks_max: Annotated[
        int, Meta(ge=1, le=10**9, description="A snapshot so far behind its peers is refused.")
    ] = 100_000
    state_sync_wait_ms: Annotated[
        int, Meta(ge=0, le=3_600_000, description="For so long peers with a snapshot are sought.")
    ] = 15_000
