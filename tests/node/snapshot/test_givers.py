"""Who gave a manifest answers for it: strangers cost a few tries, and honest peers lose nothing."""

import asyncio
from typing import Any

import pytest

from node.snapshot import cutting, fetch, pace, sources, steps
from node.snapshot.folder import MANIFEST, SnapshotFolder, keep_newest, snapshots_in, steps_name
from node.snapshot.form import Manifest, Offer, Step, Steps
from node.snapshot.make import steps_from
from node.snapshot.wire import (
    ChunkRequest,
    CrownRequest,
    ManifestAnswer,
    ManifestRequest,
    OffersAnswer,
    OffersRequest,
    StepsAnswer,
    StepsRequest,
)
from node.storage.finality_store import FinalityView
from node.sync.messages import decode_request
from p2p.interface import Request
from state.chunks import Mark
from state.codec import Struct, encode, replace
from state.finality import boundary_height
from tests.node.snapshot.test_restore import taken
from tests.node.snapshot.world import HEIGHT, Peer, World, crown
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS

STRANGERS = [1, 4]


def offering(world: World, manifests: list[Manifest], **lies: Any) -> bytes:
    """Add a peer that offers these manifests, as they are."""
    by_crown = {manifest.crown.id: manifest for manifest in manifests}
    offers = tuple([Offer(one.height, crown_id) for crown_id, one in by_crown.items()])
    answers: dict[str, Any] = {
        "OffersRequest": lambda _: OffersAnswer(offers),
        "ManifestRequest": lambda asked: ManifestAnswer(by_crown[asked.crown_id]),
        "ChunkRequest": lambda _: None,
    }
    return world.add(**{**answers, **lies})


def of_epochs_to_come(world: World, count: int) -> list[Manifest]:
    true = crown(world)
    found = []
    for at in range(count):
        mark, epoch = Mark(0, b"", bytes([at + 1]) * 32), 10**6 + at
        height = boundary_height(epoch, EPOCH_BLOCKS)
        header = replace(true.crown, state_root=mark.digest, epoch=epoch, height=height)
        found.append(replace(true, crown=header, marks=(mark,)))
    return found


@pytest.mark.parametrize("strangers", STRANGERS)
async def test_crowns_of_epochs_that_are_not_cost_their_givers(
    world: World, strangers: int
) -> None:
    forged = of_epochs_to_come(world, 16)
    for _ in range(strangers):
        offering(world, forged)
    for _ in range(3):
        world.add()
    world.holds(await world.begin())
    answered = [asked for _, asked in world.asked if type(asked) is StepsRequest]
    assert len([asked for asked in answered if asked.epoch == 0]) <= 2, "it walks once"


def cut_at_the_root(world: World) -> Manifest:
    """The true crown with one mark for the whole tree, which folds to the same root."""
    true = crown(world)
    return replace(true, marks=(Mark(0, b"", true.crown.state_root),))


@pytest.mark.parametrize("strangers", STRANGERS)
async def test_the_true_crown_cut_otherwise_costs_its_givers(world: World, strangers: int) -> None:
    foreign = cut_at_the_root(world)
    for _ in range(strangers):
        offering(world, [foreign])
    honest = [world.add() for _ in range(3)]
    world.holds(await world.begin())
    assert not any(world.is_banned(name) for name in honest)


async def test_the_chunks_of_a_lone_giver_are_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows its own, true chunks, one in a while; who offers the same crown knows others."""
    true = crown(world)
    with monkeypatch.context() as patch:
        patch.setattr(cutting, "CHUNK_BYTES", 200)
        other = World(world.home.parent / "other", world.chain)
        taken(world.chain.rows, other.shelf)
    finer = other.honest()
    marks = finer[ManifestRequest](ManifestRequest(true.crown.id)).manifest.marks
    assert len(marks) > len(true.marks)
    stranger = world.add(ManifestRequest=finer[ManifestRequest], ChunkRequest=finer[ChunkRequest])
    honest = [world.add() for _ in range(2)]
    found = await world.begin()
    world.holds(found)
    assert found is not None and found.manifest(GENESIS.hash) == true
    assert world.asked_of(stranger, ChunkRequest) < len(marks) - len(true.marks)
    assert not any(world.is_banned(name) for name in (stranger, *honest))


class Dripping(Peer):
    """A peer that gives each chunk late, and everything else at once."""

    delay_seconds = 0.15

    def on_request(self, request: Request) -> None:
        if isinstance(decode_request(request.data), ChunkRequest):
            later = asyncio.get_running_loop().call_later
            later(self.delay_seconds, super().on_request, request)
        else:
            super().on_request(request)


def finer(world: World, *, is_newer: bool) -> World:
    """Return a world of the same chain, whose snapshot has far more chunks."""
    if is_newer:
        world.chain.grow(2)
        while world.chain.application.head.finalization is None:
            world.chain.grow(1)
    other = World(world.home.parent / "other", world.chain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "CHUNK_BYTES", 100)
        taken(world.chain.rows, other.shelf)
    return other


def dripping(world: World, other: World) -> bytes:
    """Add a peer that has another world's snapshot, and gives its chunks late."""
    kinds = (OffersRequest, ManifestRequest, CrownRequest, ChunkRequest)
    name = world.add(**{kind.__name__: other.honest()[kind] for kind in kinds})
    world.peers[name] = Dripping(world.peers[name].handlers)
    return name


@pytest.fixture
def short_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "PACE_SECONDS", 0.4)


@pytest.mark.parametrize(("is_newer", "strangers"), [(True, 1), (True, 3), (False, 2)])
async def test_true_chunks_that_drip_cost_their_givers(
    world: World, short_pace: None, is_newer: bool, strangers: int
) -> None:
    """They stand together with their own cut, or have a height that nobody else has."""
    other = finer(world, is_newer=is_newer)
    names = [dripping(world, other) for _ in range(strangers)]
    for _ in range(3):
        world.add()
    found = await world.begin()
    world.holds(found)
    assert found is not None and found.manifest(GENESIS.hash) == crown(world)
    marks = crown(other).marks
    assert sum([world.asked_of(name, ChunkRequest) for name in names]) < len(marks) // 2
    assert not world.network._banned


async def test_who_alone_gives_and_drips_is_left_for_blocks(world: World, short_pace: None) -> None:
    name = dripping(world, finer(world, is_newer=False))
    assert await world.begin() is None
    assert not world.is_banned(name)
    assert [path.suffix for path in world.home.iterdir()] == [".fetching"], "kept for the next time"


async def test_who_is_slow_and_keeps_pace_is_waited_for(
    world: World, short_pace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SLOW_BYTES_S", 500)
    name = dripping(world, world)
    world.holds(await world.begin())
    assert world.asked_of(name, ChunkRequest) == len(crown(world).marks)


def test_a_pace_is_judged_over_a_whole_stretch() -> None:
    bytes_least = int(pace.SLOW_BYTES_S * pace.PACE_SECONDS)
    one = pace.Pace(100.0)
    assert not one.is_slow(100.0 + pace.PACE_SECONDS - 1)
    one.took(bytes_least)
    assert not one.is_slow(100.0 + pace.PACE_SECONDS)
    one.took(bytes_least // 2)
    assert one.is_slow(100.0 + 2 * pace.PACE_SECONDS), "what came before counts no more"


def test_what_the_own_disk_takes_is_nobodys_fault() -> None:
    one = pace.Pace(0.0)
    one.excuse(pace.PACE_SECONDS - 1, pace.PACE_SECONDS - 1)
    assert not one.is_slow(pace.PACE_SECONDS)
    assert one.is_slow(2 * pace.PACE_SECONDS)


async def test_a_lone_giver_is_taken_where_the_others_give_nothing(world: World) -> None:
    for _ in range(2):
        world.add(ManifestRequest=lambda _: None, ChunkRequest=lambda _: None)
    world.add()
    world.holds(await world.begin())


@pytest.mark.parametrize("claimed", [0, 10**9])
async def test_old_crowns_cost_their_giver(world: World, claimed: int) -> None:
    """Every final header makes a manifest for nothing, with its own state as the only mark."""
    rows = [world.chain.store.header(height) for height in range(1, HEIGHT - 5)]
    manifests = [
        replace(
            crown(world),
            crown=row.header,
            finalization=row.finalization,
            marks=(Mark(0, b"", row.header.state_root),),
        )
        for row in rows
        if row.finalization is not None
    ][-16:]
    offers = tuple([Offer(claimed + one.height, one.crown.id) for one in manifests])
    stranger = offering(world, manifests, OffersRequest=lambda _: OffersAnswer(offers))
    for _ in range(3):
        world.add()
    world.holds(await world.begin(state_sync_age_blocks_max=4))
    assert world.asked_of(stranger, ManifestRequest) <= 1
    assert world.is_banned(stranger) == (claimed > 0), "no honest node offers another height"


async def test_silent_peers_hold_nobody_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They say what they offer, and nothing more; many of them cost what one of them does."""
    monkeypatch.setattr(sources, "HEDGE_SECONDS", 0.01)
    monkeypatch.setattr(fetch, "MANIFEST_SECONDS", 0.01)
    monkeypatch.setattr(sources, "ANSWER_MS_MAX", 3_000)
    monkeypatch.setattr(fetch, "LATE_SECONDS", 0.1)
    monkeypatch.setattr(fetch, "TIP_SECONDS", 0.3)
    monkeypatch.setattr(steps, "TIP_SECONDS", 0.3)
    for _ in range(40):
        name = world.add()
        world.peers[name].is_terse = True
    world.add()
    world.holds(await world.begin())


async def test_a_snapshot_that_is_rotated_away_is_followed_by_the_next(world: World) -> None:
    """Nobody is hostile: two newer ones are made while the chunks of one are fetched."""
    before = snapshots_in(world.shelf)[0].path.name
    asked_count = 0

    def rotating(asked: ChunkRequest) -> Any:
        nonlocal asked_count
        asked_count += 1
        if asked_count == 4:
            for _ in range(2):
                world.chain.grow(1)
                while world.chain.application.head.finalization is None:
                    world.chain.grow(1)
                taken(world.chain.rows, world.shelf)
            keep_newest(world.shelf, 2)
        return world.honest()[ChunkRequest](asked)

    for _ in range(3):
        world.add(ChunkRequest=rotating)
    found = await world.begin()
    world.holds(found)
    assert found is not None and found.path.name == snapshots_in(world.shelf)[0].path.name
    assert int(found.path.name) > int(before)
    assert not world.network._banned


async def test_steps_of_an_earlier_attempt_are_not_left(world: World) -> None:
    """The first attempt took them in small pages, and got no chunk."""
    honest = world.honest()[StepsRequest]
    world.add(
        StepsRequest=lambda asked: StepsAnswer(honest(asked).steps[:1]),
        ChunkRequest=lambda _: None,
    )
    assert await world.begin() is None
    (draft,) = world.home.iterdir()
    for page in range(3):
        SnapshotFolder(draft).write(steps_name(page), encode(Steps(steps_of(world)[page:])))
    world.peers.clear()
    world.add()
    world.holds(await world.begin())


@pytest.mark.parametrize("strangers", STRANGERS)
async def test_who_brings_few_steps_is_asked_seldom(world: World, strangers: int) -> None:
    """It is the first to answer each time, and others bring more in one answer."""
    honest = world.honest()[StepsRequest]
    names = [
        world.add(StepsRequest=lambda asked: StepsAnswer(honest(asked).steps[:1]))
        for _ in range(strangers)
    ]
    for _ in range(3):
        world.add()
    world.chain.grow(20 * EPOCH_BLOCKS)
    while world.chain.application.head.finalization is None:
        world.chain.grow(1)
    taken(world.chain.rows, world.shelf)
    world.holds(await world.begin())
    epochs = world.chain.application.head.header.epoch
    asked = [world.asked_of(name, StepsRequest) for name in names]
    assert epochs > 20 and sum(asked) <= 4 * strangers
    assert not world.network._banned


def steps_of(world: World) -> tuple[Step, ...]:
    return tuple(steps_from(FinalityView(world.chain.rows), 0, 3))


class ManifestOfTheNextVersion(Struct, tag=17):
    """An answer whose manifest has a field more."""

    manifest: tuple[int, bytes, str]


@pytest.mark.parametrize("is_longer", [False, True])
async def test_who_has_another_form_is_no_liar(world: World, is_longer: bool) -> None:
    """In a rolling upgrade both versions are on the network for a while."""
    true = crown(world)
    answer: Any = ManifestAnswer(replace(true, form=2))
    if is_longer:
        answer = ManifestOfTheNextVersion((2, b"other", "fields"))
    newer = [world.add(ManifestRequest=lambda _: answer) for _ in range(2)]
    assert await world.begin() is None
    assert not any(world.is_banned(name) for name in newer)
    world.add()
    world.holds(await world.begin())
    assert not any(world.is_banned(name) for name in newer)


async def test_a_trusted_block_that_was_mistyped_makes_nobody_a_liar(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        world.add()
    assert await world.begin(state_sync_trust="1:" + "ab" * 32) is None
    assert not world.network._banned
    assert any("another block than the trusted" in one.reason for one in caplog.records)


async def test_one_that_is_whole_already_is_not_fetched_again(world: World) -> None:
    """It was there before the restore failed, for want of disk maybe."""
    name = world.add()
    world.holds(await world.begin())
    count = world.asked_of(name, ChunkRequest)
    world.holds(await world.begin())
    assert world.asked_of(name, ChunkRequest) == count > 0
    (found,) = snapshots_in(world.home)
    (found.path / MANIFEST).write_bytes(b"damaged")
    world.holds(await world.begin())
    assert world.asked_of(name, ChunkRequest) == 2 * count
