"""Fetching one snapshot from many peers, into a folder that is whole or not there.

The order is that of trust: the steps of every epoch from genesis, then the crown that the last
set finalized, then how far others have come since, and only then rows. So nobody makes a node fetch
a state that is not that of the chain, or one that is long past.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from consensus.messages import MESSAGE_BYTES_MAX, Block
from node.snapshot.errors import NotTrusted, SnapshotError, SnapshotMissing, SnapshotRefused
from node.snapshot.folder import (
    BLOCK,
    FETCHING_SUFFIX,
    MANIFEST,
    SnapshotFolder,
    chunk_name,
    keep_drafts,
)
from node.snapshot.form import Manifest, Offer, check_manifest
from node.snapshot.pace import Pace
from node.snapshot.progress import StateSync
from node.snapshot.sources import NoSource, NotHere, Sources
from node.snapshot.steps import TIP_SECONDS, ChainSteps
from node.snapshot.walk import Checkpoint, Walk
from node.snapshot.wire import (
    CHUNK_ANSWER_BYTES_MAX,
    ChunkRequest,
    CrownRequest,
    ManifestRequest,
    chunk_answers,
    crown_answers,
    decode_manifest,
)
from node.sync.messages import FinalAnswer, FinalRequest, decode_answer
from state.block import bodies, check_body
from state.chunks import CHUNK_BYTES_MAX, Mark, read_chunk
from state.codec import encode
from state.errors import InvalidBlock, Malformed
from state.finality import justify_hash
from state.genesis import Genesis

PER_PEER: Final = 2
"""Chunks that are asked of one peer at a time: one is on its way while the other is checked."""
MANIFEST_SECONDS: Final = 2.0
"""After so long without a manifest the next best one is asked for as well."""
LATE_SECONDS: Final = 2.0
"""A chunk that has been on its way for so long is asked of another peer as well."""
RETRY_SECONDS: Final = 0.1

log = logging.getLogger("sahara.statesync")


class Stale(SnapshotError):
    """The chain is final far beyond the snapshot."""

    code = "snapshot.stale"


class Alone(NoSource):
    """Who gave a manifest is the only one who knows its chunks."""


class TooSlow(NoSource):
    """All who give a snapshot give it too slowly, all together."""


class Fetch:
    """Snapshots under way, one after the other, until one is whole."""

    def __init__(
        self,
        sources: Sources,
        genesis: Genesis,
        checkpoint: Checkpoint | None,
        folder: Path,
        age_blocks_max: int,
        progress: StateSync,
    ) -> None:
        self._sources = sources
        self._genesis = genesis
        self._folder = folder
        self._age_blocks_max = age_blocks_max
        self._progress = progress
        self._epoch_blocks = genesis.params.staking.epoch_blocks
        # A crown of any epoch before these is older than is allowed.
        epochs = age_blocks_max // self._epoch_blocks + 3
        self._steps = ChainSteps(sources, Walk(genesis, checkpoint, epochs), folder)

    def close(self) -> None:
        """Let go of what no snapshot needs any more."""
        self._steps.remove()

    async def manifest(self, offers: Iterable[tuple[bytes, Offer]]) -> tuple[bytes, Manifest]:
        """Return the first manifest of several that are offered, and who gave it.

        It is only a claim; whoever gave it answers for what follows. Raises NoSource.
        """
        asks = [(giver, partial(self._manifest_of, giver, offer)) for giver, offer in offers]
        return await self._sources.first_of(asks, MANIFEST_SECONDS)

    async def _manifest_of(self, giver: bytes, offer: Offer) -> tuple[bytes, Manifest]:
        try:
            return giver, await self._sources.ask(
                giver,
                ManifestRequest(offer.crown_id),
                partial(_read_manifest, offer, self._genesis),
            )
        except NoSource:
            self._sources.strike(giver, offer.crown_id, is_over=True)
            raise

    async def run(self, giver: bytes, manifest: Manifest) -> SnapshotFolder:
        """Return the snapshot of a manifest, whole and checked; raises SnapshotError."""
        crown_id = manifest.crown.id
        self._progress.choose(manifest.height, len(manifest.marks))
        await self._check_crown(giver, manifest)
        await self._check_age(manifest.height)
        place = self._folder / str(manifest.height)
        if await asyncio.to_thread(_is_whole, SnapshotFolder(place), manifest):
            return SnapshotFolder(place)
        draft = SnapshotFolder(self._folder / f"{manifest.height}{FETCHING_SUFFIX}")
        if not draft.path.is_dir():  # otherwise its chunks are good for as much as they prove
            draft.begin()
        keep_drafts(self._folder, draft)
        block = await self._sources.ask_first(
            self._sources.having(crown_id),
            CrownRequest(crown_id),
            partial(_read_crown, manifest),
        )
        draft.write(BLOCK, encode(block))
        await self._chunks(_Chunks(giver, crown_id, manifest.marks, draft))
        ended = manifest.crown.height // self._epoch_blocks
        await asyncio.to_thread(self._steps.write, draft, ended)
        draft.write(MANIFEST, encode(manifest))
        return draft.finish(place)

    async def _check_crown(self, giver: bytes, manifest: Manifest) -> None:
        """Walk from genesis to the crown, and check that the last set finalized it."""
        crown, steps = manifest.crown, self._steps
        if not await steps.reach(crown.epoch):
            raise NoSource(f"Nobody leads to epoch {crown.epoch}. {steps.reason}")
        if crown.epoch < steps.walk.epoch_min:  # beyond the age that is allowed, by what was walked
            raise Stale(
                f"The snapshot is of epoch {crown.epoch}, and epoch {steps.walk.epoch} is reached."
            )
        try:
            await asyncio.to_thread(steps.walk.check_crown, crown, manifest.finalization)
        except NotTrusted:
            raise
        except SnapshotRefused as error:
            self._sources.lied(giver, error)
            raise
        ended = crown.height // self._epoch_blocks
        if not await steps.reach(ended):  # it ends its epoch itself
            raise NoSource(f"Nobody leads to epoch {ended}. {steps.reason}")

    async def _check_age(self, height: int) -> None:
        """Raise Stale when some peer shows a final block too far beyond the snapshot."""
        await self._steps.reach_tip()
        walk = self._steps.walk
        self._refuse_stale(height, walk.epoch * self._epoch_blocks)
        read = partial(_read_final, walk)
        request = FinalRequest(walk.epoch)
        tasks = [
            asyncio.create_task(self._sources.ask(peer_id, request, read))
            for peer_id in self._sources.usable()
        ]
        try:
            done, _ = await asyncio.wait(tasks, timeout=TIP_SECONDS) if tasks else (set(), set())
            for task in done:
                with suppress(NoSource):
                    self._refuse_stale(height, task.result())
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _refuse_stale(self, height: int, newest: int) -> None:
        if newest - height > self._age_blocks_max:
            raise Stale(
                f"The snapshot at height {height} is {newest - height} blocks behind, more than "
                f"state_sync_age_blocks_max ({self._age_blocks_max})."
            )

    # --- chunks ----------------------------------------------------------------------------------

    async def _chunks(self, chunks: "_Chunks") -> None:
        """Fetch what is missing, from all who have it at once; each chunk is checked alone."""
        missing = await asyncio.to_thread(_missing, chunks)
        chunks.missing += missing
        chunks.left.update(missing)
        self._progress.enter("fetches")
        self._progress.chunks_here = len(chunks.marks) - len(missing)
        log.info(
            "fetching snapshot",
            extra={
                "draft": chunks.draft.path.name,
                "chunks": len(chunks.marks),
                "missing": len(missing),
                "peers": len(self._sources.having(chunks.crown_id)),
            },
        )
        now = asyncio.get_running_loop().time
        chunks.pace = Pace(now())
        while chunks.left:
            peers = self._asked(chunks)
            if not peers:
                raise NoSource(f"Nobody gives the {len(chunks.left)} chunks that are missing.")
            if self._is_alone(chunks, peers):
                raise Alone("Others who have this snapshot do not know the chunks of its manifest.")
            tasks = [
                asyncio.create_task(self._fetch_from(peer_id, chunks))
                for peer_id in peers
                for _ in range(PER_PEER)
            ]
            pending = set(tasks)
            try:
                while pending and chunks.left:  # nobody waits for who holds none that is missing
                    done, pending = await asyncio.wait(
                        pending,
                        timeout=chunks.pace.left_seconds(now()),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    for task in done:
                        task.result()
                    if chunks.left and chunks.pace.is_slow(now()):
                        self._give_up_slow(chunks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _give_up_slow(self, chunks: "_Chunks") -> None:
        """Hold it against all who give a snapshot that it comes too slowly; raises TooSlow."""
        for peer_id in self._asked(chunks):
            if peer_id != chunks.giver:  # whose manifest comes to nothing anyway
                self._sources.strike(peer_id, chunks.crown_id, is_over=False)
        raise TooSlow(f"The {len(chunks.left)} chunks that are missing come too slowly.")

    def _asked(self, chunks: "_Chunks") -> list[bytes]:
        """Return who is asked for chunks: who offers the crown and has not said to have none."""
        having = self._sources.having(chunks.crown_id)
        return [peer_id for peer_id in having if peer_id not in chunks.without]

    def _is_alone(self, chunks: "_Chunks", peers: list[bytes]) -> bool:
        """Tell whether the giver alone has such chunks, and another's manifest was not tried."""
        return peers == [chunks.giver] and any(
            self._sources.may_give(peer_id, chunks.crown_id) for peer_id in chunks.without
        )

    async def _fetch_from(self, peer_id: bytes, chunks: "_Chunks") -> None:
        """Fetch chunks from one peer until none is missing or it is not asked any more."""
        now = asyncio.get_running_loop().time
        while chunks.left and peer_id in (peers := self._asked(chunks)):
            if self._is_alone(chunks, peers):
                return
            index = chunks.next(now())
            if index is None:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            mark = chunks.marks[index]
            request = ChunkRequest(chunks.crown_id, mark.level, mark.prefix)
            try:
                data = await self._sources.ask(peer_id, request, partial(_read_chunk, mark))
            except NotHere:  # of this snapshot; it may well have another
                chunks.give_back(index)
                chunks.without.add(peer_id)
            except NoSource:
                chunks.give_back(index)
                await asyncio.sleep(RETRY_SECONDS * self._sources.failures(peer_id))
            else:
                if not chunks.took(index):
                    continue  # another peer was faster
                chunks.pace.took(len(data))
                begun = now()
                await asyncio.to_thread(chunks.draft.write, chunk_name(index), data)
                chunks.pace.excuse(now() - begun, now())
                chunks.left.discard(index)
                self._progress.chunks_here += 1
                self._progress.chunk_bytes += len(data)


class _Chunks:
    """The chunks of one snapshot under way."""

    def __init__(
        self, giver: bytes, crown_id: bytes, marks: tuple[Mark, ...], draft: SnapshotFolder
    ) -> None:
        self.giver = giver
        self.crown_id = crown_id
        self.marks = marks
        self.draft = draft
        self.pace = Pace(0.0)
        """Of the fetch under way."""
        self.left: set[int] = set()
        """Those that are not on disk yet."""
        self.missing: deque[int] = deque()
        """Those of them that nobody is asked for."""
        self.without: set[bytes] = set()
        """Who has said not to have them."""
        self._came: set[int] = set()
        self._asked: dict[int, float] = {}
        """When somebody was asked for one, the earliest first."""

    def next(self, now: float) -> int | None:
        """Return a chunk to ask for: one that nobody is asked for, or that is long on its way."""
        while self.missing:
            index = self.missing.popleft()
            if index not in self._came:
                break
        else:
            late = next(iter(self._asked), None)
            if late is None or now - self._asked[late] < LATE_SECONDS:
                return None
            index = late
        self._asked.pop(index, None)  # so that it comes last
        self._asked[index] = now
        return index

    def took(self, index: int) -> bool:
        """Take note that a chunk came; tell whether it is the first time."""
        self._asked.pop(index, None)
        is_first = index not in self._came
        self._came.add(index)
        return is_first

    def give_back(self, index: int) -> None:
        """Let a chunk that did not come be asked of somebody else."""
        self._asked.pop(index, None)
        if index not in self._came:
            self.missing.append(index)


def _read_manifest(offer: Offer, genesis: Genesis, data: bytes) -> Manifest:
    manifest = decode_manifest(data)
    if manifest.crown.id != offer.crown_id:
        raise Malformed("The manifest is of another snapshot; ask another peer.")
    check_manifest(manifest, genesis.hash)
    if manifest.height != offer.height:
        raise Malformed("The snapshot is of another height than was offered; ask another peer.")
    return manifest


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


def _is_whole(snapshot: SnapshotFolder, manifest: Manifest) -> bool:
    """Tell whether a snapshot is here already, as one that could not be restored in time."""
    try:
        found = snapshot.manifest(manifest.genesis_hash)
    except (SnapshotMissing, SnapshotRefused):
        return False
    return (found.crown, found.marks) == (manifest.crown, manifest.marks)


def _missing(chunks: _Chunks) -> list[int]:
    """Return the chunks that are not in the draft, or not as they should be."""
    found = []
    for index, mark in enumerate(chunks.marks):
        try:
            read_chunk(mark, chunks.draft.read(chunk_name(index), CHUNK_BYTES_MAX))
        except (SnapshotMissing, SnapshotRefused, Malformed):
            found.append(index)
    return found
