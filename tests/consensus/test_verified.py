"""Whatever comes together, and in whatever order: nothing is believed that nobody has signed.

What a batch brings is verified before any of it takes effect, so what one message makes of the
node's wishes must not let another one in whose signatures nobody looked at.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consensus.messages import Block, BlockReply, JustifyReply, Propose
from state import codec
from state.crypto import Tag
from state.finality import (
    Finalization,
    Justify,
    Notarization,
    Notarize,
    Nullification,
    Nullified,
    Vote,
)
from tests.consensus.believed import unsigned

FIRST = Justify(None, ())
HOLLOW = tuple([Vote(at, bytes(64)) for at in range(4)])
"""Votes of all four that none of them has signed."""
VIEWS = 6
MakeForge = Callable[..., Any]
FIXTURE = HealthCheck.function_scoped_fixture


def block_of(propose: Propose) -> Block:
    return Block(propose.header, propose.justify, propose.body)


def forged(propose: Propose, view: int) -> Justify:
    """A justification in which nobody's votes make a block final, and nullify what follows."""
    gap = tuple([Nullification(Nullified(0, at), HOLLOW) for at in range(2, view)])
    return Justify(Finalization(propose.proposal, HOLLOW), gap)


def led(rig: Any, parent: Any, justify: Callable[[int], Justify]) -> Propose:
    """The proposal of the next leader that is not node 0, over a parent and a justification."""
    view = next(at for at in range(2, VIEWS) if rig.leader(at) != 0)
    proposed: Propose = rig.propose(view, parent, justify(view))
    return proposed


def by_a_leader(rig: Any) -> list[Any]:
    """A leader's vote, and the block that it names, which stands on a forged finalization."""
    base = rig.propose(1, rig.net.genesis, FIRST)
    above = led(rig, rig.net.executed_tip(base.header), lambda view: forged(base, view))
    return [
        Notarize(above.proposal, above.vote),
        BlockReply((block_of(above),)),
        BlockReply((block_of(base),)),
    ]


def by_a_stranger(rig: Any) -> list[Any]:
    """An honest leader's vote and header, with a justification that it has never seen."""
    base = rig.propose(1, rig.net.genesis, FIRST)

    def gap(view: int) -> Justify:
        return Justify(None, tuple([rig.nullified(at, 1, 2, 3) for at in range(1, view)]))

    good = led(rig, rig.net.genesis, gap)
    bad = codec.replace(block_of(good), justify=forged(base, good.proposal.view))
    return [
        Notarize(good.proposal, good.vote),
        BlockReply((bad,)),
        BlockReply((block_of(base),)),
    ]


def by_an_ancestor(rig: Any) -> list[Any]:
    """A notarization makes more blocks wanted than those whose signatures were looked at."""
    base = rig.propose(1, rig.net.genesis, FIRST)
    view = next(at for at in range(4, VIEWS + 8) if rig.leader(at) != 0)
    foul = rig.propose(view - 1, rig.net.executed_tip(base.header), forged(base, view - 1))
    gap = tuple([rig.nullified(at, 1, 2, 3) for at in range(1, view)])
    top = rig.propose(view, rig.net.genesis, Justify(None, gap), height=3)
    return [
        Notarize(top.proposal, top.vote),
        rig.certificate(Tag.NOTARIZE, top.proposal, 1, 2, 3),
        BlockReply((block_of(top), block_of(foul))),
        BlockReply((block_of(base),)),
    ]


@pytest.mark.parametrize("attack", [by_a_leader, by_a_stranger, by_an_ancestor])
@pytest.mark.parametrize("apart", [0, 1, 2, 9])
def test_what_a_batch_makes_wanted_was_not_verified_by_that(
    forge: MakeForge, attack: Callable[[Any], list[Any]], apart: int
) -> None:
    """The first so many messages come alone, the others together: it makes no difference."""
    rig = forge()
    said = attack(rig)
    for message in said[:apart]:
        rig.send(1, message)
    rig.send(1, *said[apart:])
    assert not unsigned(rig.node)
    assert rig.node.height == rig.node.core.epoch.final_view == 0
    assert rig.node.halted is None


def hollow(value: Any) -> Any:
    """A message whose certificates nobody has signed."""
    match value:
        case Notarization() | Nullification() | Finalization():
            return codec.replace(value, votes=HOLLOW[1:])
        case tuple():
            return tuple([hollow(item) for item in value])
        case codec.Struct():
            changes = {name: hollow(getattr(value, name)) for name in value.__struct_fields__}
            return codec.replace(value, **changes)
    return value


def pool(rig: Any) -> list[Any]:
    """Honest messages of several views, and beside each what somebody makes of it."""
    found: list[Any] = []
    tip, certificate, at, blocks = rig.net.genesis, None, 0, []
    for view in range(1, VIEWS):
        found += [rig.nullified(view, 1, 2, 3), rig.vote(Tag.NULLIFY, Nullified(0, view), 1)]
        if rig.leader(view) == 0:
            continue
        gap = tuple([rig.nullified(one, 1, 2, 3) for one in range(at + 1, view)])
        justify = Justify(certificate, gap)
        for link in (justify, hollow(justify)):  # the leader itself may stand on what nobody signed
            propose = rig.propose(view, tip, link)
            found += [propose, codec.replace(propose, justify=None), JustifyReply(link)]
            found += [Notarize(propose.proposal, propose.vote)]
            for kind in (Tag.NOTARIZE, Tag.FINALIZE):
                found.append(rig.certificate(kind, propose.proposal, 1, 2, 3))
                found += [rig.vote(kind, propose.proposal, one) for one in (1, 2, 3)]
            block = block_of(propose)
            twisted = codec.replace(block, justify=hollow(justify) if link is justify else justify)
            for one in (block, twisted):
                found += [BlockReply((one,)), BlockReply((one, *blocks[::-1]))]
            blocks += [block] if link is justify else []
            if link is justify:
                following = rig.net.executed_tip(propose.header)
                certified = rig.certificate(Tag.NOTARIZE, propose.proposal, 1, 2, 3)
        tip, certificate, at = following, certified, view
    return [*found, *[hollow(one) for one in found]]


BATCHES = st.lists(st.lists(st.integers(0, 10**4), min_size=1, max_size=8), max_size=12)


@settings(max_examples=250, deadline=None, suppress_health_check=[FIXTURE])
@given(batches=BATCHES, peer=st.integers(1, 3))
def test_no_batch_makes_a_node_believe_what_nobody_has_signed(
    forge: MakeForge, batches: list[list[int]], peer: int
) -> None:
    rig = forge()
    messages = pool(rig)
    for batch in batches:
        rig.send(peer, *[messages[number % len(messages)] for number in batch])
        assert not unsigned(rig.node)


def test_the_oracle_sees_what_it_looks_for(forge: MakeForge) -> None:
    """The negative control: what is taken in without a look at its signatures is found."""
    rig = forge()
    base = rig.propose(1, rig.net.genesis, FIRST)
    rig.node.core.take_in(Finalization(base.proposal, HOLLOW))
    assert unsigned(rig.node)
