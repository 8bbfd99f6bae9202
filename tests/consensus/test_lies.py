"""Whatever is false in a block is refused before the vote, whichever way the block comes (R3)."""

from collections.abc import Callable
from typing import Any

import pytest

from consensus.messages import Block, BlockReply, Propose
from state import codec
from state.crypto import Tag
from state.finality import Finalization, Header, Justify, Notarize, Nullified
from tests.consensus.network import digest

X = b"x" * 32
LIES: dict[str, Callable[[Header], Any]] = {
    "height": lambda header: header.height + 1,
    "epoch": lambda header: header.epoch + 1,
    "view": lambda header: header.view + 1,
    "parent_view": lambda header: header.parent_view + 1,
    "parent_id": lambda _: X,
    "time_ms": lambda header: header.time_ms - 1,
    "proposer": lambda _: b"x" * 20,
    "tx_root": lambda _: X,
    "evidence_root": lambda _: X,
    "justify_hash": lambda _: X,
    "state_root": lambda _: X,
    "outcomes_root": lambda _: X,
    "validators_hash": lambda _: X,
    "next_validators_hash": lambda _: X,
    "params_hash": lambda _: X,
}


class Stage:
    """Node 0 in a view that another leads, over a notarized block and a view that failed."""

    def __init__(self, forge: Any) -> None:
        self.net, self.forge, self.node = forge.net, forge, forge.node
        leads = [forge.leader(view) != 0 for view in range(1, 9)]
        first = next(view for view in range(1, 7) if leads[view - 1] and leads[view + 1])
        self.view = first + 2
        gap = tuple([forge.nullified(view) for view in range(1, first)])
        forge.send(1, *gap)
        below = forge.propose(first, forge.net.genesis, Justify(None, gap))
        self.parent = forge.net.executed_tip(below.header)
        self.certificate = forge.certificate(Tag.NOTARIZE, below.proposal)
        self.skipped = forge.nullified(first + 1)
        forge.send(forge.leader(first), below)
        forge.send(1, self.certificate, self.skipped)
        assert self.node.core.epoch.view == self.view
        self.justify = Justify(self.certificate, (self.skipped,))

    def propose(self, justify: Justify | None = None, **changes: Any) -> Propose:
        made: Propose = self.forge.propose(
            self.view, self.parent, justify or self.justify, **changes
        )
        return made

    def show(self, message: Propose, *, asked: bool) -> None:
        """Send it as its leader would, or let it be asked for after the leader's vote."""
        leader = self.forge.leader(self.view)
        if not asked:
            self.forge.send(leader, message)
            return
        assert message.justify is not None
        self.forge.send(leader, Notarize(message.proposal, message.vote))
        block = Block(message.header, message.justify, message.body)
        self.forge.send(leader, BlockReply((block,)))

    def voted(self, kind: Tag) -> bool:
        return (0, self.view, kind) in self.node.disk.votes

    def is_refused(self) -> bool:
        """Tell whether the view is given up, at the latest when it should have been left."""
        assert not self.voted(Tag.NOTARIZE)
        self.net.run(5_000)
        return self.voted(Tag.NULLIFY) and not self.voted(Tag.NOTARIZE)


@pytest.fixture
def stage(forge: Any) -> Stage:
    return Stage(forge())


ASKED = pytest.mark.parametrize("asked", [False, True], ids=["proposed", "asked"])


@ASKED
def test_what_holds_is_notarized(stage: Stage, asked: bool) -> None:
    stage.show(stage.propose(), asked=asked)
    assert stage.voted(Tag.NOTARIZE)


@ASKED
@pytest.mark.parametrize("name", Header.__struct_fields__)
def test_no_field_of_a_header_may_lie(stage: Stage, name: str, asked: bool) -> None:
    honest = stage.propose().header
    if name == "time_ms":
        honest = codec.replace(honest, time_ms=stage.parent.header.time_ms)
    stage.show(stage.propose(**{name: LIES[name](honest)}), asked=asked)
    assert stage.is_refused()


@ASKED
@pytest.mark.parametrize("body", [b"bad", b"unfit"])
def test_no_body_may_break_a_rule(stage: Stage, body: bytes, asked: bool) -> None:
    root = digest(b"body", body)
    stage.show(codec.replace(stage.propose(tx_root=root), body=body), asked=asked)
    assert stage.is_refused()


def less(certificate: Any) -> Any:
    return codec.replace(certificate, votes=certificate.votes[:2])


def forged(certificate: Any) -> Any:
    *some, last = certificate.votes
    return codec.replace(certificate, votes=(*some, codec.replace(last, signature=bytes(64))))


def renamed(certificate: Any, **changes: Any) -> Any:
    return codec.replace(certificate, subject=codec.replace(certificate.subject, **changes))


Change = Callable[[Stage], Justify]
CHANGES: dict[str, Change] = {
    "no parent": lambda on: Justify(None, (on.skipped,)),
    "parent below a quorum": lambda on: Justify(less(on.certificate), (on.skipped,)),
    "parent's vote forged": lambda on: Justify(forged(on.certificate), (on.skipped,)),
    "parent's other view": lambda on: Justify(
        on.forge.certificate(Tag.NOTARIZE, renamed(on.certificate, view=on.view - 1).subject),
        (on.skipped,),
    ),
    "another block": lambda on: Justify(
        on.forge.certificate(Tag.NOTARIZE, renamed(on.certificate, block_id=X).subject),
        (on.skipped,),
    ),
    "votes of another kind": lambda on: Justify(
        Finalization(on.certificate.subject, on.certificate.votes), (on.skipped,)
    ),
    "gap missing": lambda on: Justify(on.certificate, ()),
    "gap below a quorum": lambda on: Justify(on.certificate, (less(on.skipped),)),
    "gap forged": lambda on: Justify(on.certificate, (forged(on.skipped),)),
    "gap of another view": lambda on: Justify(on.certificate, (on.forge.nullified(on.view - 2),)),
    "gap of another epoch": lambda on: Justify(
        on.certificate, (on.forge.certificate(Tag.NULLIFY, Nullified(1, on.view - 1)),)
    ),
    "gap twice": lambda on: Justify(on.certificate, (on.skipped, on.skipped)),
    "votes not in order": lambda on: Justify(
        on.certificate, (codec.replace(on.skipped, votes=on.skipped.votes[::-1]),)
    ),
    "one vote counted three times": lambda on: Justify(
        on.certificate, (codec.replace(on.skipped, votes=on.skipped.votes[:1] * 3),)
    ),
}


@ASKED
@pytest.mark.parametrize("name", CHANGES)
def test_no_part_of_a_justification_may_lie(stage: Stage, name: str, asked: bool) -> None:
    justify = CHANGES[name](stage)
    parent_view = stage.certificate.subject.view
    stage.show(stage.propose(justify, parent_view=parent_view), asked=asked)
    assert stage.is_refused()


@ASKED
@pytest.mark.parametrize("second", [False, True], ids=["first", "second"])
def test_what_was_found_false_costs_no_second_look(stage: Stage, second: bool, asked: bool) -> None:
    """A leader may repeat a long justification that does not hold, and so may whoever heard it."""
    if second:
        stage.show(stage.propose(time_ms=stage.parent.header.time_ms + 5), asked=False)
    message = stage.propose(Justify(stage.certificate, (forged(stage.skipped),)))
    stage.show(message, asked=asked)
    before = stage.net.claims
    for _ in range(5):
        stage.show(message, asked=asked)
    assert stage.net.claims == before


def test_r4_a_block_that_was_asked_for_and_is_false_is_given_up_at_once(stage: Stage) -> None:
    message = stage.propose(Justify(stage.certificate, (forged(stage.skipped),)))
    stage.show(message, asked=True)
    assert stage.voted(Tag.NULLIFY)


def test_a_restart_gives_the_same_verdict(stage: Stage) -> None:
    """What is refused stays refused, though the parent has to be executed anew."""
    message = stage.propose(params_hash=X)
    stage.show(message, asked=False)
    stage.node.crash()
    stage.node.start()
    stage.show(message, asked=False)
    assert stage.is_refused()


def test_every_lie_is_about_a_field() -> None:
    assert set(LIES) == set(Header.__struct_fields__)
