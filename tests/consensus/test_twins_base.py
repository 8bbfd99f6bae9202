"""The five base tests of Twins: what copies under one key can do, and that the harness sees a fork.

Endpoints 0 to 3 are the validators, the second copies follow in the order of their validators.
"""

from tests.consensus.network import Network, Node

PARTED_MS = 20_000
HEALED_MS = 60_000


def twinned(*twins: int) -> Network:
    net = Network(4, twins=twins)
    net.body = lambda node, height: b"%d at %d" % (height, net.nodes.index(node))
    return net


def part(net: Network, *sides: set[int]) -> None:
    """Let endpoints hear only those of their own side."""
    for low in range(len(net.nodes)):
        for high in range(low + 1, len(net.nodes)):
            net.hears[low, high] = any({low, high} <= side for side in sides)


def heights(nodes: list[Node]) -> list[int]:
    return [node.height for node in nodes]


def test_both_copies_start_and_follow() -> None:
    net = twinned(0).start()
    net.run_to(3, HEALED_MS)
    assert len(net.nodes) == 5
    assert net.nodes[0].key == net.nodes[4].key
    assert min(heights(net.nodes)) >= 3


def test_a_minority_makes_nothing_final() -> None:
    net = twinned(0).start()
    part(net, {0, 1}, {4, 2, 3})
    net.run(PARTED_MS)
    assert heights(net.nodes[:2]) == [0, 0]
    assert min(heights(net.nodes[2:])) > 3


def test_the_votes_of_two_copies_count_once() -> None:
    """Three endpoints are two validators, and no quorum: not even over a helpful third party."""
    net = twinned(0).start()
    part(net, {0, 4, 1}, {2, 3})
    net.run(PARTED_MS)
    assert set(heights(net.nodes)) == {0}


def test_two_twins_of_four_fork_the_chain_and_are_named() -> None:
    net = twinned(0, 1)
    net.forks_allowed = True
    net.start()
    part(net, {0, 1, 2}, {4, 5, 3})
    net.run(PARTED_MS)
    assert net.forks > 3
    assert min(heights(net.nodes)) > 3
    part(net, set(range(6)))
    net.run(PARTED_MS)
    found = {one.first.vote.validator for node in net.nodes[2:4] for one in node.evidence}
    assert found == {0, 1}
    assert any(node.halted for node in net.nodes[2:4]), "whoever learns of a fork goes no further"


def test_everybody_finalizes_one_chain() -> None:
    net = twinned(0).start()
    net.run_to(20, HEALED_MS)
    assert all(node.halted is None for node in net.nodes)
    named = {one.first.vote.validator for node in net.nodes[1:4] for one in node.evidence}
    assert named == {0}, "the copies lead in turn with two blocks, and nobody else is accused"
