"""The ledger: a block becomes final, whoever brought it, and everybody concerned hears of it."""

import asyncio

from node.application import Application, Candidate
from node.backend import NodeBackend
from node.evidence_pool import EvidencePool
from node.mempool import Mempool
from node.metrics import NodeMetrics
from state.finality import Finalization, Header
from state.types import Hash


class Ledger:
    """One node's final blocks, and those who hear of each: mempool, evidence, metrics, clients."""

    def __init__(
        self,
        application: Application,
        mempool: Mempool,
        evidence: EvidencePool,
        metrics: NodeMetrics,
    ) -> None:
        self._application = application
        self._mempool = mempool
        self._evidence = evidence
        self._metrics = metrics
        self.has_committed = asyncio.Event()
        """Set once a block has become final since the start."""
        self.backend: NodeBackend | None = None

    def commit(
        self, header: Header, block_id: Hash, finalization: Finalization | None
    ) -> Candidate:
        """Make an executed block final, durably."""
        application, height = self._application, header.height
        candidate = application.commit(header, block_id, finalization)
        dropped = self._mempool.recheck(
            candidate.transactions, application.state, height + 1, application.params
        )
        self._evidence.committed(application.state, height + 1)
        outcomes = candidate.executed.result.outcomes
        self._metrics.block_final(height, [outcome.status for outcome in outcomes])
        self._metrics.mempool(len(self._mempool), self._mempool.bytes_held)
        if self.backend is not None:
            self.backend.committed(candidate, finalization, dropped)
        self.has_committed.set()
        return candidate
