"""Bodies: signatures are verified once, and what is final is forgotten again."""

from typing import Any

import pytest

from consensus.messages import BODY_BYTES_MAX
from node import bodies as module
from node.bodies import VerifiedWires
from node.storage.kv import MemoryStore
from state.block import EVIDENCE_MAX, TRANSACTIONS_MAX, Body
from state.codec import Decoder, encode, replace
from state.errors import Malformed
from state.finality import VALIDATORS_MAX, Finalization, Finalize, Misfit, Proposal, Vote
from state.params import BLOCK_BYTES_MAX, Params
from state.types import INT_MAX


def test_wires_are_known_while_they_wait_and_while_they_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pending = {b"waits"}
    known = VerifiedWires(pending)
    assert b"waits" in known and b"came" not in known
    known.add(b"came")
    known.add(b"came")
    assert b"came" in known
    known.forget(b"came")
    known.forget(b"came")
    assert b"came" not in known
    monkeypatch.setattr(module, "WIRES_BYTES_MAX", 10)
    for wire in (b"first", b"next.", b"last."):
        known.add(wire)
    assert [wire in known for wire in (b"first", b"next.", b"last.")] == [False, True, True]
    monkeypatch.setattr(module, "WIRES_KEPT_MAX", 1)
    known.add(b"x")
    assert [wire in known for wire in (b"next.", b"last.", b"x")] == [False, False, True]


def test_memory_follows_what_is_not_final(local_chain: Any) -> None:
    known = VerifiedWires(())
    application = local_chain.open(MemoryStore(), known=known)
    for nonce in range(1, 6):
        transaction = local_chain.transaction(0, nonce)
        known.add(transaction.wire)
        candidate = local_chain.propose(application, transaction)
        assert transaction.wire in known, "a block that is not final may come again"
        local_chain.commit(application, candidate)
        assert transaction.wire not in known


def test_the_longest_block_that_parameters_allow_fits_into_a_message(local_chain: Any) -> None:
    """Else a leader would build a body that every other node refuses to read."""
    params, decoder = Params(), Decoder(Params)
    longest = replace(params, fees=replace(params.fees, block_bytes_max=BLOCK_BYTES_MAX))
    assert decoder.decode(encode(longest)) == longest
    longer = replace(longest, fees=replace(longest.fees, block_bytes_max=BLOCK_BYTES_MAX + 1))
    with pytest.raises(Malformed):
        decoder.decode(encode(longer))
    proposal = Proposal(INT_MAX, INT_MAX, INT_MAX, bytes(32), bytes(32))
    vote = Vote(VALIDATORS_MAX - 1, bytes(64))
    head = local_chain.open(MemoryStore()).head.header
    header = replace(head, height=INT_MAX, epoch=INT_MAX, view=INT_MAX, time_ms=INT_MAX)
    body = Body(
        (bytes(BLOCK_BYTES_MAX // TRANSACTIONS_MAX),) * (TRANSACTIONS_MAX - 1)
        + (bytes(BLOCK_BYTES_MAX % TRANSACTIONS_MAX + BLOCK_BYTES_MAX // TRANSACTIONS_MAX),),
        Finalization(proposal, (vote,) * VALIDATORS_MAX),
        (Misfit(Finalize(proposal, vote), header),) * EVIDENCE_MAX,
    )
    assert sum([len(wire) for wire in body.transactions]) == BLOCK_BYTES_MAX
    assert len(encode(body)) < BODY_BYTES_MAX - 2**18, "whatever the transactions' lengths are"
