"""The hint of R4: who is away while a quorum goes on is not waited for."""

from typing import Any

from consensus.activity import SILENT_VIEWS_MIN, Activity
from consensus.timeouts import Timeouts


def test_one_is_silent_only_after_views_and_time_without_a_word() -> None:
    activity = Activity(2)
    for view in range(SILENT_VIEWS_MIN + 1):
        assert not activity.is_silent(1, 10_000, 100), view
        activity.entered(1_000)
    assert not activity.is_silent(1, 1_100, 100)
    assert activity.is_silent(1, 1_101, 100)
    activity.heard(1)
    assert not activity.is_silent(1, 10_000, 100)
    assert activity.is_silent(0, 10_000, 100)


def test_while_no_view_is_entered_nobody_is_silent() -> None:
    """An idle or a halted network hears nobody, and blames nobody."""
    activity = Activity(1)
    assert not activity.is_silent(0, 10**9, 100)


def test_a_silent_leader_costs_no_time_out_any_more(network: Any) -> None:
    grown = []
    for skip_ms in (1_000, 10**9):
        net = network(4, timeouts=Timeouts(200, 500, 4_000, 1_000, 500, skip_ms)).start()
        net.nodes[2].crash()
        net.run(6_000)
        before = net.nodes[0].height
        net.run(4_000)
        grown.append(net.nodes[0].height - before)
        net.honest()
    assert grown[0] > 5 * grown[1], grown


def test_who_comes_back_leads_again(network: Any) -> None:
    net = network(4, timeouts=Timeouts(200, 500, 4_000, 1_000, 500, 1_000)).start()
    net.nodes[2].crash()
    net.run(6_000)
    net.nodes[2].start()
    net.run(3_000)
    account = net.members[2].account
    recent = [tip.header.proposer for tip in net.nodes[0].disk.chain[-12:]]
    assert recent.count(account) >= 2
    net.honest()
