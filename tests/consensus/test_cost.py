"""Who gets which certificate and vote, when, and how often: R5, settled 13, 14, consensus 2.6."""

from collections import Counter
from typing import Any

import pytest

from consensus.effects import ALL, Send
from consensus.messages import Propose
from state.finality import Finalization, Finalize, Notarization, Notarize, Nullification, Nullify

VOTES = Notarize | Finalize | Nullify
CERTIFICATES = Notarization | Finalization | Nullification


def sends(node: Any) -> list[Send]:
    return [effect for effect in node.effects if isinstance(effect, Send)]


@pytest.mark.parametrize("count", [4, 7])
def test_without_faults_nothing_is_sent_twice_and_no_certificate_relayed(
    network: Any, count: int
) -> None:
    net = network(count).start()
    net.run(5_000)  # ten retries
    views = max(node.core.epoch.view for node in net.nodes)
    assert views > 200
    for node in net.nodes:
        after = [one for one in sends(node) if not is_of_view(one.message, 1)]
        again = Counter(one.message for one in after if isinstance(one.message, VOTES | Propose))
        assert set(again.values()) == {1}
        for one in after:
            if isinstance(one.message, CERTIFICATES):
                # R5: at once to the next leader, and to nobody else
                validators = node.core.epoch.validators
                assert isinstance(one.message, Notarization)
                assert one.to == validators.leader_of(one.message.subject.view + 1).public_key


def is_of_view(message: Any, view: int) -> bool:
    """Tell whether a message is of the first view: its votes are sent again at the start."""
    subject = getattr(message, "subject", None) or getattr(message, "proposal", None)
    return subject is not None and subject.view == view


def test_an_idle_network_repeats_no_certificate(network: Any) -> None:
    net = network(4)
    net.pending = False
    net.body = lambda _node, _height: b""
    net.start()
    net.run(3_000)
    for node in net.nodes:
        node.effects.clear()
    net.run(10_000)  # ten views, each as long as two retries
    for node in net.nodes:
        found = [one for one in sends(node) if isinstance(one.message, CERTIFICATES)]
        assert len(found) <= 10
        votes = Counter(one.message for one in sends(node) if isinstance(one.message, VOTES))
        assert set(votes.values()) <= {1}


def test_a_lost_finalize_is_sent_again_while_views_go_on(network: Any) -> None:
    """2.6 b: views that never wait do not keep a node from repeating what is not certified."""
    net = network(4)
    net.filter = lambda _from, _to, message: not (isinstance(message, Finalize) and net.now < 4_000)
    net.start()
    net.run(2_900)
    assert all(node.height == 0 and node.core.epoch.view > 50 for node in net.nodes)
    for node in net.nodes:
        votes = Counter(one.message for one in sends(node) if isinstance(one.message, Finalize))
        assert votes and max(votes.values()) >= 2
    net.run_to(80, 5_000)
    net.honest()


def test_a_leader_repeats_its_proposal_to_those_it_has_not_heard(network: Any) -> None:
    """Settled 14: byte-identical, and only to whoever may lack it."""
    leader = network(4).start().nodes[0].core.epoch.validators.leader(1)
    net = network(4)
    heard, *unheard = [at for at in range(4) if at != leader]
    net.filter = lambda sender, to, message: (
        not (net.now < 1_250 and isinstance(message, Propose) and to != heard)
    )
    net.start()
    net.run(260)
    proposed = [one for one in sends(net.nodes[leader]) if isinstance(one.message, Propose)]
    assert proposed[0].to == ALL
    assert {one.message for one in proposed} == {proposed[0].message}
    assert {one.to for one in proposed[1:]} == {net.nodes[at].key for at in unheard}
    net.run_to(5, 5_000)
    net.honest()


def test_the_entry_certificate_frees_a_minority_that_gave_the_view_up(network: Any) -> None:
    """2.6 f: one holds a notarization, two nullified the view, and the fourth says nothing."""
    net = network(4)

    def passes(_sender: int, to: int, message: Any) -> bool:
        tells = isinstance(message, Notarization | Notarize)
        tells |= isinstance(message, Propose) and message.proposal.view > 1
        return to == 0 or net.now >= 3_000 or not tells

    net.filter = passes
    net.start()
    ahead, *behind, silent = net.nodes
    net.run(25)  # the votes are on their way
    silent.crash()
    net.run(1_500)
    assert ahead.core.epoch.view == 2
    for node in behind:
        assert node.core.epoch.view == 1
        assert node.core.epoch.current.my_nullify
    net.run_to(5, 60_000)
    net.honest()
