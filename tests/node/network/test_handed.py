"""When a proposal is handed to consensus again, and that none is judged while no engine runs."""

from consensus.messages import Propose
from node.network.handed import AGAIN_MS, ROUNDS_MAX
from node.network.sketches import Sketch
from p2p.scores import Verdict
from state.finality import Vote
from tests.node.network.mesh import KEYS
from tests.node.network.test_proposals import NODES, Around
from tests.node.network.test_rebuilds import id_of, wire


async def test_a_proposal_that_is_repeated_is_rebuilt_ever_less_often() -> None:
    around = Around(0, 1, 2, 3)
    around.pool[id_of(wire(1))] = wire(1)
    leader, sketch = NODES[around.leads(5)], around.sketch([1])
    times = 0
    for around.now_ms in range(0, 60_000, 100):
        assert around.hears(leader, sketch) == [Verdict.DUPLICATE]
        handed = [message for _, message in around.received if isinstance(message, Propose)]
        if around.now_ms < AGAIN_MS:
            assert len(around.received) == 1
        times = len(handed)
    assert times == len(around.received)
    assert 3 <= times <= ROUNDS_MAX + 60_000 // (AGAIN_MS << ROUNDS_MAX) + 1


async def test_without_its_body_first_a_proposal_is_still_taken_whole() -> None:
    """Nobody has announced to be the leader's node, and a stranger is faster with half of it."""
    around = Around()
    around.pool[id_of(wire(1))] = wire(1)
    sketch = around.sketch([1])
    half = Sketch(sketch.proposal, sketch.vote, sketch.header, None, None)
    around.hears(NODES[0], half)
    around.hears(NODES[1], sketch)
    assert [
        bool(message.body) for _, message in around.received if isinstance(message, Propose)
    ] == [
        False,
        True,
    ]


async def test_what_came_before_its_epoch_is_taken_again_once_that_has_begun() -> None:
    around = Around(0, 1, 2, 3)
    around.pool[id_of(wire(1))] = wire(1)
    leader, sketch = NODES[around.leads(1)], around.sketch([1], 1, epoch=1)
    for _ in range(3):
        around.hears(leader, sketch)
    assert len(around.received) == 1
    around.round = (1, 1)
    for _ in range(3):
        around.hears(leader, sketch)
    assert [type(message) for _, message in around.received] == [Propose, Propose]


async def test_while_the_engine_rests_no_proposal_is_judged() -> None:
    """The head may be in an epoch of which the engine that was paused knows nothing."""
    around = Around(0, 1, 2, 3)
    around.hears(NODES[around.leads(6)], around.sketch([1], 6))
    around.is_running = False
    around.round = (2, 5)
    own = around.leads(6)
    true = around.sketch([1], 6, epoch=2)
    other_key = Sketch(
        true.proposal,
        Vote(own, KEYS[(own + 1) % 4].sign(b"d" * 32)),
        true.header,
        None,
        true.outline,
    )
    assert around.hears(NODES[own], other_key) == [Verdict.DUPLICATE]
    assert not around.received
    assert len(around.proposals.rebuilds) == 1, "nothing is dropped by another epoch's leaders"
    around.proposals.stop()
