"""Networks of drivers: they agree, go on, and accuse no honest node, whatever the links do."""

from typing import Any

import pytest


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_a_quiet_network_finalizes_every_block_in_order(network: Any, count: int) -> None:
    net = network(count).start()
    net.run_to(30, 3_000)
    net.honest()
    assert all(node.core.epoch.view < 45 for node in net.nodes)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [4, 7])
def test_a_lossy_network_agrees_and_goes_on(network: Any, count: int, seed: int) -> None:
    net = network(count, seed=seed, delay=(1, 150), loss=10).start()
    net.run_to(15, 300_000)
    net.honest()
