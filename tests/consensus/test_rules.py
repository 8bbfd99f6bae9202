"""R0, R1, R4 and R7 at their edges: long gaps, far behind, waiting for finality, alone."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from consensus.core import BEHIND_VIEWS_MAX
from consensus.driver import Driver
from consensus.effects import BuildBlock, CommitBlock, ExecuteBlock, Send, SetTimer, SignVote
from consensus.inputs import (
    BlockBuilt,
    BlockExecuted,
    BuildFailed,
    Started,
    TimerFired,
    TransactionsPending,
    VoteSigned,
)
from consensus.messages import Block, BlockReply, Propose
from consensus.settings import Judgement, Settings
from consensus.timeouts import GAP_FREE_VIEWS
from state.crypto import Tag
from state.finality import NULLIFICATIONS_MAX, Justify, Nullified, Nullify, Proposal
from state.types import ZERO_HASH

FIRST = Justify(None, ())


def of(effects: list[Any], kind: Any) -> list[Any]:
    return [one for one in effects if isinstance(one, kind)]


def signed(rig: Any, kind: Tag) -> list[int]:
    return [one.subject.view for one in of(rig.node.effects, SignVote) if one.kind is kind]


def enter(rig: Any, view: int) -> None:
    rig.send(1, rig.nullified(view - 1, 1, 2, 3))
    assert rig.node.core.epoch.view == view


def view_of(rig: Any, start: int, *, mine: bool) -> int:
    """The first view from `start` on that node 0 leads, or does not, after one that it does not."""
    for view in range(start, start + 50):
        if (rig.leader(view) == 0) == mine and rig.leader(view - 1) != 0:
            return view
    raise AssertionError("every rotation has such a view")


# --- entering -------------------------------------------------------------------------------------


def test_r0_a_notarization_opens_the_next_view_only_once_its_block_was_executed(forge: Any) -> None:
    rig = forge()
    late: list[Any] = []
    answer = rig.node.answer

    def hold(effect: Any) -> list[Any]:
        if not isinstance(effect, ExecuteBlock):
            return list(answer(effect))
        late.extend(answer(effect))
        return []

    rig.node.answer = hold
    first = rig.propose(1, rig.net.genesis, FIRST)
    notarized = rig.certificate(Tag.NOTARIZE, first.proposal, 1, 2, 3)
    rig.send(1, notarized)
    assert rig.node.core.epoch.view == 1, "its block is missing"
    rig.send(1, first)
    assert len(late) == 1
    assert rig.node.core.epoch.view == 1, "its block was not executed"
    assert signed(rig, Tag.FINALIZE) == []
    rig.node.feed(late.pop())
    assert rig.node.core.epoch.view == 2
    assert signed(rig, Tag.FINALIZE) == [1]


def test_r0_a_nullification_opens_the_next_view_at_once(forge: Any) -> None:
    rig = forge()
    rig.send(1, rig.propose(1, rig.net.genesis, FIRST))
    rig.send(1, rig.nullified(1, 1, 2, 3))
    assert rig.node.core.epoch.view == 2


# --- gaps -----------------------------------------------------------------------------------------


def test_a_long_gap_takes_its_time_whatever_asks_for_nullify(forge: Any) -> None:
    """Leaders who give up at once would else burn a bounded number of views within a minute."""
    rig = forge()
    view = view_of(rig, GAP_FREE_VIEWS + 100, mine=False)
    enter(rig, view)
    wait_ms = rig.net.timeouts.nullify_wait_ms(view - 1)
    assert wait_ms >= 4_000
    gave_up = rig.vote(Tag.NULLIFY, Nullified(0, view), rig.leader(view))
    rig.send(1, gave_up)
    rig.net.run(wait_ms - 1)
    assert view not in signed(rig, Tag.NULLIFY)
    rig.net.run(60_000)
    assert view in signed(rig, Tag.NULLIFY)


def test_a_short_gap_does_not_wait(forge: Any) -> None:
    rig = forge()
    view = view_of(rig, 100, mine=False)
    enter(rig, view)
    rig.send(1, rig.vote(Tag.NULLIFY, Nullified(0, view), rig.leader(view)))
    assert view in signed(rig, Tag.NULLIFY)


def test_the_last_view_that_a_justification_can_skip_is_not_given_up(forge: Any) -> None:
    rig = forge()
    view = view_of(rig, NULLIFICATIONS_MAX + 1, mine=False)
    enter(rig, view)
    for _ in range(3):
        rig.net.now += 10**9
        rig.node.feed(TimerFired(rig.net.now))
    assert view not in signed(rig, Tag.NULLIFY)


def test_after_a_long_gap_the_chain_goes_on(network: Any) -> None:
    net = network(4)
    blocked = {"on": True}
    net.filter = lambda _from, _to, message: not (blocked["on"] and isinstance(message, Propose))
    for node in net.nodes:  # leaders have nothing to propose, and say so at once
        answer = node.answer
        node.answer = lambda effect, answer=answer: (
            [BuildFailed(net.now, effect.view)]
            if blocked["on"] and isinstance(effect, BuildBlock)
            else answer(effect)
        )
    net.start()
    net.run(60_000)
    view = net.nodes[0].core.epoch.view
    assert GAP_FREE_VIEWS < view < GAP_FREE_VIEWS + 30, "fast at first, then one in four seconds"
    blocked["on"] = False
    net.run_to(5, 60_000)
    net.honest()


# --- being behind ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [BEHIND_VIEWS_MAX, BEHIND_VIEWS_MAX + 1])
def test_2_7_who_is_far_behind_finality_does_not_vote_until_it_caught_up(
    forge: Any, ahead: int
) -> None:
    rig = forge()
    justify = Justify(None, tuple([rig.nullified(at, 1, 2, 3) for at in range(1, ahead)]))
    propose = rig.propose(ahead, rig.net.genesis, justify)
    rig.send(1, rig.certificate(Tag.FINALIZE, propose.proposal, 1, 2, 3))
    assert rig.node.core.epoch.view == ahead + 1
    rig.net.run(30_000)
    votes = signed(rig, Tag.NULLIFY)
    assert (ahead + 1 in votes) == (ahead <= BEHIND_VIEWS_MAX)
    rig.send(1, BlockReply((Block(propose.header, justify, propose.body),)))
    assert rig.node.height == 1
    rig.net.run(30_000)
    assert signed(rig, Tag.NULLIFY) == [ahead + 1], "its time-outs count anew"


# --- the end of an epoch --------------------------------------------------------------------------


def test_settled_9_before_the_boundary_is_proposed_again_its_finality_is_waited_for(
    forge: Any,
) -> None:
    rig = forge(epoch_blocks=1)
    view = view_of(rig, 2, mine=True)
    before = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, view - 1)])
    propose = rig.propose(view - 1, rig.net.genesis, Justify(None, before))
    rig.send(1, *before, propose)
    rig.send(1, rig.certificate(Tag.NOTARIZE, propose.proposal, 1, 2, 3))
    assert rig.node.core.epoch.view == view
    entered = rig.net.now
    proposed = []
    while not proposed and rig.net.now < entered + 5_000:
        rig.net.run(10)
        sent = [one.message for one in of(rig.node.effects, Send)]
        proposed = [one for one in sent if isinstance(one, Propose) and one.proposal.view == view]
    assert rig.net.now - entered == rig.net.timeouts.delta_ms
    assert proposed[0].header == propose.header
    assert proposed[0].body == b""
    assert not of(rig.node.effects, BuildBlock)


# --- alone ----------------------------------------------------------------------------------------


def test_a_validator_alone_makes_block_after_block_without_a_timer(network: Any) -> None:
    """Each answer comes a millisecond later: nothing else is waited for, and times grow."""
    net = network(1)
    node = net.nodes[0]
    driver = Driver(
        Settings(
            b"g" * 32,
            1_000,
            node.key,
            lambda claims: [True] * len(claims),
            lambda _header, _body: Judgement.VALID,
            lambda _header, _id, _body: True,
            net.timeouts,
            net.pacing,
        )
    )
    tip, now = net.genesis, 1_000
    times: list[int] = []
    waiting: list[Any] = [Started(now, now + 1_000_000, node.info(0), tip)]
    waiting.append(TransactionsPending(now, True))
    while len(times) < 20:
        now += 1
        event = replace(waiting.pop(0), now_ms=now) if waiting else TimerFired(now)
        assert not isinstance(event, TimerFired), "nothing is waited for"
        for effect in driver.handle(event):
            match effect:
                case BuildBlock(view):
                    roots = {"tx_root": b"t" * 32, "params_hash": ZERO_HASH}
                    roots["evidence_root"] = ZERO_HASH
                    waiting.append(
                        BlockBuilt(now, view, time_ms=now + 1_000_000, body=b"", **roots)
                    )
                case ExecuteBlock(_, block_id):
                    waiting.append(BlockExecuted(now, block_id, True, b"s" * 32, b"o" * 32, True))
                case SignVote(kind, subject):
                    waiting.append(VoteSigned(now, kind, subject, bytes(64)))
                case CommitBlock(header):
                    times.append(header.time_ms)
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[-1] - times[0] < 20 * 8


def test_a_validator_alone_does_not_run_ahead_of_its_clock(network: Any) -> None:
    net = network(1).start()
    net.run(100)
    times = [tip.header.time_ms for tip in net.nodes[0].disk.chain[1:]]
    assert len(times) > 90
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[-1] <= net.now + 1_000_000


# --- sending again --------------------------------------------------------------------------------


def test_votes_for_views_to_come_do_not_crowd_out_what_is_sent_again(forge: Any) -> None:
    """Sixteen votes ahead would else keep a stuck node's own Nullify from ever going out again."""
    rig = forge()
    view = view_of(rig, 2, mine=False)
    enter(rig, view)
    rig.net.run(5_000)
    assert view in signed(rig, Tag.NULLIFY)
    for ahead in range(view + 1, view + 17):
        rig.send(1, rig.vote(Tag.NULLIFY, Nullified(0, ahead), 1))
    rig.node.effects.clear()
    rig.net.run(5_000)
    again = [one.message for one in of(rig.node.effects, Send)]
    assert [one for one in again if isinstance(one, Nullify) and one.subject.view == view]


def test_r1_the_leader_is_silent_until_the_gap_is_nullified_and_asks_for_what_is_missing(
    forge: Any,
) -> None:
    rig = forge()
    view = view_of(rig, 3, mine=True)
    missing = view - 2
    rig.send(1, *[rig.nullified(at, 1, 2, 3) for at in range(1, view) if at != missing])
    rig.net.run(300)
    assert not of(rig.node.effects, BuildBlock)
    asked = [one.message for one in of(rig.node.effects, Send)]
    assert any(getattr(one, "view", None) == missing for one in asked)
    rig.send(1, rig.nullified(missing, 1, 2, 3))
    assert [one.view for one in of(rig.node.effects, BuildBlock)] == [view]


def test_own_block_that_the_application_finds_foreign_is_given_up_at_once(forge: Any) -> None:
    rig = forge()
    view = view_of(rig, 2, mine=True)
    answer = rig.node.answer
    rig.node.answer = lambda effect: [
        replace(one, tx_root=b"z" * 32) if isinstance(one, BlockBuilt) else one
        for one in answer(effect)
    ]
    rig.send(1, *[rig.nullified(at, 1, 2, 3) for at in range(1, view)])
    assert signed(rig, Tag.NULLIFY)[-1] == view
    assert not [one for one in of(rig.node.effects, SetTimer) if one.at_ms < rig.net.now]


def test_r7_what_is_final_lower_down_commits_with_what_is_final_above(forge: Any) -> None:
    rig = forge()
    low = rig.propose(1, rig.net.genesis, FIRST)
    rig.send(1, low)
    notarized = rig.certificate(Tag.NOTARIZE, low.proposal, 1, 2, 3)
    rig.send(1, notarized)
    tip = rig.node.executed[low.header.id]
    high = rig.propose(2, tip, Justify(notarized, ()))
    rig.send(1, high)
    rig.send(1, rig.certificate(Tag.FINALIZE, high.proposal, 1, 2, 3))
    commits = of(rig.node.effects, CommitBlock)
    assert [(one.header.height, one.finalization is None) for one in commits] == [
        (1, True),
        (2, False),
    ]
    stray = Proposal(0, 1, 0, b"x" * 32, b"j" * 32)
    rig.send(1, rig.certificate(Tag.FINALIZE, stray, 1, 2, 3))
    assert rig.node.height == 2, "a finalization below what is final moves nothing"
