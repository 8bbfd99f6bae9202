"""Executing blocks: who is refused, who fails and pays, where fees go, and that replay agrees."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.block import TRANSACTIONS_MAX, Outcome, Status
from state.codec import encode
from state.context import BlockContext
from state.errors import InvalidBlock, InvariantBroken
from state.execute import BlockInput, Executed, apply_block, apply_genesis, check_block
from state.modules import bank, chain
from state.modules.all import MESSAGES, MODULES
from state.modules.bank import Burn, Transfer
from state.modules.chain import next_base_fee
from state.modules.staking import REWARDS, ClaimRewards, Delegate, Undelegate
from state.params import FeeParams, Params, StakingParams
from state.registry import Message
from state.tables import Base, State
from state.transaction import Body, KeySignature, TransactionDecoder, assemble, transaction_id
from state.types import NATIVE

FEE_MAX = 10**6


def sign(chain: Any, *messages: Message, by: int = 1, **changes: int) -> bytes:
    """A signed transaction whose envelope the test decides: nonce, valid_until_height, fee_max."""
    fields: dict[str, Any] = {
        "nonce": 1,
        "valid_until_height": chain.height + 1,
        "fee_max": FEE_MAX,
        **changes,
    }
    body = Body(chain.address(by), messages=messages or (Burn(1),), **fields)
    signature = chain.keys[by].sign(transaction_id(chain.genesis.hash, encode(body))).signature
    return assemble(body, (KeySignature(bytes(chain.keys[by].verify_key), signature),))


def decoder(chain: Any) -> TransactionDecoder:
    return TransactionDecoder(MESSAGES, chain.genesis.hash)


def checked(chain: Any, *wires: bytes, known: Any = ()) -> Any:
    return check_block(wires, decoder(chain), chain.genesis.params.fees, known)


def execute(chain: Any, below: State | Base, height: int, *wires: bytes) -> Executed:
    """Execute one block over any layer, without making it final."""
    block = BlockInput(height, height * 1_000, chain.address(0), bytes(32), checked(chain, *wires))
    return apply_block(below, block, chain.genesis.hash, every_invariant=True)


def small(**fees: int) -> Params:
    return Params(fees=FeeParams(**fees))


# --- refused: no fee, no nonce, nothing


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("tx.expired", {"valid_until_height": 5}),
        ("tx.expired", {"valid_until_height": 6 + 10_000 + 1}),
        ("tx.fee_too_low", {"fee_max": 1}),
        ("tx.nonce_unusable", {"nonce": 257}),
        ("bank.insufficient_funds", {"fee_max": 10**15 + 1}),
    ],
)
def test_a_refused_transaction_changes_nothing(
    make_chain: Any, code: str, changes: dict[str, int]
) -> None:
    chain, control = make_chain(), make_chain()
    chain.advance_to(5)
    control.advance_to(5)
    (outcome,) = chain.block(sign(chain, **changes))
    control.block()
    assert (outcome.status, outcome.code, outcome.fee) == (Status.REFUSED, code, 0)
    assert outcome.sentence.endswith(".")
    assert outcome.events == ()
    assert chain.rows == control.rows


@pytest.mark.parametrize(
    "changes",
    [
        {"valid_until_height": 6},
        {"valid_until_height": 6 + 10_000},
        {"nonce": 256},
        {"fee_max": 10**15},
    ],
)
def test_the_last_allowed_value_is_allowed(chain: Any, changes: dict[str, int]) -> None:
    chain.advance_to(5)
    (outcome,) = chain.block(sign(chain, **changes))
    assert outcome.status == Status.OK


def test_fee_max_may_equal_the_fee_and_no_less(chain: Any) -> None:
    weight = checked(chain, sign(chain))[0].weight
    short, exact = sign(chain, fee_max=weight - 1), sign(chain, fee_max=weight)
    sizes = {len(sign(chain)), len(short), len(exact)}
    weight -= max(sizes) - len(exact)
    (outcome,) = chain.block(sign(chain, fee_max=weight - 1))
    assert outcome.code == "tx.fee_too_low"
    (outcome,) = chain.block(sign(chain, fee_max=weight))
    assert (outcome.status, outcome.fee) == (Status.OK, weight)


def test_a_replayed_transaction_is_refused(chain: Any) -> None:
    wire = sign(chain, valid_until_height=9)
    assert chain.block(wire)[0].status == Status.OK
    assert chain.block(wire)[0].code == "tx.nonce_unusable"
    # Another body under the same nonce is no better, in the same block or the next.
    one, two = sign(chain, Burn(2), nonce=2), sign(chain, Burn(3), nonce=2)
    assert [o.status for o in chain.block(one, two)] == [Status.OK, Status.REFUSED]


def test_a_failed_transaction_pays_and_consumes_its_nonce(chain: Any) -> None:
    before = bank.balance_of(chain.state, chain.address(1))
    (outcome,) = chain.block(sign(chain, Burn(2**62)))
    assert (outcome.status, outcome.code) == (Status.FAILED, "bank.insufficient_funds")
    assert bank.balance_of(chain.state, chain.address(1)) == before - outcome.fee
    assert chain.block(sign(chain))[0].code == "tx.nonce_unusable"


def test_messages_are_atomic_with_their_events(chain: Any) -> None:
    good, bad = Transfer(chain.address(2), 5), Burn(2**62)
    before = bank.balance_of(chain.state, chain.address(2))
    failed, passed = chain.block(sign(chain, good, good, bad), sign(chain, good, good, nonce=2))
    assert (failed.status, failed.events) == (Status.FAILED, ())
    assert (passed.status, len(passed.events)) == (Status.OK, 2)
    assert bank.balance_of(chain.state, chain.address(2)) == before + 10


def test_reserved_fees_are_not_held_back_from_the_messages(chain: Any) -> None:
    held = bank.balance_of(chain.state, chain.address(1))
    wire = sign(chain, Transfer(chain.address(2), held // 2), fee_max=held)
    assert chain.block(wire)[0].status == Status.OK


# --- blocks that break a static rule


def test_one_transaction_twice_is_no_block(chain: Any) -> None:
    wire = sign(chain)
    with pytest.raises(InvalidBlock, match="twice"):
        checked(chain, wire, wire)


def tampered(wire: bytes) -> bytes:
    """The same body, and so the same id, under a signature that does not verify."""
    at = wire.index(b"\xc4\x40") + 2
    return wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :]


def test_a_wrong_signature_is_no_block(chain: Any) -> None:
    good = sign(chain)
    assert checked(chain, good)[0].id == decoder(chain).decode(tampered(good), bytes_max=999).id
    with pytest.raises(InvalidBlock, match="signature"):
        checked(chain, tampered(good))


def test_what_is_known_is_the_signature_and_not_the_id(chain: Any) -> None:
    """Else nodes that saw the transaction before would accept what the others refuse."""
    good = sign(chain)
    ids = {decoder(chain).decode(good, bytes_max=999).id}
    for known in ({good}, ids):
        with pytest.raises(InvalidBlock, match="signature"):
            checked(chain, tampered(good), known=known)
    assert checked(chain, tampered(good), known={tampered(good)}), "known bytes are not verified"


def test_a_foreign_network_is_no_block(chain: Any, make_chain: Any) -> None:
    other = make_chain(small(base_fee_start=2))
    with pytest.raises(InvalidBlock, match="signature"):
        checked(other, sign(chain))


@pytest.mark.parametrize(
    ("wires", "match"),
    [
        (lambda chain: [b"\xc1"], "static rule"),
        (lambda chain: [sign(chain)[:-1]], "static rule"),
        (lambda chain: [sign(chain, Transfer(bytes(20), 1))], "module's own address"),
        (lambda chain: [sign(chain, nonce=n) for n in range(1, 41)], "weighs more"),
        (lambda chain: [sign(chain, *[Burn(1)] * 64, by=n) for n in (1, 2)], "weighs more"),
        (lambda chain: [bytes(1_000)] * 11, "larger"),
        (lambda chain: [b""] * (TRANSACTIONS_MAX + 1), "more than"),
    ],
    ids=["garbage", "cut", "check", "heavy", "many messages", "large", "many"],
)
def test_static_rules(make_chain: Any, wires: Callable[[Any], list[bytes]], match: str) -> None:
    limits = small(
        block_weight_max=10_000,
        block_weight_target=5_000,
        block_bytes_max=10_000,
        transaction_bytes_max=1_000,
    )
    chain = make_chain(limits)
    with pytest.raises(InvalidBlock, match=match):
        checked(chain, *wires(chain))


def test_a_transaction_heavier_than_a_block_is_named(make_chain: Any) -> None:
    chain = make_chain(small(block_weight_max=10_000, block_weight_target=5_000))
    with pytest.raises(InvalidBlock, match="more than a whole block"):
        checked(chain, sign(chain, *[Transfer(chain.address(2), 1, memo=bytes(200))] * 64))


# --- fees


@pytest.mark.parametrize(
    ("burn_bps", "proposer_bps"), [(5_000, 1_000), (0, 0), (10_000, 1), (3_333, 3_333)]
)
def test_fees_go_to_fire_proposer_and_stake_to_the_grain(
    make_chain: Any, burn_bps: int, proposer_bps: int
) -> None:
    params = Params(
        fees=FeeParams(burn_bps=burn_bps, base_fee_start=7),
        staking=StakingParams(proposer_bps=proposer_bps),
    )
    chain = make_chain(params)
    supply = chain.query(bank.supply).total
    proposer = bank.balance_of(chain.state, chain.address(0))
    outcomes = chain.block(
        sign(chain, Transfer(chain.address(2), 1)),
        sign(chain, Transfer(chain.address(3), 2**62), by=2),
        sign(chain, by=3, nonce=300),
    )
    assert [o.status for o in outcomes] == [Status.OK, Status.FAILED, Status.REFUSED]
    fees = sum(outcome.fee for outcome in outcomes)
    assert fees == 7 * (outcomes[0].weight + outcomes[1].weight)
    burned = supply - chain.query(bank.supply).total
    bonus = bank.balance_of(chain.state, chain.address(0)) - proposer
    shared = bank.balance_of(chain.state, REWARDS)
    assert burned == fees * burn_bps // 10_000
    assert bonus == (fees - burned) * proposer_bps // 10_000
    assert burned + bonus + shared == fees
    assert bank.balance_of(chain.state, chain_fees()) == 0


def chain_fees() -> bytes:
    return chain.FEES


def exact_base_fee(fees: FeeParams, current: int, weight: int) -> int:
    """EIP-1559 by fractions: truncated toward zero, at least one up when over the target."""
    target = fees.block_weight_target
    change = Fraction(current * (weight - target), target) * Fraction(
        fees.base_fee_change_max_ppm, 10**6
    )
    moved = current + (max(1, int(change)) if weight > target else int(change))
    return min(max(moved, fees.base_fee_min), 2**62)


@given(
    st.integers(1, 2**62),
    st.integers(0, 20_000),
    st.integers(1, 10_000),
    st.integers(0, 10**6),
    st.integers(1, 100),
)
def test_base_fee_equals_the_fractions(
    current: int, weight: int, target: int, change: int, low: int
) -> None:
    fees = FeeParams(
        block_weight_max=20_000,
        block_weight_target=target,
        base_fee_change_max_ppm=change,
        base_fee_min=low,
        base_fee_start=low,
    )
    assert next_base_fee(fees, current, weight) == exact_base_fee(fees, current, weight)


def test_base_fee_of_full_and_empty_blocks() -> None:
    fees = FeeParams(block_weight_max=30_000_000, block_weight_target=15_000_000)
    billion = 10**9
    assert next_base_fee(fees, billion, 30_000_000) == 1_125_000_000
    assert next_base_fee(fees, billion, 0) == 875_000_000
    assert next_base_fee(fees, billion, 15_000_000) == billion
    assert next_base_fee(fees, 1, 15_000_001) == 2
    assert next_base_fee(fees, 2**62, 30_000_000) == 2**62


def test_the_next_block_pays_the_moved_base_fee(make_chain: Any) -> None:
    chain = make_chain(small(block_weight_target=1_000, base_fee_start=100))
    first = chain.block(*[sign(chain, by=n) for n in range(1, 8)])
    assert {o.fee // o.weight for o in first} == {100}
    moved = exact_base_fee(chain.genesis.params.fees, 100, sum(o.weight for o in first))
    assert moved > 100
    (second,) = chain.block(sign(chain, nonce=2))
    assert second.fee == moved * second.weight


def test_refused_transactions_do_not_raise_the_base_fee(make_chain: Any) -> None:
    chain = make_chain(small(block_weight_target=1_000, base_fee_start=100))
    outcomes = chain.block(*[sign(chain, by=n, nonce=999) for n in range(1, 8)])
    assert all(outcome.status == Status.REFUSED for outcome in outcomes)
    assert chain.block(sign(chain))[0].fee < 100 * outcomes[0].weight


# --- what stops a node


def test_a_broken_invariant_keeps_nothing(chain: Any) -> None:
    bank.credit(chain.state, chain.address(1), 1)
    with pytest.raises(InvariantBroken, match="supply_is_accounted_for at height 1"):
        execute(chain, chain.state, 1)


def test_a_hook_that_is_refused_is_a_bug_and_not_a_bad_block(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overdraw(ctx: BlockContext) -> None:
        bank.move(ctx.state, bytes(20), chain.address(1), 1)

    monkeypatch.setattr(MODULES[0], "end_hooks", [overdraw])
    with pytest.raises(InvariantBroken, match="overdraw at height 1: The account holds 0"):
        execute(chain, chain.state, 1)


# --- random streams

_messages = st.one_of(
    st.tuples(st.just("transfer"), st.integers(0, 4), st.integers(1, 3 * 10**14)),
    st.tuples(st.just("burn"), st.just(0), st.integers(1, 10**15)),
    st.tuples(st.just("delegate"), st.integers(0, 1), st.integers(1, 3 * 10**9)),
    st.tuples(st.just("undelegate"), st.integers(0, 1), st.integers(1, 3 * 10**9)),
    st.tuples(st.just("claim"), st.integers(0, 1), st.just(0)),
)
_transactions = st.tuples(
    st.integers(0, 4), st.integers(1, 6), st.lists(_messages, min_size=1, max_size=3)
)
_blocks = st.lists(st.lists(_transactions, max_size=4), min_size=1, max_size=6)


def message(chain: Any, kind: str, number: int, amount: int) -> Message:
    address = chain.address(number)
    match kind:
        case "transfer":
            return Transfer(address, amount)
        case "burn":
            return Burn(amount)
        case "delegate":
            return Delegate(address, amount)
        case "undelegate":
            return Undelegate(address, amount)
    return ClaimRewards(address)


def signed_blocks(chain: Any, blocks: list[list[Any]]) -> list[list[bytes]]:
    stream = []
    for transactions in blocks:
        wires: dict[bytes, None] = {}
        for by, nonce, parts in transactions:
            messages = [message(chain, *part) for part in parts]
            wires[sign(chain, *messages, by=by, nonce=nonce, valid_until_height=99)] = None
        stream.append(list(wires))
    return stream


@settings(max_examples=60)
@given(_blocks)
def test_random_streams_conserve_and_replay(make_chain: Any, blocks: list[list[Any]]) -> None:
    """Every invariant holds after every block; final block by block or all in layers, the same."""
    params = Params(
        fees=FeeParams(block_weight_target=2_000, base_fee_start=50),
        staking=StakingParams(
            unbonding_blocks=3, epoch_blocks=1, evidence_blocks=1, unbonding_entries_max=2
        ),
    )
    chain = make_chain(params, accounts=5)
    stream = signed_blocks(chain, blocks)
    again = make_chain(params, accounts=5)
    layer: State = again.state
    for height, wires in enumerate(stream, 1):
        executed = execute(again, layer, height, *wires)
        plain = chain.block(*wires)
        assert encode(tuple(plain)) == encode(executed.result.outcomes)
        paid = sum(o.weight for o in plain if o.status != Status.REFUSED)
        assert executed.weight == paid
        layer = executed.state
    merged: dict[bytes, bytes | None] = dict(again.rows)
    for part in reversed(list(layers(layer))):
        merged.update(part.changes())
    assert {key: row for key, row in merged.items() if row is not None} == chain.rows


def layers(top: State | Base) -> Any:
    while isinstance(top, State):
        yield top
        top = top.below


def test_outcomes_of_different_blocks_stay_in_order(chain: Any) -> None:
    outcomes: list[Outcome] = chain.block(*[sign(chain, Burn(n), by=n) for n in range(1, 6)])
    wires = [sign(chain, Burn(n), by=n, valid_until_height=1) for n in range(1, 6)]
    assert [o.tx_id for o in outcomes] == [t.id for t in checked(chain, *wires)]


def test_genesis_is_a_function_of_its_document(chain: Any, make_chain: Any) -> None:
    class Nothing:
        def get(self, key: bytes) -> bytes | None:
            return None

        def scan(self, start: bytes, stop: bytes) -> Any:
            return iter(())

    layer = apply_genesis(Base(Nothing()), make_chain().genesis)
    assert dict(layer.changes()) == chain.rows
    assert bank.SUPPLY.require(layer, NATIVE).total == 8 * 10**15
