"""Networks of drivers: they agree, go on, and accuse no honest node, whatever the links do."""

from typing import Any

import pytest

from state.finality import offender


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


@pytest.mark.parametrize("seed", range(8))
def test_half_the_messages_are_lost_and_the_chain_goes_on(network: Any, seed: int) -> None:
    net = network(5, seed=seed, delay=(50, 350), loss=50).start()
    net.run_to(6, 2_000_000)
    net.honest()


@pytest.mark.parametrize("seed", range(20))
def test_nodes_that_crash_at_random_contradict_nobody(network: Any, seed: int) -> None:
    net = network(4, seed=seed, delay=(5, 60), loss=5).start()
    for _ in range(25):
        net.run(net.random.randint(20, 600))
        node = net.random.choice(net.nodes)
        if node.driver is not None:
            node.crash()
        else:
            node.start()
    for node in net.nodes:
        if node.driver is None:
            node.start()
    net.run_to(max(node.height for node in net.nodes) + 5, 100_000)
    net.honest()


def test_the_power_fails_before_each_durable_effect_in_turn(network: Any) -> None:
    """Whatever prefix of a step is on disk, the node comes back and contradicts nothing."""
    for after in range(40):
        net = network(4, seed=after).start()
        net.nodes[1].crash_after = after
        net.run(400)
        assert net.nodes[1].driver is None, "the crash was reached"
        net.nodes[1].start()
        net.run_to(max(node.height for node in net.nodes) + 5, 60_000)
        net.honest()


def test_the_power_fails_everywhere_at_once_before_each_durable_effect(network: Any) -> None:
    for after in range(40):
        net = network(4, seed=after).start()
        for node in net.nodes:
            node.crash_after = after
        net.run(2_000)
        assert all(node.driver is None for node in net.nodes)
        for node in net.nodes:
            node.start()
        net.run_to(max(node.height for node in net.nodes) + 5, 60_000)
        net.honest()


def test_a_validator_alone_survives_each_crash(network: Any) -> None:
    for after in range(30):
        net = network(1).start()
        net.nodes[0].crash_after = after
        net.run(60)
        assert net.nodes[0].driver is None
        net.nodes[0].start()
        net.run_to(net.nodes[0].height + 5, 60_000)
        net.honest()


def test_a_third_of_the_heads_is_silent_and_views_are_nullified(network: Any) -> None:
    net = network(4).start()
    net.nodes[2].crash()
    net.run_to(12, 60_000)
    net.honest()
    node = net.nodes[0]
    views = [tip.header.view for tip in node.disk.chain]
    assert views != list(range(len(views))), "views of the silent leader were skipped"
    header = node.disk.chain[-1].header
    justify = node.disk.bodies[header.id].justify
    skipped = [one.subject.view for one in justify.nullifications]
    assert skipped == list(range(header.parent_view + 1, header.view))


def test_without_a_quorum_nothing_is_final(network: Any) -> None:
    net = network(4).start()
    net.run_to(3, 5_000)
    net.nodes[2].crash()
    net.nodes[3].crash()
    net.run(200)
    before = net.nodes[0].height
    net.run(30_000)
    assert net.nodes[0].height == before
    net.nodes[2].start()
    net.run_to(before + 5, 30_000)
    net.honest()


def test_a_node_that_was_away_for_long_catches_up(network: Any) -> None:
    net = network(4, epoch_blocks=20).start()
    net.run(50)
    net.nodes[3].crash()
    net.run(30_000)
    high = net.nodes[0].height
    assert high > 60, "three epochs have passed"
    net.nodes[3].start()
    net.run_to(high, 60_000)
    net.honest()


@pytest.mark.parametrize("seed", range(10))
def test_epochs_follow_each_other_under_loss(network: Any, seed: int) -> None:
    net = network(4, seed=seed, delay=(1, 150), loss=10, epoch_blocks=5).start()
    net.run_to(23, 600_000)
    net.honest()


def test_stake_decides_and_heads_do_not(network: Any) -> None:
    """One holds 60 of 100: alone no quorum, with 7 more it is one."""
    net = network(5, stakes=(60, 10, 10, 10, 10)).start()
    for at in (2, 3, 4):
        net.nodes[at].crash()
    net.run_to(6, 60_000)
    net.honest()
    net.nodes[1].crash()
    net.run(100)
    before = net.nodes[0].height
    net.run(20_000)
    assert net.nodes[0].height == before


def test_the_same_inputs_give_the_same_effects(network: Any) -> None:
    one, two = (network(4, seed=3, delay=(5, 90), loss=10).start() for _ in range(2))
    one.run(20_000)
    two.run(20_000)
    assert [node.effects for node in one.nodes] == [node.effects for node in two.nodes]


def test_memory_stays_bounded_while_nothing_is_final_and_while_all_is(network: Any) -> None:
    net = network(4).start()
    net.run_to(100, 30_000)
    for node in net.nodes:
        core = node.core
        assert len(core.epoch.views) < 60
        assert len(core.blocks) < 20
        assert len(core.links) < 60
        assert len(node.disk.records) < 100


def test_four_validators_finalize_within_the_limits_of_the_protocol(network: Any) -> None:
    """Two delays a block, three to finality: what Simplex promises (consensus 1)."""
    net = network(4).start()
    net.run_to(50, 30_000)
    took = net.now - 1_000
    assert took <= 50 * 2 * 10 * 11 // 10 + 30, took


def run_twins(net: Any, changes: int) -> None:
    """Run while each honest node hears one twin or both, redrawn again and again; then heal."""
    honest = [node for node in net.nodes if not is_twin(net, node)]
    twins = [node for node in net.nodes if is_twin(net, node)]
    net.start()
    for _ in range(changes):
        for node in honest:
            chosen = net.random.choice([None, 0, 1])
            for at, twin in enumerate(twins):
                pair = sorted((net.nodes.index(node), net.nodes.index(twin)))
                net.hears[pair[0], pair[1]] = chosen in (None, at)
        net.run(300)
    net.hears.clear()


def is_twin(net: Any, node: Any) -> bool:
    return sum(1 for other in net.nodes if other.key == node.key) > 1


@pytest.mark.parametrize("seed", range(12))
def test_one_twin_of_four_forks_nothing_and_is_named(network: Any, seed: int) -> None:
    """The same code run twice under one key; twins never accuse the honest."""
    net = network(4, seed=seed, delay=(5, 120), loss=3, epoch_blocks=6, twins=(0,))
    run_twins(net, 25)
    honest = net.nodes[1:4]
    high = max(node.height for node in honest) + 3

    def done() -> bool:
        return all(node.height >= high for node in honest)

    net.run(60_000, done)
    assert done(), [(node.height, node.halted) for node in honest]
    assert not any(node.halted for node in honest)
    found = [one for node in honest for one in node.evidence]
    assert found
    assert {offender(one) for one in found} == {0}


def test_two_twins_of_four_do_fork(network: Any) -> None:
    """A negative control: with half of the stake twinned the harness does see forks."""
    forks = 0
    for seed in range(10):
        net = network(4, seed=seed, delay=(5, 60), twins=(0, 1))
        net.forks_allowed = True
        net.start()
        sides = ({0, 1, 2}, {3, 4, 5})
        for at in range(6):
            for other in range(at + 1, 6):
                net.hears[at, other] = any({at, other} <= side for side in sides)
        net.run(3_000)
        forks += net.forks
    assert forks
