"""Whatever comes, in whatever order, lost, twice, or across crashes: a node contradicts nothing.

The signer here has no guard and signs whatever it is asked for, so what is tested is the driver.
The oracle compares every pair of votes that it ever asked for.
"""

from collections.abc import Callable
from itertools import combinations
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.effects import CommitBlock, Journal, SignVote, StoreBlock
from consensus.inputs import Input, TimerFired, Tip, VoteSigned
from consensus.messages import Block, BlockReply, Propose
from state.crypto import Tag
from state.finality import (
    Justify,
    Notarize,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
    clash,
)

VIEWS = 8
DURABLE = (Journal, StoreBlock, SignVote, CommitBlock)
MakeForge = Callable[..., Any]
FIXTURE = HealthCheck.function_scoped_fixture
"""The fixture only makes: each example has a node of its own."""


class Careless:
    """Node 0 with a signer that never refuses, and everything that others may send it."""

    def __init__(self, forge: MakeForge) -> None:
        self.rig = forge()
        self.node = self.rig.node
        self.node.sign_vote = self.sign
        self.votes: list[SignedVote] = []
        self.pool = messages(self.rig)

    def sign(self, kind: Tag, subject: Proposal | Nullified) -> Input:
        vote = self.rig.vote(kind, subject, 0)
        self.votes.append(vote)
        return VoteSigned(self.rig.net.now, kind, subject, vote.vote.signature)

    def take(self, step: tuple[str, int]) -> None:
        what, number = step
        if what == "wait":
            self.rig.net.now += number
            self.node.feed(TimerFired(self.rig.net.now))
        elif what == "crash":
            self.node.crash()
        elif what == "power":
            self.node.crash_after = number
        else:
            at = self.node.core.epoch.view + (0, 0, 0, 1, -1)[number % 5]
            pool = self.pool[min(max(1, at), VIEWS)]
            self.rig.send(1 + number % 3, pool[number // 5 % len(pool)])
        if self.node.driver is None:
            self.node.crash_after = None
            self.node.start(guarded=tuple(self.votes))

    def check(self) -> None:
        for first, second in combinations(self.votes, 2):
            assert not clash(first, second), (first, second)
            assert first != second, "nothing is signed twice"
            if isinstance(first, Nullify) and isinstance(second, Notarize):
                same = first.subject.view == second.subject.view
                assert not same, "R4: no Notarize after Nullify"


def messages(rig: Any) -> dict[int, list[Any]]:
    """By view: two competing proposals, votes of others short of a quorum, and certificates."""
    ends: list[tuple[int, Tip, Any]] = [(0, rig.net.genesis, None)]
    found: dict[int, list[Any]] = {}
    for view in range(1, VIEWS + 1):
        gone = Nullified(0, view)
        here = found[view] = [rig.vote(Tag.NULLIFY, gone, at) for at in (1, 2, 3)]
        here.append(rig.nullified(view, 1, 2, 3))
        if rig.leader(view) == 0:
            continue
        for parent_view, tip, certificate in ends[-2:]:
            gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(parent_view + 1, view)])
            propose: Propose = rig.propose(view, tip, Justify(certificate, gap))
            block = Block(propose.header, propose.justify, propose.body)
            subject = propose.proposal
            for kind in (Tag.NOTARIZE, Tag.FINALIZE):
                here += [rig.vote(kind, subject, at) for at in (1, 2)]
            notarized = rig.certificate(Tag.NOTARIZE, subject, 1, 2, 3)
            here += [propose, propose, BlockReply((block,)), notarized]
            ends.append((view, rig.net.executed_tip(propose.header), notarized))
        if view % 3 == 0:
            here.append(rig.certificate(Tag.FINALIZE, subject, 1, 2, 3))
    return found


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("message"), st.integers(0, 10**6)),
        st.tuples(st.just("message"), st.integers(0, 10**6)),
        st.tuples(st.just("message"), st.integers(0, 10**6)),
        st.tuples(st.just("wait"), st.integers(1, 1_500)),
        st.tuples(st.just("crash"), st.just(0)),
        st.tuples(st.just("power"), st.integers(0, 3)),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[FIXTURE])
@given(steps=STEPS)
def test_no_order_of_messages_times_and_crashes_gives_a_slashable_pair(
    forge: MakeForge, steps: list[tuple[str, int]]
) -> None:
    node = Careless(forge)
    for step in steps:
        node.take(step)
    node.check()


@settings(max_examples=40, deadline=None, suppress_health_check=[FIXTURE])
@given(steps=STEPS)
def test_the_same_inputs_give_the_same_effects(
    forge: MakeForge, steps: list[tuple[str, int]]
) -> None:
    one, two = Careless(forge), Careless(forge)
    for step in steps:
        one.take(step)
        two.take(step)
    assert one.node.effects == two.node.effects
    assert one.votes == two.votes


@pytest.mark.parametrize("seed", range(6))
def test_from_every_prefix_of_the_journal_it_goes_on_without_contradiction(
    forge: MakeForge, seed: int
) -> None:
    """The power fails before each durable effect in turn; the guard remembers what was signed."""
    chance = Random(seed)
    script = [("message", chance.randrange(10**6)) for _ in range(150)]
    script += [("wait", 900), *script[:50]]
    whole = Careless(forge)
    for step in script:
        whole.take(step)
    whole.check()
    durable = [one for one in whole.node.effects if isinstance(one, DURABLE)]
    assert len(durable) >= 8
    for after in range(len(durable)):
        node = Careless(forge)
        node.node.crash_after = after
        for step in script:
            node.take(step)
        node.check()
        assert node.votes


def test_the_oracle_sees_what_it_looks_for(forge: MakeForge) -> None:
    """The negative control: a driver that forgets its Nullify at a crash is caught."""
    caught = 0
    for order in (1, 7, 37, 101):
        node = Careless(forge)
        start = node.node.start
        node.node.start = lambda start=start, **_: start()
        for at in range(300):
            if at % 9 == 4:
                node.take(("wait", 900))
            if at % 9 == 8:
                node.node.disk.records.clear()
                node.take(("crash", 0))
            node.take(("message", at * order))
        try:
            node.check()
        except AssertionError:
            caught += 1
    assert caught
