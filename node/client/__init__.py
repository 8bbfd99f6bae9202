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
    verify_finalization,
    verify_outcome_proof,
    verify_state_proof,
)
from node.client.roaming import RoamingClient
from node.client.synchronous import SyncClient
from node.client.trust import TrustChain, trust_in

__all__ = [
    "Account",
    "ClientError",
    "Dropped",
    "NotFinal",
    "OutcomeNotOk",
    "ProofInvalid",
    "Refused",
    "RoamingClient",
    "SaharaClient",
    "SyncClient",
    "Unreachable",
    "WrongNetwork",
    "TrustChain",
    "trust_in",
    "verify_finalization",
    "verify_outcome_proof",
    "verify_state_proof",
]
