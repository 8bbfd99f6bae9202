"""Wall clocks that jump by hours, on any nodes and in either direction: blocks go on."""

from itertools import pairwise
from typing import Any

import pytest

HOUR_MS = 3_600_000
FUTURE_MS = 500
"""The future_ms_max of the test network."""


def times(node: Any) -> list[int]:
    return [tip.header.time_ms for tip in node.disk.chain[1:]]


@pytest.mark.parametrize("jump_ms", [-3 * HOUR_MS, -2_000, 2_000, 3 * HOUR_MS])
@pytest.mark.parametrize(("count", "jumping"), [(1, 1), (4, 1), (4, 2), (4, 3), (4, 4), (7, 3)])
def test_the_chain_goes_on(network: Any, count: int, jumping: int, jump_ms: int) -> None:
    net = network(count, seed=jumping).start()
    net.run_to(5, 10_000)
    for node in net.nodes[:jumping]:
        node.set_clock(jump_ms)
    height = max(node.height for node in net.nodes)
    net.run_to(height + 20, 60_000)
    net.honest()
    for node in net.nodes[:jumping]:
        node.set_clock(0)
    height = max(node.height for node in net.nodes)
    net.run_to(height + 20, 60_000)
    net.honest()


def test_the_time_stands_nearly_still_until_clocks_catch_up(network: Any) -> None:
    net = network(4).start()
    net.run_to(5, 10_000)
    for node in net.nodes:
        node.set_clock(-5_000)
    height = net.nodes[0].height
    net.run_to(height + 20, 60_000)
    found = times(net.nodes[0])
    steps = [later - earlier for earlier, later in pairwise(found[height : height + 20])]
    assert max(steps) == 1
    net.run(10_000)
    assert times(net.nodes[0])[-1] >= net.nodes[0].wall_ms - 2_000


def test_a_leader_whose_clock_is_ahead_takes_the_chain_no_further(network: Any) -> None:
    net = network(4).start()
    net.run_to(5, 10_000)
    net.nodes[3].set_clock(HOUR_MS)
    net.run_to(30, 60_000)
    assert times(net.nodes[0])[-1] <= net.nodes[0].wall_ms + FUTURE_MS


@pytest.mark.parametrize("seed", range(5))
def test_clocks_that_never_agree(network: Any, seed: int) -> None:
    """Every second somebody's clock is set by up to two hours, a minority's at once."""
    net = network(4, seed=seed).start()
    for _ in range(30):
        node = net.random.choice(net.nodes)
        for other in net.nodes:
            if other is not node and other.ahead_ms:
                other.set_clock(0)
        node.set_clock(net.random.randint(-2 * HOUR_MS, 2 * HOUR_MS))
        net.run(1_000)
    height = net.nodes[0].height
    assert height > 10
    net.run_to(height + 10, 60_000)
    net.honest()
