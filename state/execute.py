"""Executing a block: the order of everything, from the first hook to the last root.

begin hooks -> transactions, each atomic -> fees -> end hooks -> base fee -> invariants. The same
checks admit a transaction to a mempool and to a block, so what a leader includes rarely bounces.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import ClassVar

from state import crypto
from state.block import TRANSACTIONS_MAX, Body, Outcome, Result, Status, pack_events
from state.codec import encode
from state.context import BlockContext, QueryContext, TxContext
from state.crypto import SignatureClaim, Tag
from state.errors import InvalidBlock, InvariantBroken, Rejected
from state.finality import Certificate, Evidence, Finalization, Header, Justify
from state.genesis import Genesis
from state.maths import mul_div_floor
from state.modules import bank, chain, staking
from state.modules.all import MODULES
from state.params import FeeParams, Params
from state.tables import Base, State
from state.transaction import BadSignature, Transaction, WireReader
from state.types import BPS, ZERO_ADDRESS, ZERO_HASH, Address, Hash


class Expired(Rejected):
    """The transaction's last valid height lies behind, or too far ahead."""

    code: ClassVar[str] = "tx.expired"


class FeeTooLow(Rejected):
    """The fee that the transaction allows is below what it costs now."""

    code: ClassVar[str] = "tx.fee_too_low"


class TooHeavy(Rejected):
    """The transaction alone would overfill a block."""

    code: ClassVar[str] = "tx.too_heavy"


@dataclass(frozen=True, slots=True)
class BlockInput:
    """What execution needs to know of a block besides the state before it."""

    height: int
    time_ms: int
    proposer: Address
    previous_id: Hash
    transactions: Sequence[Transaction]
    certificates: Sequence[Certificate] = ()
    """Whose voters took part: those of the block's justification, which consensus has verified."""
    late: Finalization | None = None
    evidence: Sequence[Evidence] = ()


@dataclass(frozen=True, slots=True)
class Executed:
    """A block's layer of state, what it returned, and the weight that was paid for."""

    state: State
    result: Result
    weight: int


def block_input(
    header: Header, justify: Justify, body: Body, transactions: Sequence[Transaction]
) -> BlockInput:
    """Return what execution needs of a block whose body was checked and decoded."""
    found = (justify.parent, *justify.nullifications)
    return BlockInput(
        header.height,
        header.time_ms,
        header.proposer,
        header.parent_id,
        transactions,
        tuple([certificate for certificate in found if certificate is not None]),
        body.late,
        body.evidence,
    )


def check_static(transaction: Transaction, fees: FeeParams) -> None:
    """Raise Rejected for what no state could make right, signatures apart."""
    transaction.check_signer()
    if transaction.weight > fees.block_weight_max:
        raise TooHeavy(
            f"The transaction weighs {transaction.weight}, more than a whole block; split it."
        )
    for message in transaction.body.messages:
        message.check()


def check_inclusion(state: State, transaction: Transaction, height: int, params: Params) -> int:
    """Return the fee of the transaction at `height`; raises Rejected when it may not go in."""
    body = transaction.body
    if not height <= body.valid_until_height <= height + params.fees.validity_blocks_max:
        raise Expired(
            f"The transaction is valid until height {body.valid_until_height} and the next block "
            f"is {height}; sign it again for at most {params.fees.validity_blocks_max} ahead."
        )
    fee = transaction.weight * chain.base_fee(state)
    if fee > body.fee_max:
        raise FeeTooLow(f"The fee is {fee} grains and fee_max is {body.fee_max}; raise fee_max.")
    chain.check_nonce(state, body.account, body.nonce)
    held = bank.balance_of(state, body.account)
    if held < body.fee_max:
        raise bank.InsufficientFunds(
            f"The account holds {held} grains and fee_max reserves {body.fee_max}; fund it or "
            "lower fee_max."
        )
    return fee


def apply_transaction(block: BlockContext, transaction: Transaction) -> Outcome:
    """Execute one transaction: all of its messages or none, and its fee in either case."""
    state, body = block.state, transaction.body
    weight = transaction.weight
    try:
        fee = check_inclusion(state, transaction, block.height, block.params)
    except Rejected as error:
        refusal = (error.code, error.sentence)
        return Outcome(transaction.id, Status.REFUSED, *refusal, 0, weight, ())
    bank.withhold(state, body.account, fee)
    chain.use_nonce(state, body.account, body.nonce)
    ctx = TxContext(block, body.account, body.nonce, transaction.id)
    state.begin()
    try:
        for index, message in enumerate(body.messages):
            ctx.message_index = index
            message.apply(ctx)
    except Rejected as error:
        state.rollback()
        failure = (error.code, error.sentence)
        return Outcome(transaction.id, Status.FAILED, *failure, fee, weight, ())
    state.commit()
    block.deferred += ctx.deferred
    events = pack_events(ctx.events)
    return Outcome(transaction.id, Status.OK, "ok", "", fee, weight, events)


def params_hash(params: Params) -> Hash:
    """Return the hash by which headers name the parameters in force after their parent."""
    return crypto.hash_bytes(Tag.PARAMS, encode(params))


def check_over_parent(
    below: State | Base,
    header: Header,
    body: Body,
    genesis_hash: Hash,
    known: Container[SignatureClaim] = (),
) -> list[SignatureClaim]:
    """Return what late votes and evidence claim to be signed, for a block that may be executed.

    Raises InvalidBlock for whatever the state after the parent shows to be wrong; nobody votes for
    such a block (consensus R3). Whoever executes it after that verifies no signature again.
    """
    state = State(below)
    if header.params_hash != params_hash(chain.params_of(state)):
        raise InvalidBlock("The header names other parameters than those in force.")
    return staking.check_votes(state, header.height, genesis_hash, body.late, body.evidence, known)


def apply_block(
    below: State | Base,
    block: BlockInput,
    genesis_hash: Hash,
    *,
    every_invariant: bool,
    known: Container[SignatureClaim] = (),
) -> Executed:
    """Execute a block over the state before it; the block must have passed `check_block`.

    Raises InvalidBlock when its late votes or its evidence are not valid over that state, which
    `check_over_parent` tells beforehand; signatures that are `known` are not verified again.
    Raises InvariantBroken when the state contradicts itself afterwards; nothing is kept then.
    """
    state = State(below)
    staking.check_votes(state, block.height, genesis_hash, block.late, block.evidence, known)
    late = () if block.late is None else (block.late,)
    params = chain.params_of(state)
    ctx = BlockContext(
        state,
        block.height,
        block.time_ms,
        params,
        genesis_hash,
        block.proposer,
        block.previous_id,
        (*block.certificates, *late),
        block.evidence,
    )
    for module in MODULES:
        _run(module.begin_hooks, ctx)
    outcomes = tuple([apply_transaction(ctx, transaction) for transaction in block.transactions])
    fees = sum(outcome.fee for outcome in outcomes)
    bank.credit(state, chain.FEES, fees)
    bank.burn(state, chain.FEES, mul_div_floor(fees, params.fees.burn_bps, BPS))
    for module in MODULES:
        _run(module.end_hooks, ctx)
    # What was refused paid nothing, so it may not make the next block dearer for those who pay.
    weight = sum(outcome.weight for outcome in outcomes if outcome.status != Status.REFUSED)
    chain.move_base_fee(state, params.fees, weight)
    assert_invariants(ctx, every=every_invariant)
    return Executed(state, Result(outcomes, pack_events(ctx.events)), weight)


def _run(hooks: Sequence[Callable[[BlockContext], None]], ctx: BlockContext) -> None:
    """Run a module's hooks; nobody asked for what they do, so nothing may be refused there."""
    for hook in hooks:
        try:
            hook(ctx)
        except Rejected as error:
            raise InvariantBroken(
                f"{hook.__module__}.{hook.__name__} at height {ctx.height}: {error.sentence}"
            ) from error


def apply_genesis(below: State | Base, genesis: Genesis) -> State:
    """Return the layer with the first state of a network."""
    genesis.check()
    state = State(below)
    ctx = BlockContext(
        state, 0, genesis.time_ms, genesis.params, genesis.hash, ZERO_ADDRESS, ZERO_HASH
    )
    for module in MODULES:
        for hook in module.genesis_hooks:
            hook(ctx, genesis)
    assert_invariants(ctx, every=True)
    return state


def assert_invariants(ctx: BlockContext, *, every: bool) -> None:
    """Raise InvariantBroken, naming the first one that does not hold."""
    for module in MODULES:
        for invariant in module.invariants:
            if every or invariant.always:
                breach = invariant.holds(ctx)
                if breach is not None:
                    raise InvariantBroken(f"{invariant.name} at height {ctx.height}: {breach}")


def check_block(
    wires: Sequence[bytes], decoder: WireReader, fees: FeeParams, known: Container[bytes]
) -> list[Transaction]:
    """Return the block's transactions; raises InvalidBlock when a static rule is broken.

    `known` holds wire bytes whose signatures this node has verified already, so that each is
    verified once per node. Ids will not do: they do not cover the signatures, so a block could
    carry a known body under a wrong signature, good for some nodes and bad for the others.
    """
    if len(wires) > TRANSACTIONS_MAX:
        raise InvalidBlock(f"The body holds more than {TRANSACTIONS_MAX} transactions.")
    if sum(len(wire) for wire in wires) > fees.block_bytes_max:
        raise InvalidBlock("The body is larger than fees.block_bytes_max; ask another peer.")
    try:
        found = [decoder.decode(wire, bytes_max=fees.transaction_bytes_max) for wire in wires]
        for transaction in found:
            check_static(transaction, fees)
    except Rejected as error:
        raise InvalidBlock(f"A transaction breaks a static rule: {error.sentence}") from error
    if sum(transaction.weight for transaction in found) > fees.block_weight_max:
        raise InvalidBlock("The body weighs more than fees.block_weight_max; ask another peer.")
    if len({transaction.id for transaction in found}) != len(found):
        raise InvalidBlock("The body holds one transaction twice; ask another peer.")
    claims = [claim for tx in found if tx.wire not in known for claim in tx.claims()]
    if not all(crypto.verify_many(claims)):
        raise InvalidBlock("A signature in the body is not valid; ask another peer.")
    return found


def verify_signatures(transactions: Sequence[Transaction]) -> list[BadSignature | None]:
    """Return, per transaction, what is wrong with its signatures, or None."""
    claims = [transaction.claims() for transaction in transactions]
    verdicts = iter(crypto.verify_many([claim for group in claims for claim in group]))
    return [
        transaction.refusal([next(verdicts) for _ in group])
        for transaction, group in zip(transactions, claims, strict=True)
    ]


def query_context(state: State, height: int, time_ms: int, genesis_hash: Hash) -> QueryContext:
    """Return the read-only context that queries of one height run in."""
    return QueryContext(state, height, time_ms, chain.params_of(state), genesis_hash)
