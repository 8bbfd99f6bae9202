"""Staking through whole blocks of signed bytes: what the signatures inside messages are worth."""

from typing import Any

import pytest
from nacl.signing import SigningKey

from state.codec import replace
from state.crypto import Tag
from state.errors import InvalidBlock
from state.finality import Conflict, Notarize, Proposal, Vote, vote_digest
from state.modules import staking
from state.modules.staking import CreateValidator, SubmitEvidence, possession_digest
from state.modules.staking.blocks import MATURED_PER_BLOCK_MAX
from state.params import FeeParams


def create(chain: Any, by: int, key: SigningKey) -> CreateValidator:
    account = chain.address(by)
    proof = key.sign(possession_digest(chain.genesis.hash, account)).signature
    return CreateValidator(account, bytes(key.verify_key), proof, 10**12, 500, 10, "new")


def test_a_validator_is_created_by_a_key_that_signs(chain: Any) -> None:
    key = SigningKey(b"consensus key of account no. 2..")
    (event,) = chain.accept(create(chain, 2, key), by=2)
    assert event[0] == "staking.validator_created"
    assert staking.validator_set(chain.state)[0].public_key == bytes(key.verify_key)


def test_a_key_that_did_not_sign_makes_the_block_invalid(chain: Any) -> None:
    key, other = SigningKey(b"k" * 32), SigningKey(b"o" * 32)
    with pytest.raises(InvalidBlock, match="signature"):
        chain.submit(replace(create(chain, 2, key), public_key=bytes(other.verify_key)), by=2)


def evidence(chain: Any, key: SigningKey) -> Conflict:
    def vote(block: int) -> Notarize:
        subject = Proposal(0, 3, 2, bytes([block]) * 32, bytes(32))
        digest = vote_digest(Tag.NOTARIZE, chain.genesis.hash, subject)
        return Notarize(subject, Vote(0, key.sign(digest).signature))

    return Conflict(vote(1), vote(2))


def test_evidence_in_a_transaction_names_a_key_that_signed(chain: Any) -> None:
    key = chain.keys[0]  # of the one validator
    foreign = evidence(chain, chain.keys[1])
    with pytest.raises(InvalidBlock, match="signature"):
        chain.submit(SubmitEvidence(0, bytes(key.verify_key), foreign), by=3)
    theirs = SubmitEvidence(0, bytes(chain.keys[1].verify_key), foreign)
    chain.refuse("staking.evidence_invalid", theirs, by=3)
    tags = [
        event[0]
        for event in chain.accept(
            SubmitEvidence(0, bytes(key.verify_key), evidence(chain, key)), by=3
        )
    ]
    assert tags == ["staking.slashed"]
    again = SubmitEvidence(0, bytes(key.verify_key), evidence(chain, key))
    chain.refuse("staking.evidence_known", again, by=4)


def test_a_chain_goes_on_whose_only_validator_is_out(chain: Any) -> None:
    """Nobody earns and no other set can be fixed; blocks and their fees go on all the same."""
    key = chain.keys[0]
    proof = SubmitEvidence(0, bytes(key.verify_key), evidence(chain, key))
    chain.accept(proof, by=3)
    chain.advance_to(601)
    assert len(staking.members_of(chain.state, 2)) == 1


def test_a_block_pays_whatever_one_block_can_queue() -> None:
    weight = staking.Undelegate.WEIGHT
    assert MATURED_PER_BLOCK_MAX * weight >= FeeParams().block_weight_max
