"""Staking: validators, delegations, unbonding, and the fees that they share.

Fees of a block go to its proposer by a fixed share and to all stake by the rest, through one
accumulator over all bonded stake and one a validator behind it: no block ever loops over
delegators. Validators and their first bonds stand in genesis.
"""

from state.modules.staking import blocks, queries
from state.modules.staking.records import BONDED, MODULE, REWARDS, UNBONDING
from state.modules.staking.shares import bonded_age, members_of, validator_set
from state.modules.staking.txs import ClaimRewards, Delegate, Undelegate

__all__ = [
    "MODULE",
    "BONDED",
    "UNBONDING",
    "REWARDS",
    "Delegate",
    "Undelegate",
    "ClaimRewards",
    "bonded_age",
    "members_of",
    "validator_set",
    "blocks",
    "queries",
]
