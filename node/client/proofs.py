"""Proofs verified where nobody is trusted: from a row or outcome up to a finalized header.

Each function checks every step and names the one that fails. What is trusted is one epoch's
validator set (consensus/light.py); node/client/trust.py tells how a client comes by it.
"""

from collections.abc import Sequence

import cython_ext
from consensus.light import LightError, Trust, check_final, check_path
from node.client.errors import ProofInvalid
from node.rpc.backend import OutcomeProof, StateProof
from state.codec import Decoder
from state.crypto import Tag
from state.errors import Malformed
from state.finality import Finalization, Header
from state.tree import TreeProof, verify_proof

_tree_proofs: Decoder[TreeProof] = Decoder(TreeProof)


def verify_finalization(
    header: Header,
    finalization: Finalization,
    trust: Trust,
    descendants: Sequence[Header] = (),
    *,
    now_ms: int = 0,
) -> None:
    """Raise ProofInvalid unless a quorum of the trusted set finalized this header.

    It has done so too if it finalized the last of `descendants`, which lead up from the header
    (consensus settled point 19). `now_ms` counts where the trust is bounded in time.
    """
    try:
        check_path(header, descendants)
        last = descendants[-1] if descendants else header
        if header.epoch != last.epoch:
            raise ProofInvalid("The descendants lead into another epoch than the header's.")
        check_final(trust, last, finalization, now_ms)
    except LightError as error:
        raise ProofInvalid(error.sentence) from error


def verify_state_proof(proof: StateProof, trust: Trust, *, now_ms: int = 0) -> bytes | None:
    """Return the proven row's bytes, or None when its absence is proven; raises ProofInvalid."""
    if proof.header.height != proof.height + 1:
        raise ProofInvalid("The state after a height is committed to by the header after it.")
    verify_finalization(proof.header, proof.finalization, trust, proof.descendants, now_ms=now_ms)
    try:
        path = _tree_proofs.decode(proof.proof)
    except Malformed as error:
        raise ProofInvalid(error.sentence) from error
    if not verify_proof(proof.header.state_root, proof.key, proof.value, path):
        raise ProofInvalid("The tree path does not lead from this row to the header's state root.")
    return proof.value


def verify_outcome_proof(proof: OutcomeProof, trust: Trust, *, now_ms: int = 0) -> bytes:
    """Return the proven leaf, the bytes of an outcome or event; raises ProofInvalid."""
    if proof.header.height != proof.height + 1:
        raise ProofInvalid("Outcomes of a height are committed to by the header after it.")
    verify_finalization(proof.header, proof.finalization, trust, proof.descendants, now_ms=now_ms)
    held = cython_ext.merkle_verify(
        Tag.OUTCOME_ROOT.value,
        proof.header.outcomes_root,
        proof.leaf,
        proof.index,
        proof.count,
        proof.path,
    )
    if not held:
        raise ProofInvalid("The path does not lead from this leaf to the header's outcomes root.")
    return proof.leaf
