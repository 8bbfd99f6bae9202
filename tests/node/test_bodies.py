"""Bodies: signatures are verified once, and what is final is forgotten again."""

from typing import Any

import pytest

from node import bodies as module
from node.bodies import VerifiedWires
from node.storage.kv import MemoryStore


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
