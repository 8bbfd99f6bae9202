"""Presence: who of the members takes part, and jail for those who do not (settled 12).

Blocks are counted in windows of participation_blocks, side by side: window k holds the heights
k x W + 1 to (k + 1) x W. At its first block all members are unseen; whoever voted in a certificate
that a block carries is seen. Whoever was a member throughout and is unseen after the last block is
jailed. The one row of this shrinks to nothing within the first blocks of a window of a healthy
chain and is not written after that. It is bookkeeping like the accumulators: a block that changed
nothing else has not changed the state in the sense of settled point 15.
"""

from state.codec import replace
from state.context import BlockContext
from state.crypto import SignatureClaim
from state.errors import InvalidBlock
from state.finality import Finalization, certificate_claims
from state.modules import chain
from state.modules.staking.events import Jailed
from state.modules.staking.records import SETS, VALIDATORS, WATCH, Standing, Watch
from state.modules.staking.sets import epoch_of, members_of
from state.modules.staking.shares import keep_validator, settled_validator
from state.tables import State
from state.types import Address, Hash


def claims_of_late(
    state: State, height: int, genesis_hash: Hash, late: Finalization
) -> list[SignatureClaim]:
    """Return the signatures that late votes claim.

    Raises InvalidBlock unless these make a finalization of this epoch or the one before. Until its
    own epoch has a direct finalization, an honest leader shows that of the last boundary.
    """
    params = chain.params_of(state).staking
    epoch = late.subject.epoch
    row = SETS.get(state, epoch)
    if row is None or epoch not in (epoch_of(height, params) - 1, epoch_of(height, params)):
        raise InvalidBlock("The late votes are of another epoch; expected this or the one before.")
    claims = certificate_claims(genesis_hash, late, row.members)
    if not claims:
        raise InvalidBlock("The late votes are no finalization by their epoch's set; refuse them.")
    return claims


def watch(ctx: BlockContext) -> None:
    """Cross off whose votes this block shows; judge the window at its end."""
    window = ctx.params.staking.participation_blocks
    before = WATCH.get(ctx.state, chain.THE_ONE) or Watch(())
    unseen = before.unseen
    if ctx.height % window == 1:
        unseen = _members_now(ctx)
    if unseen:
        seen = _voters(ctx)
        unseen = tuple([account for account in unseen if account not in seen])
    if ctx.height % window == 0:
        _judge(ctx, unseen)
        unseen = ()
    if unseen != before.unseen:
        WATCH.put(ctx.state, chain.THE_ONE, Watch(unseen))


def _members_now(ctx: BlockContext) -> tuple[Address, ...]:
    members = members_of(ctx.state, epoch_of(ctx.height, ctx.params.staking))
    accounts = [member.account for member in members]
    return tuple([account for account in accounts if _is_active(ctx.state, account)])


def _is_active(state: State, account: Address) -> bool:
    return VALIDATORS.require(state, account).standing == Standing.ACTIVE


def _voters(ctx: BlockContext) -> set[Address]:
    """Return whose votes the block's certificates hold, each by the set of its own epoch."""
    found: set[Address] = set()
    for certificate in ctx.certificates:
        row = SETS.get(ctx.state, certificate.subject.epoch)
        members = () if row is None else row.members
        for vote in certificate.votes:
            if vote.validator < len(members):
                found.add(members[vote.validator].account)
    return found


def _judge(ctx: BlockContext, unseen: tuple[Address, ...]) -> None:
    """Jail the unseen, unless they are a third of the stake.

    Every block but the first stands on a quorum, so a third can be unseen only where blocks carry
    no certificates, or where the set has just changed: then nobody is to blame.
    """
    state, params = ctx.state, ctx.params.staking
    members = members_of(state, epoch_of(ctx.height, params))
    absent = sum([member.stake for member in members if member.account in unseen])
    if 3 * absent >= sum([member.stake for member in members]):
        return
    for account in unseen:
        if _is_active(state, account):
            row = settled_validator(state, account)
            release = ctx.height + params.jail_blocks
            jailed = replace(row, standing=Standing.JAILED, release_height=release, earning=False)
            keep_validator(state, account, jailed)
            ctx.emit(Jailed(account, release))
