"""Evidence that this node found: kept on disk until it stands on the chain or serves no more."""

from collections.abc import Container

from node.storage.finality_store import FinalityStore
from state.crypto import SignatureClaim
from state.finality import Conflict, Evidence, offender
from state.modules import staking
from state.tables import State
from state.types import Hash

POOL_MAX = 256
"""Proofs that wait; a validator is punished once an epoch, so more of them bring nothing."""


class EvidencePool:
    """Proofs of misbehaviour that wait for a block of this node."""

    def __init__(
        self,
        store: FinalityStore,
        genesis_hash: Hash,
        known_claims: Container[SignatureClaim] = (),
    ) -> None:
        self._store = store
        self._genesis_hash = genesis_hash
        self._known_claims = known_claims
        self._waiting: dict[bytes, Evidence] = dict(store.evidence())

    def __len__(self) -> int:
        """Return how many proofs wait."""
        return len(self._waiting)

    def add(self, evidence: Evidence) -> None:
        """Keep a proof that consensus found, durably; one of each validator and epoch is enough."""
        key = _key(evidence)
        if key not in self._waiting and len(self._waiting) < POOL_MAX:
            self._store.keep_evidence(key, evidence)
            self._waiting[key] = evidence

    def choose(self, state: State, height: int) -> tuple[Evidence, ...]:
        """Return the evidence for a block of this height over the state of its parent."""
        if not self._waiting:
            return ()
        waiting = [self._waiting[key] for key in sorted(self._waiting)]
        return staking.choose_evidence(
            state, waiting, self._genesis_hash, height, self._known_claims
        )

    def committed(self, state: State, height: int) -> None:
        """Forget what a block of the next height, over the final state, may carry no more."""
        if not self._waiting:
            return
        gone = [
            key
            for key, evidence in self._waiting.items()
            if not staking.is_punishable(
                state, evidence, self._genesis_hash, height, self._known_claims
            )
        ]
        for key in gone:
            del self._waiting[key]
        self._store.drop_evidence(gone)


def _key(evidence: Evidence) -> bytes:
    vote = evidence.first if isinstance(evidence, Conflict) else evidence.vote
    return vote.subject.epoch.to_bytes(8, "big") + offender(evidence).to_bytes(2, "big")
