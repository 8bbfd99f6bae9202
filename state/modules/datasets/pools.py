"""Pools: how contributors of a dataset version are paid by weight without looping over them.

Each version names its contributors by a Merkle root of (address, weight) leaves. Money for a
version goes into its pool, and a contributor takes out what a proven leaf has earned (assets C.3).
"""

from typing import Annotated

from msgspec import Meta

import cython_ext
from state import crypto
from state.codec import encode, replace
from state.context import BlockContext, TxContext
from state.crypto import Tag
from state.maths import mul_div_floor
from state.modules import bank
from state.modules.datasets.records import (
    CONTRIBUTIONS,
    MODULE,
    POOLS,
    BadProof,
    Content,
    Contribution,
    ContributionClaimed,
    NothingDue,
    Pool,
    PositiveWeight,
    VersionNo,
    WeightsExceedTotal,
    version_of,
)
from state.registry import Message
from state.tables import State
from state.types import INT_MAX, U32, Address, Hash

POOL = bank.pot("datasets.pool")
"""Where contributors' money lies until they claim it."""

PATH_MAX = 32
"""Siblings of a leaf in the largest list, one of 2^32 - 1."""


def contributor_leaf(contributor: Address, weight: int) -> bytes:
    """Return the leaf of a contributors' list: the canonical array (address, weight)."""
    return encode((contributor, weight))


def contributors_root(contributors: list[tuple[Address, int]]) -> Hash:
    """Return the root of a contributors' list in its order."""
    return crypto.merkle_root(Tag.CONTRIBUTORS, [contributor_leaf(*one) for one in contributors])


def contributor_path(contributors: list[tuple[Address, int]], index: int) -> list[Hash]:
    """Return the siblings that prove one leaf of a contributors' list."""
    leaves = [contributor_leaf(*one) for one in contributors]
    return cython_ext.merkle_path(Tag.CONTRIBUTORS.value, leaves, index)


def can_take(state: State, dataset: Hash, version: int, amount: int) -> bool:
    """Tell whether the pool's lifetime sum stays within integers at rest."""
    return POOLS.require(state, (dataset, version)).received + amount <= INT_MAX


def fund(state: State, source: Address, dataset: Hash, version: int, amount: int) -> None:
    """Move grains from `source` into the pool that the version's contributors share."""
    bank.move(state, source, POOL, amount)
    accrue(state, dataset, version, amount)


def accrue(state: State, dataset: Hash, version: int, amount: int) -> None:
    """Enter grains that the caller moves to POOL in the same step, perhaps for many pools."""
    pool = POOLS.require(state, (dataset, version))
    POOLS.put(state, (dataset, version), replace(pool, received=pool.received + amount))


@MODULE.tx
class ClaimContribution(Message, tag=0x0305):
    """Take out what the signer's leaf in a version's contributors' list has earned.

    `index` is the place of the leaf (signer, leaf_weight) in the list, `path` its siblings from the
    bottom up. However often one claims, the sum paid is floor(pool * leaf_weight / total_weight).
    """

    dataset: Hash
    version: VersionNo
    index: U32
    leaf_weight: PositiveWeight
    path: Annotated[tuple[Hash, ...], Meta(max_length=PATH_MAX)]

    WEIGHT = 200

    def apply(self, ctx: TxContext) -> None:
        """Check the proof, move what is due, and remember what was paid."""
        state, key = ctx.state, (self.dataset, self.version)
        self._check_leaf(ctx, version_of(state, *key).content)
        pool = POOLS.require(state, key)
        proven = CONTRIBUTIONS.get(state, (*key, self.index))
        first = proven is None
        row = Contribution(ctx.account, self.leaf_weight) if proven is None else proven
        claimed_weight = pool.claimed_weight + (self.leaf_weight if first else 0)
        if claimed_weight > pool.total_weight:
            raise WeightsExceedTotal(
                f"The leaves claimed so far weigh {pool.claimed_weight} of {pool.total_weight} and "
                f"this one {self.leaf_weight}; the owner declared too small a total."
            )
        amount = due(pool, row)
        if amount == 0:
            raise NothingDue("This leaf has been paid all it earned; claim when there is more.")
        bank.move(state, POOL, ctx.account, amount)
        CONTRIBUTIONS.put(state, (*key, self.index), replace(row, paid=row.paid + amount))
        claimed = replace(pool, claimed=pool.claimed + amount, claimed_weight=claimed_weight)
        POOLS.put(state, key, claimed)
        ctx.emit(ContributionClaimed(*key, self.index, ctx.account, amount))

    def _check_leaf(self, ctx: TxContext, content: Content) -> None:
        leaf = contributor_leaf(ctx.account, self.leaf_weight)
        tag, root = Tag.CONTRIBUTORS.value, content.contributors_root
        count = content.contributors_count
        if not cython_ext.merkle_verify(tag, root, leaf, self.index, count, list(self.path)):
            raise BadProof(
                "The contributors' list of this version does not hold the signer with this weight "
                "at this index; ask the dataset's owner for leaf and path."
            )


def due(pool: Pool, row: Contribution) -> int:
    """Return what a leaf has earned since the pool began, less what it was paid."""
    return mul_div_floor(pool.received, row.weight, pool.total_weight) - row.paid


@MODULE.invariant(always=False)
def pools_are_covered(ctx: BlockContext) -> str | None:
    """The pot holds exactly what pools received and nobody has claimed."""
    owed = 0
    for key, row in POOLS.scan(ctx.state):
        if row.claimed > row.received:
            return f"Pool {key} paid out {row.claimed} of {row.received}."
        owed += row.received - row.claimed
    held = bank.balance_of(ctx.state, POOL)
    return None if held == owed else f"The pot holds {held} and the pools owe {owed}."
