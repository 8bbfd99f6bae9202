"""Who sends what no honest node sends is named, and little of it is looked at; nobody else is."""

from dataclasses import replace
from typing import Any

import pytest

from consensus.effects import Blame
from consensus.messages import Block, BlockReply, Propose
from consensus.settings import Judgement
from state import codec
from state.crypto import Tag
from state.finality import (
    Finalization,
    Header,
    Justify,
    Notarize,
    Proposal,
    Vote,
    justify_hash,
)
from tests.consensus.network import digest, key_of

MANY = 50


def blamed(effects: list[Any]) -> list[bytes]:
    return [one.peer for one in effects if isinstance(one, Blame)]


def of_next_epoch(rig: Any, justify: Justify, view: int = 1) -> Propose:
    """A proposal of the next epoch, over what it says ended this one."""
    header: Header = codec.replace(
        rig.net.genesis.header,
        epoch=1,
        view=view,
        height=1,
        parent_id=b"x" * 32,
        justify_hash=justify_hash(justify),
    )
    proposal = Proposal(1, view, 0, header.id, justify_hash(justify))
    return Propose(proposal, Vote(1, bytes(64)), header, justify, b"")


def end(rig: Any, *signers: int) -> Finalization:
    found: Finalization = rig.certificate(Tag.FINALIZE, Proposal(0, 5, 4, b"x" * 32, b"j" * 32))
    return codec.replace(found, votes=tuple([found.votes[at] for at in signers]))


def hollow(certificate: Finalization) -> Finalization:
    votes = tuple([Vote(vote.validator, bytes(64)) for vote in certificate.votes])
    return codec.replace(certificate, votes=votes)


def test_a_forged_end_of_the_epoch_is_looked_at_once_and_named(forge: Any) -> None:
    rig = forge()
    false = of_next_epoch(rig, Justify(hollow(end(rig, 0, 1, 2)), ()))
    before = rig.net.claims
    effects = rig.send(1, *[false] * MANY)
    assert blamed(effects) == [key_of(1)]
    assert rig.net.claims - before <= 3
    assert not rig.node.core.hints


def test_an_end_that_no_quorum_has_voted_for_is_named_as_well(forge: Any) -> None:
    rig = forge()
    few = of_next_epoch(rig, Justify(end(rig, 0, 1), ()))
    assert blamed(rig.send(1, few)) == [key_of(1)]


def test_what_does_not_hang_together_costs_nothing(forge: Any) -> None:
    rig = forge()
    good = of_next_epoch(rig, Justify(end(rig, 0, 1, 2), ()))
    other = codec.replace(good, justify=Justify(hollow(end(rig, 0, 1, 2)), ()))
    before = rig.net.claims
    rig.send(1, *[other] * MANY)
    assert rig.net.claims == before
    assert not rig.node.core.hints


@pytest.mark.parametrize("times", [1, MANY])
def test_the_true_end_is_followed_however_often_it_comes(forge: Any, times: int) -> None:
    rig = forge()
    final = end(rig, 0, 1, 2)
    true = of_next_epoch(rig, Justify(final, ()))
    before = rig.net.claims
    effects = rig.send(1, *[true] * times)
    assert not blamed(effects)
    assert rig.node.core.epoch.final == final
    assert rig.net.claims - before <= 3
    assert rig.node.core.hints == {key_of(1): true}


def wanted(rig: Any, body: bytes | None = None) -> Propose:
    """A proposal whose leader's vote has come, so that its block is asked for."""
    view = rig.node.core.epoch.view
    if rig.leader(view) == 0:
        rig.send(1, rig.nullified(view))
        view += 1
    gap = tuple([rig.nullified(at) for at in range(1, view)])
    changes = {} if body is None else {"tx_root": digest(b"body", body)}
    good: Propose = rig.propose(view, rig.net.genesis, Justify(None, gap), **changes)
    rig.send(1, Notarize(good.proposal, good.vote))
    assert rig.node.core.catchup.wants(good.header.id)
    return good if body is None else codec.replace(good, body=body)


def reply(propose: Propose, body: bytes) -> BlockReply:
    assert propose.justify is not None
    return BlockReply((Block(propose.header, propose.justify, body),))


def test_another_body_than_the_headers_is_judged_once_and_named(forge: Any) -> None:
    rig = forge()
    good = wanted(rig)
    judged: list[bytes] = []
    settings = rig.node.core.settings

    def counted(header: Header, body: bytes) -> Judgement:
        judged.append(body)
        found: Judgement = settings.judge_body(header, body)
        return found

    rig.node.core.settings = replace(settings, judge_body=counted)
    effects = rig.send(2, *[reply(good, b"another")] * MANY)
    assert blamed(effects) == [key_of(2)]
    assert judged == [b"another"]
    assert rig.node.core.blocks.get(good.header.id) is None
    effects = rig.send(3, *[reply(good, good.body)] * 3)
    assert not blamed(effects)
    assert rig.node.core.blocks.get(good.header.id) is not None


def test_a_body_that_breaks_a_rule_is_no_fault_of_who_brings_it(forge: Any) -> None:
    rig = forge()
    bad = wanted(rig, b"bad")
    effects = rig.send(2, reply(bad, bad.body))
    assert rig.node.core.blocks.get(bad.header.id) is not None
    assert not blamed(effects)
