"""The one-validator engine: real headers and certificates, and the pace of blocks."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from consensus.solo import Solo
from consensus.solo_effects import (
    BuildBlock,
    CommitBlock,
    Effect,
    ExecuteBlock,
    SetTimer,
    SignVote,
)
from consensus.solo_inputs import (
    BlockBuilt,
    BlockExecuted,
    Input,
    Pacing,
    PacingChanged,
    Started,
    TimerFired,
    Tip,
    TransactionsPending,
    VoteSigned,
)
from state.crypto import Tag, address_of
from state.finality import (
    Header,
    Justify,
    Validator,
    justify_hash,
    set_hash,
    verify_certificate,
    vote_digest,
)
from state.types import ZERO_HASH

GENESIS = b"g" * 32
KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)
ADDRESS = address_of(PUBLIC)
MEMBERS = (Validator(PUBLIC, ADDRESS, 5),)
PACING = Pacing(100, 1_000)


def root_after(height: int, what: str) -> bytes:
    return f"{what} {height}".encode().ljust(32, b".")


def genesis_tip(*, changed: bool = False) -> Tip:
    members = set_hash(MEMBERS)
    header = Header(
        0, 0, 0, 0, ZERO_HASH, 500, ADDRESS, *[ZERO_HASH] * 5, members, members, ZERO_HASH
    )
    roots = (root_after(0, "state"), root_after(0, "outcomes"))
    return Tip(header, b"genesis".ljust(32, b"."), *roots, changed, None)


class World:
    """Everything around the engine, with a clock that a test moves.

    `full` says of a height whether its block holds transactions.
    """

    def __init__(self, pacing: Pacing = PACING, tip: Tip | None = None, floor: int = 0) -> None:
        self.now = 10_000
        self.engine = Solo(ADDRESS, pacing)
        self.full: set[int] = set()
        self.timer: int | None = None
        self.effects: list[Effect] = []
        self.blocks: list[tuple[int, CommitBlock]] = []
        self.feed(Started(self.now, tip or genesis_tip(), floor))

    def feed(self, event: Input) -> None:
        waiting = deque([event])
        while waiting:
            for effect in self.engine.handle(waiting.popleft()):
                self.effects.append(effect)
                waiting.extend(self.answer(effect))

    def answer(self, effect: Effect) -> list[Input]:
        match effect:
            case SetTimer():
                assert effect.at_ms > self.now, "a timer in the past would spin"
                self.timer = effect.at_ms
                return []
            case BuildBlock():
                members = set_hash(MEMBERS)
                root = root_after(effect.height, "body")
                return [BlockBuilt(self.now, root, members, members, ZERO_HASH)]
            case ExecuteBlock():
                height = effect.header.height
                roots = (root_after(height, "state"), root_after(height, "outcomes"))
                return [BlockExecuted(effect.block_id, *roots, height in self.full)]
            case SignVote():
                digest = vote_digest(effect.kind, GENESIS, effect.proposal)
                signature = KEY.sign(digest).signature
                return [VoteSigned(effect.kind, effect.proposal.block_id, signature)]
            case CommitBlock():
                self.blocks.append((self.now, effect))
                return []

    def run_until(self, end: int) -> None:
        while self.timer is not None and self.timer <= end:
            self.now, self.timer = self.timer, None
            self.feed(TimerFired(self.now))
        self.now = end

    @property
    def times(self) -> list[int]:
        return [at - 10_000 for at, _ in self.blocks]


def test_the_first_block_does_not_wait() -> None:
    assert World().times == [0]


def test_effects_come_in_the_order_that_makes_them_safe() -> None:
    """A vote is signed after execution, the block is final after both votes."""
    world = World()
    kinds = [type(effect) for effect in world.effects]
    assert kinds == [BuildBlock, ExecuteBlock, SignVote, SignVote, CommitBlock, SetTimer]
    votes = [effect.kind for effect in world.effects if isinstance(effect, SignVote)]
    assert votes == [Tag.NOTARIZE, Tag.FINALIZE]


def test_headers_form_a_chain_that_a_light_client_follows() -> None:
    world = World()
    world.run_until(world.now + 5_000)
    tip = genesis_tip()
    parent, parent_id, certificate = tip.header, tip.block_id, tip.finalization
    assert len(world.blocks) == 6
    for _, commit in world.blocks:
        header = commit.header
        assert header.id == commit.block_id
        assert (header.height, header.parent_id) == (parent.height + 1, parent_id)
        assert header.parent_view == parent.view < header.view
        assert header.time_ms > parent.time_ms
        assert header.state_root == root_after(parent.height, "state")
        assert header.outcomes_root == root_after(parent.height, "outcomes")
        assert header.justify_hash == justify_hash(Justify(certificate, ()))
        assert header.proposer == ADDRESS
        subject = commit.finalization.subject
        assert (subject.block_id, subject.view) == (header.id, header.view)
        assert (subject.parent_view, subject.justify_hash) == (parent.view, header.justify_hash)
        assert verify_certificate(GENESIS, commit.finalization, MEMBERS)
        parent, parent_id, certificate = header, header.id, commit.finalization


def test_idle_and_busy_paces() -> None:
    world = World()
    world.run_until(world.now + 2_500)
    assert world.times == [0, 1_000, 2_000]
    world.feed(TransactionsPending(world.now, True))
    assert world.times == [0, 1_000, 2_000, 2_500]
    world.run_until(world.now + 250)
    assert world.times == [0, 1_000, 2_000, 2_500, 2_600, 2_700]
    world.feed(TransactionsPending(world.now, False))
    world.run_until(world.now + 1_000)
    assert world.times[-1] == 3_700


def test_exactly_one_empty_block_follows_the_last_full_one() -> None:
    """Its header carries the root that proofs wait for (consensus settled point 15)."""
    world = World()
    world.full = {2}
    world.run_until(world.now + 4_000)
    assert world.times == [0, 1_000, 1_100, 2_100, 3_100]


def test_a_root_that_was_owed_before_the_restart_is_owed_after_it() -> None:
    world = World(tip=genesis_tip(changed=True))
    assert world.times == [0]
    world.run_until(world.now + 1_500)
    assert world.times == [0, 1_000]


def test_another_pace_holds_at_once() -> None:
    world = World()
    world.run_until(world.now + 50)
    world.feed(PacingChanged(world.now, Pacing(10, 20)))
    world.run_until(world.now + 50)
    assert world.times == [0, 50, 70, 90]


def test_views_above_the_floor_are_used_and_none_twice() -> None:
    world = World(floor=17)
    world.run_until(world.now + 2_000)
    views = [commit.header.view for _, commit in world.blocks]
    assert views == [18, 19, 20]
    assert world.blocks[0][1].header.parent_view == 0


def test_time_never_goes_back() -> None:
    """A wall clock that was set back: the header takes the least time that is allowed."""
    tip = genesis_tip()
    world = World(tip=tip)
    assert world.blocks[0][1].header.time_ms == 10_000
    engine = Solo(ADDRESS, PACING)
    engine.handle(Started(0, tip, 0))
    (execute,) = engine.handle(BlockBuilt(3, *[ZERO_HASH] * 4))
    assert isinstance(execute, ExecuteBlock)
    assert execute.header.time_ms == tip.header.time_ms + 1


def test_answers_that_were_not_asked_for_are_bugs() -> None:
    engine = Solo(ADDRESS, PACING)
    with pytest.raises(AssertionError):
        engine.handle(BlockBuilt(3, *[ZERO_HASH] * 4))
    engine.handle(Started(0, genesis_tip(), 0))
    with pytest.raises(AssertionError):
        engine.handle(Started(0, genesis_tip(), 0))
    (execute,) = engine.handle(BlockBuilt(3, *[ZERO_HASH] * 4))
    assert isinstance(execute, ExecuteBlock)
    with pytest.raises(AssertionError):
        engine.handle(BlockExecuted(b"x" * 32, ZERO_HASH, ZERO_HASH, False))
    engine.handle(BlockExecuted(execute.block_id, ZERO_HASH, ZERO_HASH, False))
    for kind, block_id in ((Tag.NOTARIZE, b"x" * 32), (Tag.FINALIZE, execute.block_id)):
        with pytest.raises(AssertionError):
            engine.handle(VoteSigned(kind, block_id, bytes(64)))


def test_a_slower_busy_pace_is_refused() -> None:
    with pytest.raises(AssertionError):
        Pacing(2, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(1, 900),
            st.booleans(),
            st.tuples(st.integers(1, 200), st.integers(200, 1_500)),
        ),
        max_size=30,
    ),
    st.sets(st.integers(1, 30)),
)
def test_whatever_happens_blocks_keep_their_distance_and_come_in_time(
    steps: list[int | bool | tuple[int, int]], full: set[int]
) -> None:
    world = World()
    world.full = full
    pacings = [PACING]
    for step in steps:
        if isinstance(step, bool):
            world.feed(TransactionsPending(world.now, step))
        elif isinstance(step, int):
            world.run_until(world.now + step)
        else:
            pacings.append(Pacing(*step))
            world.feed(PacingChanged(world.now, pacings[-1]))
    world.run_until(world.now + 1_500)
    gaps = [after - before for before, after in zip(world.times, world.times[1:], strict=False)]
    assert all(gap >= min(pacing.block_interval_ms_min for pacing in pacings) for gap in gaps)
    assert all(gap <= max(pacing.idle_interval_ms for pacing in pacings) for gap in gaps)
    assert [commit.header.height for _, commit in world.blocks] == list(
        range(1, len(world.blocks) + 1)
    )
