"""The typed client: signs, submits, waits, asks and verifies, without running a node."""

from node.client.accounts import Account
from node.client.asynchronous import SaharaClient
from node.client.errors import (
    ClientError,
    Dropped,
    NotFinal,
    OutcomeNotOk,
    ProofInvalid,
    Refused,
    Unreachable,
    WrongNetwork,
)
from node.client.proofs import (
    validators_of,
    verify_finalization,
    verify_outcome_proof,
    verify_state_proof,
)
from node.client.synchronous import SyncClient

__all__ = [
    "Account",
    "ClientError",
    "Dropped",
    "NotFinal",
    "OutcomeNotOk",
    "ProofInvalid",
    "Refused",
    "SaharaClient",
    "SyncClient",
    "Unreachable",
    "WrongNetwork",
    "validators_of",
    "verify_finalization",
    "verify_outcome_proof",
    "verify_state_proof",
]
