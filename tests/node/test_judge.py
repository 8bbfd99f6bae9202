"""What only the parent's state shows is refused before the vote, by the rule execution asks too."""

from typing import Any

import pytest

from node.application import Application, UnknownParent
from node.storage.kv import MemoryStore
from state import crypto
from state.block import Body
from state.codec import encode, replace
from state.crypto import Tag
from state.errors import InvalidBlock
from state.finality import (
    Conflict,
    Evidence,
    Finalization,
    Header,
    Justify,
    Notarize,
    Proposal,
    Vote,
    vote_digest,
)
from state.modules import staking


@pytest.fixture
def application(local_chain: Any) -> Application:
    opened: Application = local_chain.open(MemoryStore())
    local_chain.step(opened)
    return opened


def late_votes(chain: Any, head: Header) -> Finalization:
    found = chain.finalize(head)
    assert isinstance(found, Finalization)
    return found


def proof(chain: Any, *, view: int = 3, signed: bool = True, same: bool = False) -> Conflict:
    """Two Notarize votes of the only validator, of one view."""
    votes = []
    for block_id in (b"a" * 32, b"a" * 32 if same else b"b" * 32):
        subject = Proposal(0, view, 2, block_id, bytes(32))
        digest = vote_digest(Tag.NOTARIZE, chain.genesis.hash, subject)
        signature = chain.accounts[0].sign(digest) if signed else bytes(64)
        votes.append(Notarize(subject, Vote(0, signature)))
    return Conflict(*votes)


def block(
    chain: Any,
    application: Application,
    late: Finalization | None = None,
    evidence: tuple[Evidence, ...] = (),
    **changes: Any,
) -> tuple[Header, bytes, bytes]:
    """A block over the head that commits to this body, as any leader could make it."""
    body = Body((), late, evidence)
    roots = {"tx_root": body.root, "evidence_root": body.evidence_root}
    header = replace(chain.propose(application).header, **{**roots, **changes})
    return header, header.id, encode(body)


def late_case(chain: Any, application: Application, name: str) -> Any:
    late = late_votes(chain, application.head.header)
    (vote,) = late.votes
    other = replace(late.subject, epoch=5)
    return {
        "late votes": late,
        "forged late votes": replace(late, votes=(replace(vote, signature=bytes(64)),)),
        "late votes of nobody": replace(late, votes=(replace(vote, validator=1),)),
        "late votes of another epoch": replace(late, subject=other),
        "late votes for something else": replace(late, subject=replace(late.subject, view=9)),
    }.get(name)


def evidence_case(chain: Any, name: str) -> tuple[Evidence, ...]:
    return {
        "evidence": (proof(chain),),
        "forged evidence": (proof(chain, signed=False),),
        "evidence of nothing": (proof(chain, same=True),),
        "evidence twice": (proof(chain), proof(chain, view=4)),
    }.get(name, ())


CASES = {
    "nothing": True,
    "late votes": True,
    "forged late votes": False,
    "late votes of nobody": False,
    "late votes of another epoch": False,
    "late votes for something else": False,
    "evidence": True,
    "forged evidence": False,
    "evidence of nothing": False,
    "evidence twice": False,
    "other parameters": False,
}


@pytest.mark.parametrize("name", CASES)
def test_the_judgement_is_that_of_execution_in_any_order(
    local_chain: Any, application: Application, name: str
) -> None:
    changes = {"params_hash": bytes(32)} if name == "other parameters" else {}
    late = late_case(local_chain, application, name)
    header, block_id, data = block(
        local_chain, application, late, evidence_case(local_chain, name), **changes
    )
    for _ in range(2):
        assert application.judge_over_parent(header, block_id, data) is CASES[name]
    justify = Justify(local_chain.finalize(application.head.header), ())
    fresh = local_chain.open(MemoryStore())
    head = application.head
    fresh.execute(head.header, head.block_id, Justify(None, ()), encode(Body(())))
    fresh.commit(head.header, head.block_id, head.finalization)
    for one in (application, fresh):  # as a vote was judged before, and as it comes in catch-up
        if CASES[name]:
            assert one.execute(header, block_id, justify, data).block_id == block_id
        else:
            with pytest.raises(InvalidBlock):
                one.execute(header, block_id, justify, data)
            assert block_id not in one._candidates


def test_what_was_judged_is_verified_once(
    local_chain: Any, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = late_votes(local_chain, application.head.header)
    header, block_id, data = block(local_chain, application, late, (proof(local_chain),))
    claims: list[Any] = []
    verify = crypto.verify_many

    def counted(given: Any) -> list[bool]:
        claims.extend(given)
        return verify(given)

    monkeypatch.setattr(crypto, "verify_many", counted)
    assert application.judge_over_parent(header, block_id, data)
    assert len(claims) == 3
    application.execute(header, block_id, Justify(late, ()), data)
    assert len(claims) == 3


def test_what_is_cheap_to_refuse_costs_no_signature(
    local_chain: Any, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = late_votes(local_chain, application.head.header)
    wrong = [
        block(local_chain, application, late, params_hash=bytes(32)),
        block(local_chain, application, late, (proof(local_chain), proof(local_chain, view=4))),
        block(local_chain, application, late, (proof(local_chain, same=True),)),
    ]
    asked: list[Any] = []
    monkeypatch.setattr(crypto, "verify_many", lambda claims: asked.extend(claims) or [])
    for one in wrong:
        assert not application.judge_over_parent(*one)
    assert not asked


def test_nothing_is_said_of_a_block_whose_parent_is_unknown(
    local_chain: Any, application: Application
) -> None:
    header, _, data = block(local_chain, application, parent_id=b"p" * 32)
    with pytest.raises(UnknownParent):
        application.judge_over_parent(header, header.id, data)


def test_what_an_honest_leader_builds_is_never_refused(
    local_chain: Any, application: Application
) -> None:
    """Also over unfinal parents, with late votes and with evidence that was chosen there."""
    parent = None
    for height in range(2, 8):
        above = application.head.header if parent is None else parent.header
        block_id = application.head.block_id if parent is None else parent.block_id
        late = late_votes(local_chain, above)
        pool = [proof(local_chain, view=view) for view in (height, 3, height + 1)]
        state = application.state_after(block_id)
        chosen = staking.choose_evidence(state, pool, application.genesis_hash, height)
        built = application.build(block_id, (), late, chosen)
        base = local_chain.propose(application, parent=parent).header
        header = replace(
            base,
            tx_root=built.tx_root,
            evidence_root=built.evidence_root,
            params_hash=built.params_hash,
        )
        assert application.judge_over_parent(header, header.id, built.body)
        parent = application.execute(header, header.id, Justify(late, ()), built.body)
