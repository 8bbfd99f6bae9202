"""Evidence out of whatever brings votes: alone, in certificates, in justifications, in blocks."""

from typing import Any

import pytest

from consensus.effects import EvidenceFound
from consensus.evidence import between, misfits, of_fork, votes_in
from consensus.messages import Block, BlockReply
from state import codec
from state.crypto import Tag
from state.finality import Conflict, Justify, Nullified, Proposal, clash, offender

VIEW = 3
A = Proposal(0, VIEW, 2, b"a" * 32, b"j" * 32)
B = Proposal(0, VIEW, 1, b"b" * 32, b"k" * 32)
GONE = Nullified(0, VIEW)
PAIRS = [
    ("E1", (Tag.NOTARIZE, A), (Tag.NOTARIZE, B)),
    ("E2", (Tag.FINALIZE, A), (Tag.FINALIZE, B)),
    ("E3", (Tag.NULLIFY, GONE), (Tag.FINALIZE, A)),
    ("E4", (Tag.NOTARIZE, A), (Tag.FINALIZE, B)),
]


def shown(effects: list[Any]) -> list[tuple[int, str]]:
    found = [one.evidence for one in effects if isinstance(one, EvidenceFound)]
    return [
        (offender(one), clash(one.first, one.second) if isinstance(one, Conflict) else "E5")
        for one in found
    ]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("offence", "first", "second"), PAIRS)
def test_the_second_vote_may_appear_only_inside_a_certificate(
    forge: Any, offence: str, first: Any, second: Any, swapped: bool
) -> None:
    """A careful equivocator shows each node one vote (commonware #2177)."""
    rig = forge()
    alone, inside = (second, first) if swapped else (first, second)
    assert shown(rig.send(1, rig.vote(*alone, 1))) == []
    certificate = rig.certificate(*inside, 1, 2, 3)
    assert shown(rig.send(2, certificate)) == [(1, offence)]
    assert shown(rig.send(3, certificate)) == [], "and never again"
    assert shown(rig.send(3, rig.vote(*inside, 1))) == []


@pytest.mark.parametrize(("offence", "first", "second"), PAIRS)
def test_two_certificates_name_everybody_who_is_in_both(
    forge: Any, offence: str, first: Any, second: Any
) -> None:
    rig = forge()
    rig.send(1, rig.certificate(*first, 0, 1, 2))
    effects = rig.send(2, rig.certificate(*second, 1, 2, 3))
    assert sorted(shown(effects)) == [(1, offence), (2, offence)]


@pytest.mark.parametrize("kind", [Tag.NOTARIZE, Tag.NULLIFY])
def test_votes_in_the_certificates_of_a_justification_count(forge: Any, kind: Tag) -> None:
    rig = forge()
    view = next(at for at in range(4, 9) if rig.leader(at) != 0)
    parent = rig.certificate(Tag.NOTARIZE, A, 1, 2, 3)
    gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(VIEW + 1, view)])
    offence = "E4" if kind is Tag.NOTARIZE else "E3"
    if kind is Tag.NULLIFY:
        low = Proposal(0, 2, 1, b"l" * 32, b"m" * 32)
        parent = rig.certificate(Tag.NOTARIZE, low, 1, 2, 3)
        gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(3, view)])
    rig.send(1, rig.vote(Tag.FINALIZE, B, 2))
    below = parent.subject.block_id
    propose = rig.propose(view, rig.net.genesis, Justify(parent, gap), parent_id=below)
    assert shown(rig.send(1, propose)) == [(2, offence)]


def test_e5_is_found_whether_the_vote_comes_first_or_the_block(forge: Any) -> None:
    rig = forge()
    view = next(at for at in range(1, 9) if rig.leader(at) != 0)
    justify = Justify(None, tuple([rig.nullified(at, 1, 2, 3) for at in range(1, view)]))
    good = rig.propose(view, rig.net.genesis, justify)
    wrong = codec.replace(good.proposal, view=view + 1)
    late = codec.replace(good.proposal, view=view + 2)
    assert shown(rig.send(1, rig.vote(Tag.FINALIZE, wrong, 2))) == []
    assert shown(rig.send(1, *justify.nullifications, good)) == [(2, "E5")]
    assert shown(rig.send(1, rig.certificate(Tag.NOTARIZE, late, 1, 2, 3))) == [
        (1, "E5"),
        (2, "E5"),
        (3, "E5"),
    ]
    assert shown(rig.send(1, rig.certificate(Tag.FINALIZE, late, 1, 2, 3))) == []
    assert shown(rig.send(1, BlockReply((Block(good.header, justify, good.body),)))) == []


def test_two_notarizations_of_a_view_are_kept_and_not_logged_again_and_again(forge: Any) -> None:
    rig = forge()
    for subject in (A, B):
        rig.send(1, rig.certificate(Tag.NOTARIZE, subject, 1, 2, 3))
    logged = len(rig.node.disk.records)
    for subject in (A, B) * 3:
        rig.send(2, rig.certificate(Tag.NOTARIZE, subject, 1, 2, 3))
    assert len(rig.node.disk.records) == logged == 2


def test_misfits_are_those_that_name_the_block_and_contradict_its_header(forge: Any) -> None:
    rig = forge()
    header = rig.propose(2, rig.net.genesis, Justify(None, ())).header
    fitting = Proposal(0, 2, 0, header.id, header.justify_hash)
    wrong = codec.replace(fitting, parent_view=1)
    votes = [
        rig.vote(Tag.NOTARIZE, fitting, 1),
        rig.vote(Tag.FINALIZE, wrong, 2),
        rig.vote(Tag.NOTARIZE, A, 3),
        rig.vote(Tag.NULLIFY, GONE, 3),
    ]
    assert [one.vote for one in misfits(votes, header, header.id, 1_000)] == [votes[1]]


def test_a_fork_names_more_than_a_third_from_its_links_alone(forge: Any) -> None:
    """Consensus 1: the lowest proposal above the lower view shows E3 or E4, one view shows E2."""
    rig = forge()
    lower = rig.certificate(Tag.FINALIZE, A, 0, 1, 2)
    upper = rig.certificate(
        Tag.FINALIZE, codec.replace(B, view=6, parent_view=5, block_id=b"u" * 32), 1, 2, 3
    )
    over = codec.replace(B, view=5, parent_view=VIEW)
    beside = rig.certificate(Tag.NOTARIZE, B, 1, 2, 3)
    past = codec.replace(B, view=5, parent_view=1)
    gap = tuple([rig.nullified(at, 1, 2, 3) for at in (2, 3, 4)])
    same = rig.certificate(Tag.FINALIZE, B, 1, 2, 3)
    cases = [
        ("E2", same, []),
        ("E4", upper, [(over, Justify(beside, ()))]),
        ("E3", upper, [(past, Justify(beside, gap)), (upper.subject, Justify(beside, ()))]),
    ]
    for offence, final, links in cases:
        found = of_fork(lower, final, links)
        assert [(offender(one), clash(one.first, one.second)) for one in found] == [
            (1, offence),
            (2, offence),
        ]
    assert of_fork(lower, upper, []) == []
    assert between(lower, rig.certificate(Tag.NOTARIZE, A, 1, 2, 3)) == []
    assert len(votes_in(lower)) == 3
