"""Staking: validators, delegations, the sets of epochs, presence, slashing, and shared fees.

Fees of a block go to its proposer by a fixed share and to all stake that earns by the rest, through
one accumulator over it and one a validator behind it; a slash lowers what a validator's shares are
worth. So neither ever loops over delegators.
"""

from state.modules.staking import blocks, invariants, queries
from state.modules.staking.delegating import ClaimRewards, Delegate, Redelegate, Undelegate
from state.modules.staking.records import BONDED, MODULE, REWARDS, UNBONDING
from state.modules.staking.sets import epoch_of, members_of, validator_set
from state.modules.staking.shares import bonded_age
from state.modules.staking.slashing import (
    SubmitEvidence,
    check_votes,
    choose_evidence,
    is_punishable,
)
from state.modules.staking.validating import (
    CreateValidator,
    EditValidator,
    Unjail,
    possession_digest,
)

__all__ = [
    "MODULE",
    "BONDED",
    "UNBONDING",
    "REWARDS",
    "Delegate",
    "Undelegate",
    "Redelegate",
    "ClaimRewards",
    "CreateValidator",
    "EditValidator",
    "Unjail",
    "SubmitEvidence",
    "bonded_age",
    "check_votes",
    "choose_evidence",
    "epoch_of",
    "is_punishable",
    "members_of",
    "possession_digest",
    "validator_set",
    "blocks",
    "invariants",
    "queries",
]
