"""Links that carry one way only: while a quorum is connected both ways, the chain goes on."""

from typing import Any

import pytest

SEEDS = 25


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("count", [4, 7])
def test_a_quorum_connected_both_ways_is_enough(network: Any, count: int, seed: int) -> None:
    """Whoever is outside may hear and not be heard, or be heard and not hear, as chance has it."""
    net = network(count, seed=seed, delay=(5, 40))
    outside = net.random.sample(range(count), (count - 1) // 3)
    cut = {
        (one, other)
        for one in range(count)
        for other in range(count)
        if (one in outside or other in outside) and net.random.randrange(2)
    }
    net.filter = lambda sender, receiver, _: (sender, receiver) not in cut
    net.start()
    quorum = [node for node in net.nodes if node.index not in outside]
    net.run(120_000, lambda: all(node.height >= 15 for node in quorum))
    assert all(node.height >= 15 for node in quorum), [node.height for node in net.nodes]
    cut.clear()
    height = max(node.height for node in net.nodes)
    net.run_to(height + 10, 120_000)
    net.honest()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_cuts_that_wander(network: Any, seed: int) -> None:
    """Every two seconds another node is deaf or mute to a part of the others."""
    net = network(4, seed=seed, delay=(5, 40), loss=2)
    cut: set[tuple[int, int]] = set()
    net.filter = lambda sender, receiver, _: (sender, receiver) not in cut
    net.start()
    for _ in range(15):
        one, deaf = net.random.randrange(4), net.random.randrange(2)
        others = net.random.sample([at for at in range(4) if at != one], 2)
        cut.clear()
        cut.update((other, one) if deaf else (one, other) for other in others)
        net.run(2_000)
    assert max(node.height for node in net.nodes) > 20, "most of the time a quorum was connected"
    cut.clear()
    height = max(node.height for node in net.nodes)
    net.run_to(height + 10, 120_000)
    net.honest()
