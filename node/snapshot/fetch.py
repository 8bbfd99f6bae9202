"""Fetching one snapshot from many peers, into a folder that is whole or not there.

The order is that of trust: the steps of every epoch from genesis, then the crown that the last
set finalized, then how far others have come since, and only then rows. So nobody makes a node fetch
a state that is not that of the chain, or one that is long past.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from consensus.messages import MESSAGE_BYTES_MAX, Block
from node.snapshot.errors import NotTrusted, SnapshotError, SnapshotMissing, SnapshotRefused
from node.snapshot.folder import BLOCK, MANIFEST, SnapshotFolder, chunk_name, steps_name
from node.snapshot.form import (
    MANIFEST_BYTES_MAX,
    STEPS_BYTES_MAX,
    STEPS_MAX,
    Manifest,
    Step,
    Steps,
    check_manifest,
)
from node.snapshot.progress import StateSync
from node.snapshot.sources import NoSource, Sources
from node.snapshot.walk import Checkpoint, Walk
from node.snapshot.wire import (
    CHUNK_ANSWER_BYTES_MAX,
    ROOM_BYTES,
    ChunkRequest,
    CrownRequest,
    ManifestRequest,
    StepsRequest,
    chunk_answers,
    crown_answers,
    manifest_answers,
    steps_answers,
)
from node.sync.messages import FinalAnswer, FinalRequest, decode_answer
from state.block import bodies, check_body
from state.chunks import CHUNK_BYTES_MAX, Mark, read_chunk
from state.codec import encode
from state.errors import InvalidBlock, Malformed
from state.finality import boundary_height, justify_hash
from state.genesis import Genesis

FETCHING_SUFFIX: Final = ".fetching"
PER_PEER: Final = 2
"""Chunks that are asked of one peer at a time: one is on its way while the other is checked."""
RETRY_SECONDS: Final = 0.1

log = logging.getLogger("sahara.statesync")


class Stale(SnapshotError):
    """The chain is final far beyond the snapshot."""

    code = "snapshot.stale"


class Fetch:
    """One snapshot under way."""

    def __init__(
        self,
        sources: Sources,
        genesis: Genesis,
        checkpoint: Checkpoint | None,
        folder: Path,
        age_blocks_max: int,
        progress: StateSync,
        above: int = 0,
    ) -> None:
        self._sources = sources
        self._genesis = genesis
        self._checkpoint = checkpoint
        self._folder = folder
        self._age_blocks_max = age_blocks_max
        self._progress = progress
        self._above = above
        """The height that the node has already."""

    async def run(self, crown_id: bytes) -> SnapshotFolder:
        """Return the snapshot of a crown, whole and checked; raises SnapshotError."""
        peer_id, manifest = await self._manifest(crown_id)
        if manifest.height <= self._above:  # whatever its offer said
            raise Stale(
                f"The snapshot at height {manifest.height} is not above {self._above}, which this "
                "node has; wait until a peer makes another one."
            )
        self._progress.choose(manifest.height, len(manifest.marks))
        draft = SnapshotFolder(self._folder / f"{manifest.height}{FETCHING_SUFFIX}")
        if not draft.path.is_dir():  # otherwise its chunks are good for as much as they prove
            draft.begin()
        walk = await self._walk(peer_id, manifest, draft)
        await self._check_age(walk, manifest.height)
        block = await self._sources.ask_any(
            self._sources.having(crown_id),
            CrownRequest(crown_id),
            partial(_read_crown, manifest),
        )
        draft.write(BLOCK, encode(block))
        await self._chunks(manifest, crown_id, draft)
        draft.write(MANIFEST, encode(manifest))
        return draft.finish(self._folder / str(manifest.height))

    async def _manifest(self, crown_id: bytes) -> tuple[bytes, Manifest]:
        """Return the manifest, and who gave it: its crown is only checked later."""
        reason = "Nobody is connected who has it."
        for peer_id in self._sources.having(crown_id):
            try:
                return peer_id, await self._sources.ask(
                    peer_id,
                    ManifestRequest(crown_id),
                    partial(_read_manifest, crown_id, self._genesis),
                )
            except NoSource as error:
                self._sources.empty_words(peer_id)
                reason = error.sentence
        raise NoSource(reason)

    async def _walk(self, peer_id: bytes, manifest: Manifest, draft: SnapshotFolder) -> Walk:
        """Walk from genesis to the crown, page by page into the draft."""
        walk = Walk(self._genesis, self._checkpoint)
        crown, pages = manifest.crown, 0
        while walk.epoch < crown.epoch:
            pages = await self._page(walk, crown.epoch, draft, pages)
        try:
            walk.check_crown(crown, manifest.finalization)
        except NotTrusted:
            raise
        except SnapshotRefused as error:
            self._sources.lied(peer_id, error)
            raise
        if crown.height == boundary_height(crown.epoch, walk.trust.epoch_blocks):
            await self._page(walk, crown.epoch + 1, draft, pages)  # it ends its epoch itself
        return walk

    async def _page(self, walk: Walk, until: int, draft: SnapshotFolder, pages: int) -> int:
        """Take some steps up to an epoch into the draft, and return how many pages it has."""
        steps = await self._steps(walk, until)
        if not steps:
            raise NoSource(f"Nobody tells how epoch {walk.epoch} ended.")
        draft.write(steps_name(pages), encode(Steps(tuple(steps))))
        return pages + 1

    async def _steps(self, walk: Walk, until: int) -> list[Step]:
        """Take steps up to an epoch, as many as one peer gives at once; none where nobody has."""
        if walk.epoch >= until:
            return []
        request = StepsRequest(walk.epoch, min(STEPS_MAX, until - walk.epoch))
        for peer_id in self._sources.usable():
            taken: list[Step] = []
            with suppress(NoSource):  # what was true of a false answer was taken
                await self._sources.ask(peer_id, request, partial(_take, walk, request, taken))
            if taken:
                return taken
        return []

    async def _check_age(self, walk: Walk, height: int) -> None:
        """Raise Stale when some peer shows a final block too far beyond the snapshot."""
        while steps := await self._steps(walk, walk.epoch + STEPS_MAX):
            self._refuse_stale(height, steps[-1].boundary.height)
        for peer_id in self._sources.usable():
            with suppress(NoSource):
                newest = await self._sources.ask(
                    peer_id, FinalRequest(walk.epoch), partial(_read_final, walk)
                )
                self._refuse_stale(height, newest)

    def _refuse_stale(self, height: int, newest: int) -> None:
        if newest - height > self._age_blocks_max:
            raise Stale(
                f"The snapshot at height {height} is {newest - height} blocks behind, more than "
                f"state_sync_age_blocks_max ({self._age_blocks_max})."
            )

    # --- chunks ----------------------------------------------------------------------------------

    async def _chunks(self, manifest: Manifest, crown_id: bytes, draft: SnapshotFolder) -> None:
        """Fetch what is missing, from all who have it at once; each chunk is checked alone."""
        missing = deque(await asyncio.to_thread(_missing, manifest, draft))
        self._progress.enter("fetches")
        self._progress.chunks_here = len(manifest.marks) - len(missing)
        log.info(
            "fetching snapshot",
            extra={
                "height": manifest.height,
                "chunks": len(manifest.marks),
                "missing": len(missing),
                "peers": len(self._sources.having(crown_id)),
            },
        )
        while missing:
            peers = self._sources.having(crown_id)
            if not peers:
                raise NoSource(f"Nobody gives the {len(missing)} chunks that are missing.")
            tasks = [
                asyncio.create_task(self._fetch_from(peer_id, manifest, crown_id, draft, missing))
                for peer_id in peers
                for _ in range(PER_PEER)
            ]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch_from(
        self,
        peer_id: bytes,
        manifest: Manifest,
        crown_id: bytes,
        draft: SnapshotFolder,
        missing: deque[int],
    ) -> None:
        """Fetch chunks from one peer until none is missing or it is not asked any more."""
        while missing and peer_id in self._sources.having(crown_id):
            index = missing.popleft()
            mark = manifest.marks[index]
            request = ChunkRequest(crown_id, mark.level, mark.prefix)
            try:
                data = await self._sources.ask(peer_id, request, partial(_read_chunk, mark))
            except NoSource:
                missing.append(index)
                await asyncio.sleep(RETRY_SECONDS * self._sources.failures(peer_id))
            else:
                await asyncio.to_thread(draft.write, chunk_name(index), data)
                self._progress.chunks_here += 1
                self._progress.chunk_bytes += len(data)


def _read_manifest(crown_id: bytes, genesis: Genesis, data: bytes) -> Manifest:
    bytes_max = MANIFEST_BYTES_MAX + ROOM_BYTES
    manifest = manifest_answers.decode(data, bytes_max=bytes_max).manifest
    if manifest.crown.id != crown_id:
        raise Malformed("The manifest is of another snapshot; ask another peer.")
    check_manifest(manifest, genesis.hash)
    return manifest


def _take(walk: Walk, request: StepsRequest, taken: list[Step], data: bytes) -> None:
    """Take the steps of an answer, one by one; an error leaves those before it taken."""
    steps = steps_answers.decode(data, bytes_max=STEPS_BYTES_MAX + ROOM_BYTES).steps
    if len(steps) > request.count:
        raise Malformed("The answer has more steps than were asked for; ask another peer.")
    for step in steps:
        walk.take(step)
        taken.append(step)


def _read_crown(manifest: Manifest, data: bytes) -> Block:
    block = crown_answers.decode(data, bytes_max=MESSAGE_BYTES_MAX).block
    if block.header != manifest.crown or justify_hash(block.justify) != block.header.justify_hash:
        raise Malformed("The block is another than the one asked for; ask another peer.")
    try:
        check_body(bodies.decode(block.body), block.header)
    except InvalidBlock as error:
        raise Malformed(error.sentence) from error
    return block


def _read_final(walk: Walk, data: bytes) -> int:
    answer = decode_answer(data)
    if not isinstance(answer, FinalAnswer):
        raise Malformed("The answer is no finalization; ask another peer.")
    walk.check_crown(answer.header, answer.finalization)
    return answer.header.height


def _read_chunk(mark: Mark, data: bytes) -> bytes:
    found = chunk_answers.decode(data, bytes_max=CHUNK_ANSWER_BYTES_MAX).data
    read_chunk(mark, found)
    return found


def _missing(manifest: Manifest, draft: SnapshotFolder) -> list[int]:
    """Return the chunks that are not in the draft, or not as they should be."""
    found = []
    for index, mark in enumerate(manifest.marks):
        try:
            read_chunk(mark, draft.read(chunk_name(index), CHUNK_BYTES_MAX))
        except (SnapshotMissing, SnapshotRefused, Malformed):
            found.append(index)
    return found
