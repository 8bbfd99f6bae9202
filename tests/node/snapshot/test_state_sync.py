"""State sync over a network in memory: honest peers, hostile ones, none at all, and crashes."""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from node.history_settings import HistorySettings
from node.snapshot import serving, sources
from node.snapshot.folder import (
    BLOCK,
    FETCHING_SUFFIX,
    SnapshotFolder,
    snapshots_in,
)
from node.snapshot.form import Manifest, Offer
from node.snapshot.progress import StateSync
from node.snapshot.state_sync import fetch_newest
from node.snapshot.wire import (
    ChunkAnswer,
    ChunkRequest,
    CrownAnswer,
    CrownRequest,
    ManifestAnswer,
    ManifestRequest,
    OffersAnswer,
    OffersRequest,
    StepsAnswer,
    StepsRequest,
)
from node.sync.messages import FinalAnswer, FinalRequest
from state.chunks import Chunk, Mark
from state.codec import encode, replace
from state.types import ZERO_HASH
from tests.node.snapshot.test_restore import taken
from tests.node.snapshot.world import CLOCK, HEIGHT, World, crown
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain


async def test_chunks_come_from_all_who_have_them(world: World) -> None:
    names = [world.add() for _ in range(3)]
    world.holds(await world.begin())
    counts = [world.asked_of(name, ChunkRequest) for name in names]
    assert sum(counts) == len(crown(world).marks) > 3
    assert all(counts)
    assert not world.network._banned


async def test_nobody_and_peers_without_snapshots_mean_blocks_instead(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    assert await world.begin() is None
    shutil.rmtree(world.shelf)
    world.add()
    assert await world.begin() is None
    assert "fetching blocks instead" in caplog.text


async def test_a_deaf_peer_holds_nobody_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ANSWER_MS_MAX", 50)
    deaf = world.add()
    world.add()
    world.peers[deaf].is_deaf = True
    world.holds(await world.begin())
    assert not world.is_banned(deaf)


def false_chunk(world: World) -> Callable[[Any], Any]:
    def answer(asked: ChunkRequest) -> ChunkAnswer:
        true = world.honest()[ChunkRequest](asked)
        rows = Chunk(((b"\x01\x01", b"mine"),))
        return ChunkAnswer(encode(rows)) if true is not None else true

    return answer


def other_chunk(world: World) -> Callable[[Any], Any]:
    def answer(asked: ChunkRequest) -> Any:
        mark = next(m for m in crown(world).marks if m.prefix != asked.prefix)
        return world.honest()[ChunkRequest](ChunkRequest(asked.crown_id, mark.level, mark.prefix))

    return answer


def noise(_: World) -> Callable[[Any], Any]:
    return lambda _: OffersAnswer(())


@pytest.mark.parametrize("lie", [false_chunk, other_chunk, noise])
async def test_who_gives_a_false_chunk_is_reported_and_replaced(
    world: World, lie: Callable[[World], Callable[[Any], Any]]
) -> None:
    liars = [world.add(ChunkRequest=lie(world)) for _ in range(2)]
    honest = world.add()
    world.holds(await world.begin())
    assert all(world.is_banned(liar) for liar in liars)
    assert not world.is_banned(honest)


async def test_with_liars_alone_the_node_falls_back(world: World) -> None:
    world.add(ChunkRequest=false_chunk(world))
    world.add(ChunkRequest=lambda _: None)
    assert await world.begin() is None
    assert not snapshots_in(world.home)


def forged_crown(world: World) -> Manifest:
    """A state of the liar's own, under a crown that names its root; nobody finalized that."""
    true = crown(world)
    mark = Mark(0, b"", b"\x07" * 32)
    header = replace(true.crown, state_root=mark.digest)
    subject = replace(true.finalization.subject, block_id=header.id)
    return replace(
        true,
        crown=header,
        finalization=replace(true.finalization, subject=subject),
        marks=(mark,),
    )


def in_no_epoch(world: World) -> Manifest:
    """The same, in an epoch to which no step leads."""
    forged = forged_crown(world)
    return replace(forged, crown=replace(forged.crown, epoch=10**6))


def of_epoch_zero(world: World) -> Manifest:
    forged = forged_crown(world)
    return replace(forged, crown=replace(forged.crown, epoch=0))


def terabytes(world: World) -> Manifest:
    """As many marks as fit, which lead to no root."""
    true = crown(world)
    marks = [Mark(16, at.to_bytes(2, "big"), ZERO_HASH) for at in range(2**16)]
    return replace(true, marks=tuple(marks))


@pytest.mark.parametrize("forge", [forged_crown, in_no_epoch, of_epoch_zero, terabytes])
async def test_a_state_that_is_not_the_chains_is_never_fetched(
    world: World, forge: Callable[[World], Manifest]
) -> None:
    forged = forge(world)
    liar = world.add(
        OffersRequest=lambda _: OffersAnswer((Offer(10**9, forged.crown.id),)),
        ManifestRequest=lambda _: ManifestAnswer(forged),
    )
    world.add()
    world.holds(await world.begin())
    assert world.asked_of(liar, ChunkRequest) == 0
    assert forge is in_no_epoch or world.is_banned(liar)


async def test_a_manifest_of_another_snapshot_is_a_lie(world: World) -> None:
    true = crown(world)
    liar = world.add(
        OffersRequest=lambda _: OffersAnswer((Offer(10**9, b"\x05" * 32),)),
        ManifestRequest=lambda _: ManifestAnswer(true),
    )
    world.add()
    world.holds(await world.begin())
    assert world.is_banned(liar)


async def test_offers_of_what_is_nowhere_do_not_last(world: World) -> None:
    """Sixteen snapshots that nobody has, from each of two peers."""
    for name in (7, 8):
        offers = tuple([Offer(10**9 + at, bytes([name, at]) * 16) for at in range(16)])
        world.add(
            OffersRequest=lambda _, offers=offers: OffersAnswer(offers),
            ManifestRequest=lambda _: None,
        )
    world.add()
    world.holds(await world.begin())


async def test_false_steps_are_reported_and_those_of_others_taken(world: World) -> None:
    honest = world.honest()

    def forked(asked: StepsRequest) -> StepsAnswer:
        steps = honest[StepsRequest](asked).steps
        votes = replace(steps[-1].finalization, votes=steps[-1].finalization.votes[:2])
        return StepsAnswer((*steps[:-1], replace(steps[-1], finalization=votes)))

    def endless(asked: StepsRequest) -> StepsAnswer:
        return StepsAnswer(honest[StepsRequest](replace(asked, count=64)).steps * 2)

    liars = [world.add(StepsRequest=forked), world.add(StepsRequest=endless)]
    world.add()
    world.holds(await world.begin())
    assert all(world.is_banned(liar) for liar in liars)


async def test_a_false_block_is_reported(world: World) -> None:
    true = snapshots_in(world.shelf)[0].block()
    liar = world.add(CrownRequest=lambda _: CrownAnswer(replace(true, body=true.body[:-1])))
    other = world.add(
        CrownRequest=lambda _: CrownAnswer(replace(true, header=world.chain.store.header(3).header))
    )
    world.add()
    world.holds(await world.begin())
    assert world.is_banned(liar) and world.is_banned(other)


async def test_a_stale_snapshot_is_refused_when_one_peer_shows_better(world: World) -> None:
    old = world.honest()
    steps = old[StepsRequest]
    world.add(
        StepsRequest=lambda asked: StepsAnswer(
            tuple([s for s in steps(asked).steps if s.boundary.height <= 3 * EPOCH_BLOCKS])
        ),
        FinalRequest=lambda _: None,
    )
    chain = Chain().grow(HEIGHT + 2 * EPOCH_BLOCKS)
    assert chain.store.header(HEIGHT).block_id == world.chain.application.head.block_id
    world.chain = chain
    world.add()
    assert await world.begin(state_sync_age_blocks_max=EPOCH_BLOCKS) is None
    assert not any(type(asked) is ChunkRequest for _, asked in world.asked)
    world.holds(await world.begin(state_sync_age_blocks_max=3 * EPOCH_BLOCKS))


async def test_the_tip_alone_shows_that_a_snapshot_is_stale(world: World) -> None:
    world.add()
    final = world.honest()[FinalRequest](FinalRequest(3))
    assert isinstance(final, FinalAnswer)
    assert final.header.height - crown(world).height == 1
    world.chain = Chain().grow(HEIGHT + 2)
    world.add()
    assert await world.begin(state_sync_age_blocks_max=2) is None


async def test_the_trusted_block_is_passed_or_nothing_is_begun(world: World) -> None:
    world.add()
    boundary = world.chain.store.finality.boundary(2)
    assert boundary is not None
    trusted = f"2:{boundary.block_id.hex()}"
    world.holds(await world.begin(state_sync_trust=trusted))
    shutil.rmtree(world.home)
    assert await world.begin(state_sync_trust=f"2:{'0' * 64}") is None
    assert await world.begin(state_sync_trust=f"9:{'0' * 64}") is None
    assert not world.network._banned  # it is older than what is trusted, and true
    world.holds(await world.begin(state_sync_trust=trusted))


async def test_an_older_one_serves_where_the_newest_is_gone(world: World) -> None:
    newest = crown(world)
    taken(Chain().grow(HEIGHT - 2).rows, world.shelf)
    honest = world.honest()

    def gone(asked: ChunkRequest) -> Any:
        return None if asked.crown_id == newest.crown.id else honest[ChunkRequest](asked)

    world.add(ChunkRequest=gone)
    world.add(ChunkRequest=gone)
    world.add(
        ChunkRequest=gone,
        OffersRequest=lambda _: OffersAnswer(honest[OffersRequest](OffersRequest()).offers[1:]),
    )
    found = await world.begin()
    assert found is not None and found.path.name == str(HEIGHT - 3)


async def test_what_was_fetched_before_is_not_fetched_again(world: World) -> None:
    """A node that is killed in the middle goes on with what proves itself."""
    name = world.add()
    config = HistorySettings(state_sync_wait_ms=400)
    async with asyncio.timeout(30), world.running():
        fetching = fetch_newest(world.network, GENESIS, config, world.home, CLOCK, StateSync())
        work = asyncio.create_task(fetching)
        await world.until(lambda: world.asked_of(name, ChunkRequest) >= 5)
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
    draft = next(world.home.iterdir())
    chunks = sorted(draft.glob("chunk-*"))
    total = len(crown(world).marks)
    assert draft.suffix == FETCHING_SUFFIX and 2 <= len(chunks) < total
    assert not snapshots_in(world.home)
    chunks[0].write_bytes(chunks[1].read_bytes())  # the power was cut in the middle of it
    world.asked.clear()
    world.holds(await world.begin())
    assert world.asked_of(name, ChunkRequest) == total - len(chunks) + 1


async def test_what_was_fetched_is_served_to_others(world: World) -> None:
    world.add()
    world.holds(await world.begin())
    other = World(world.home.parent / "other", world.chain)
    other.shelf = world.home
    other.add()
    other.holds(await other.begin())


def test_a_shelf_serves_what_is_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SHELF_MAX", 1)
    taken(Chain().grow(HEIGHT - 2).rows, world.shelf)
    (world.shelf / "7").mkdir()
    (world.shelf / "9.draft").mkdir()
    damaged = world.shelf / "3"
    damaged.mkdir()
    (damaged / "manifest").write_bytes(b"nothing")
    handlers = world.honest()
    offers = handlers[OffersRequest](OffersRequest()).offers
    assert [offer.height for offer in offers] == [HEIGHT - 1, HEIGHT - 3]
    for offer in offers:
        assert handlers[ManifestRequest](ManifestRequest(offer.crown_id)) is not None
        block = handlers[CrownRequest](CrownRequest(offer.crown_id)).block
        assert block.header.id == offer.crown_id
        assert handlers[ChunkRequest](ChunkRequest(offer.crown_id, 250, bytes(32))) is None
    assert handlers[ManifestRequest](ManifestRequest(ZERO_HASH)) is None
    assert handlers[CrownRequest](CrownRequest(ZERO_HASH)) is None
    assert handlers[ChunkRequest](ChunkRequest(ZERO_HASH, 0, b"")) is None
    assert handlers[StepsRequest](StepsRequest(3, 2)).steps == ()
    (world.shelf / str(offers[0].height) / BLOCK).unlink()
    assert handlers[CrownRequest](CrownRequest(offers[0].crown_id)) is None


def test_each_manifest_is_read_once_however_many_are_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = snapshots_in(world.shelf)
    for height in range(1, 6):
        shutil.copytree(first.path, world.shelf / str(height))
    (world.shelf / "3" / "manifest").write_bytes(b"nothing")
    read: list[str] = []
    real = SnapshotFolder.manifest

    def counted(folder: SnapshotFolder, genesis_hash: bytes) -> Manifest:
        read.append(folder.path.name)
        return real(folder, genesis_hash)

    monkeypatch.setattr(SnapshotFolder, "manifest", counted)
    handlers = world.honest()
    for _ in range(100):
        assert handlers[ManifestRequest](ManifestRequest(ZERO_HASH)) is None
        assert len(handlers[OffersRequest](OffersRequest()).offers) == 5
    assert len(read) == 6
    taken(world.chain.rows, world.shelf)  # another one in the place of the first
    assert handlers[ManifestRequest](ManifestRequest(crown(world).crown.id)) is not None
    assert len(read) <= 10
