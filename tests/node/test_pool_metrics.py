"""What Prometheus is told of the mempool, counted where transactions come in and go."""

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from node.mempool import AlreadyPending, NonceTaken
from node.pool_metrics import PoolCollector
from state.transaction import BadSignature, KeySignature, Transaction, assemble


def forged(transaction: Transaction) -> bytes:
    key = transaction.signatures[0].public_key
    return assemble(transaction.body, (KeySignature(key, bytes(64)),))


async def test_admitted_refused_and_dropped_are_counted(local_node: Callable[..., Any]) -> None:
    node = local_node()
    backend, chain = node.backend, node.chain
    registry = CollectorRegistry()
    registry.register(PoolCollector(node.mempool, backend.counts))
    value = registry.get_sample_value
    wire = chain.wire(0, 1)
    await backend.submit(wire)
    with pytest.raises(AlreadyPending):
        await backend.submit(wire)
    with pytest.raises(NonceTaken):
        await backend.submit(chain.wire(0, 1, until=99))
    for nonce in (2, 3):
        with pytest.raises(BadSignature):
            await backend.submit(forged(chain.transaction(0, nonce)))
    await backend.submit(chain.wire(0, 1, fee_max=2 * 10**6))
    assert value("sahara_mempool_transactions") == 1
    assert value("sahara_mempool_bytes") == len(wire)
    assert value("sahara_mempool_admitted_total") == 2
    refused = {
        code: value("sahara_mempool_refused_total", {"code": code})
        for code in ("mempool.already_pending", "mempool.nonce_taken", "tx.bad_signature")
    }
    assert list(refused.values()) == [1, 1, 2], refused
    assert value("sahara_mempool_dropped_total", {"code": "mempool.replaced"}) == 1
    assert value("sahara_mempool_dropped_total", {"code": "mempool.evicted"}) is None
