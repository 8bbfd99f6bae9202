"""Proofs verified where nobody is trusted: from a row or outcome up to a finalized header.

Each function checks every step and names the one that fails. What is trusted is the genesis hash
and the validator set, which a client knows from the genesis document or from earlier headers.
"""

from collections.abc import Sequence

import cython_ext
from node.client.errors import ProofInvalid
from node.rpc.backend import OutcomeProof, StateProof
from state.codec import Decoder
from state.crypto import Tag
from state.errors import Malformed
from state.finality import (
    Finalization,
    Header,
    Validator,
    ValidatorSet,
    set_hash,
    verify_certificate,
)
from state.genesis import Genesis
from state.tree import TreeProof, verify_proof
from state.types import Hash

_tree_proofs: Decoder[TreeProof] = Decoder(TreeProof)


def validators_of(genesis: Genesis) -> ValidatorSet:
    """Return the first validator set of a network, in the order of the genesis document."""
    return tuple(
        Validator(each.public_key, each.account, each.stake) for each in genesis.validators
    )


def verify_finalization(
    header: Header,
    finalization: Finalization,
    validators: ValidatorSet,
    genesis_hash: Hash,
    descendants: Sequence[Header] = (),
) -> None:
    """Raise ProofInvalid unless a quorum of `validators` finalized this header.

    It has done so too if it finalized the last of `descendants`, which lead up from the header.
    """
    if set_hash(validators) != header.validators_hash:
        raise ProofInvalid("The header names another validator set than the one trusted.")
    for child in descendants:
        if child.parent_id != header.id or child.validators_hash != header.validators_hash:
            raise ProofInvalid("The descendants do not lead up from the header in its epoch.")
        header = child
    if finalization.subject.block_id != header.id:
        raise ProofInvalid("The certificate finalizes another block than this header's.")
    if not verify_certificate(genesis_hash, finalization, validators):
        raise ProofInvalid("The certificate has no valid votes of more than 2/3 of the stake.")


def verify_state_proof(
    proof: StateProof, validators: ValidatorSet, genesis_hash: Hash
) -> bytes | None:
    """Return the proven row's bytes, or None when its absence is proven; raises ProofInvalid."""
    if proof.header.height != proof.height + 1:
        raise ProofInvalid("The state after a height is committed to by the header after it.")
    verify_finalization(
        proof.header, proof.finalization, validators, genesis_hash, proof.descendants
    )
    try:
        path = _tree_proofs.decode(proof.proof)
    except Malformed as error:
        raise ProofInvalid(error.sentence) from error
    if not verify_proof(proof.header.state_root, proof.key, proof.value, path):
        raise ProofInvalid("The tree path does not lead from this row to the header's state root.")
    return proof.value


def verify_outcome_proof(
    proof: OutcomeProof, validators: ValidatorSet, genesis_hash: Hash
) -> bytes:
    """Return the proven leaf, the bytes of an outcome or event; raises ProofInvalid."""
    if proof.header.height != proof.height + 1:
        raise ProofInvalid("Outcomes of a height are committed to by the header after it.")
    verify_finalization(
        proof.header, proof.finalization, validators, genesis_hash, proof.descendants
    )
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
