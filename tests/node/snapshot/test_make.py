"""Making snapshots and steps within their bounds, however long the chain went without finality."""

from typing import Any, cast

import pytest

from node.snapshot import form, make
from node.snapshot.wire import StepsAnswer
from node.storage.finality_store import FinalityView
from p2p.topics import LIMITS, Topic
from state.codec import encode, replace
from state.finality import Justify, Nullification, Nullified, Proposal, Vote
from tests.node.sync.chains import EPOCH_BLOCKS, Chain


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain().grow(3 * EPOCH_BLOCKS + 3)


def nullified(views: int) -> Justify:
    """A justification over so many views that a hundred validators gave up."""
    votes = tuple([Vote(at, bytes(64)) for at in range(67)])
    gone = [Nullification(Nullified(1, view + 10**5), votes) for view in range(views)]
    return Justify(None, tuple(gone))


class Struggled:
    """A finality view of one epoch whose boundary was proposed again and again."""

    def __init__(self, chain: Chain, links: list[tuple[Proposal, Justify]]) -> None:
        self._finality = chain.store.finality
        self._links = links
        self.members = self._finality.members
        self.justify = self._finality.justify

    def boundary(self, epoch: int) -> Any:
        head = self._finality.boundary(epoch)
        if head is None or epoch != 2:
            return head
        final = replace(head.finalization, subject=self._links[-1][0])
        return replace(head, finalization=final)

    def links(self, epoch: int, view: int, limit: int) -> list[tuple[Proposal, Justify]]:
        return self._links


@pytest.mark.parametrize(("views", "is_told"), [(1, True), (1_024, False)])
def test_links_over_their_bound_are_left_out(chain: Chain, views: int, is_told: bool) -> None:
    """The finalization proves the block without them, and a page must fit into a message."""
    boundary = chain.store.finality.boundary(2)
    assert boundary is not None and boundary.finalization is not None
    justify, first = nullified(views), boundary.header.view
    links = []
    for at in range(7):
        subject = boundary.finalization.subject
        proposal = replace(subject, view=first + at + 1, parent_view=first + at)
        links.append((proposal, justify))
    steps = [*make.steps_from(cast(FinalityView, Struggled(chain, links)), 0, 3)]
    assert [len(step.links) for step in steps] == [0, 7 if is_told else 0, 0]
    assert len(encode(StepsAnswer(tuple(steps)))) < LIMITS[Topic.SYNC].message_bytes_max


def test_a_page_ends_before_the_step_that_would_pass_its_bound(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    finality = chain.store.finality
    sizes = [len(encode(step)) for step in make.steps_from(finality, 0, 3)]
    assert len(sizes) == 3
    for bytes_max, count in [(1, 1), (sum(sizes[:2]) - 1, 1), (sum(sizes[:2]), 2), (sum(sizes), 3)]:
        monkeypatch.setattr(make, "STEPS_BYTES", bytes_max)
        monkeypatch.setattr(form, "STEPS_BYTES", bytes_max)
        steps = [*make.steps_from(finality, 0, 3)]
        assert len(steps) == count
        pages = [len(page) for page in form.paged(make._step(finality, at) for at in range(3))]
        assert pages[0] == count and sum(pages) == 3
