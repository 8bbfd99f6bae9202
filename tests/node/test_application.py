"""The application: blocks are built, executed and committed, and nothing else leaves a trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from consensus.settings import Judgement
from node.application import (
    CANDIDATES_KEPT,
    TABLES,
    Application,
    UnknownParent,
    genesis_header,
    validators_of,
)
from node.storage.kv import MemoryStore
from state import crypto
from state.block import Body, Status
from state.codec import encode, replace
from state.crypto import Tag
from state.errors import InvalidBlock, InvariantBroken, NotFound
from state.finality import Justify, set_hash
from state.modules import bank
from state.modules.bank import BALANCES, Transfer
from state.modules.chain import BASE_FEE
from state.registry import Invariant
from state.tables import Base
from state.tree import rebuild
from state.types import NATIVE

RECIPIENT = b"r" * 20


@pytest.fixture
def application(local_chain: Any) -> Application:
    opened: Application = local_chain.open(MemoryStore())
    return opened


def paid(application: Application, address: bytes = RECIPIENT) -> int:
    return bank.balance_of(application.state, address)


def test_genesis_is_the_first_head(local_chain: Any, application: Application) -> None:
    head = application.head
    assert head.header == genesis_header(local_chain.genesis)
    assert head.block_id == head.header.id
    assert head.state_root == rebuild(application.rows())
    assert head.finalization is None
    assert application.tip().changed
    assert application.context.height == 0


def test_the_genesis_header_names_set_and_parameters(local_chain: Any) -> None:
    genesis = local_chain.genesis
    header = genesis_header(genesis)
    assert header.validators_hash == set_hash(validators_of(genesis))
    assert header.params_hash == crypto.hash_bytes(Tag.PARAMS, encode(genesis.params))


def test_blocks_that_nobody_needs_are_forgotten_with_their_layers(
    local_chain: Any, application: Application
) -> None:
    """Views fail one after the other: each leader's block was executed, and none becomes final."""
    held: set[bytes] = set()
    for view in range(1, 10 * CANDIDATES_KEPT):
        below = local_chain.propose(application, view=view)
        above = local_chain.propose(application, parent=below)
        held = {above.block_id}  # and with it what it stands on
        application.forget_all_but(held.__contains__)
        assert application.state_after(above.block_id) is above.executed.state
        assert application.state_after(below.block_id) is below.executed.state
    assert application.unfinal_count <= CANDIDATES_KEPT + 2
    assert len(application._store.tree._layers) == application.unfinal_count + 1, "and the head's"
    for block in (below, above):
        local_chain.commit(application, block)
    assert application.unfinal_count == 0


def test_a_long_chain_that_is_held_stays_and_is_not_walked_every_time(
    local_chain: Any, application: Application
) -> None:
    asked = 0

    def is_held(_: bytes) -> bool:
        nonlocal asked
        asked += 1
        return True

    blocks = [local_chain.propose(application)]
    for _ in range(4 * CANDIDATES_KEPT):
        blocks.append(local_chain.propose(application, parent=blocks[-1]))
        application.forget_all_but(is_held)
    assert application.unfinal_count == len(blocks)
    assert asked <= 2 * len(blocks)


def test_a_forgotten_block_can_be_executed_again(
    local_chain: Any, application: Application
) -> None:
    first = local_chain.propose(application, view=1)
    for view in range(2, CANDIDATES_KEPT + 3):
        local_chain.propose(application, view=view)
    application.forget_all_but(lambda _: False)
    with pytest.raises(UnknownParent):
        application.state_after(first.block_id)
    again = local_chain.propose(application, view=1)
    assert (again.block_id, again.state_root) == (first.block_id, first.state_root)
    local_chain.commit(application, again)


def test_a_header_carries_the_roots_after_its_parent(
    local_chain: Any, application: Application
) -> None:
    for nonce in range(1, 4):
        before = application.head
        wire = local_chain.transaction(0, nonce, Transfer(RECIPIENT, nonce))
        candidate = local_chain.step(application, wire)
        header = candidate.header
        assert (header.state_root, header.outcomes_root) == (
            before.state_root,
            before.outcomes_root,
        )
        assert header.tx_root == Body((wire.wire,)).root
        head = application.head
        assert head.header == header
        assert head.state_root == rebuild(application.rows())
        assert head.outcomes_root == candidate.executed.result.root
    assert paid(application) == 1 + 2 + 3


def test_two_nodes_agree_whether_they_built_or_received_the_block(
    local_chain: Any, application: Application
) -> None:
    follower = local_chain.open(MemoryStore())
    for nonce in range(1, 4):
        found = [local_chain.transaction(by, nonce) for by in range(4)]
        before = application.head
        local_chain.step(application, *found)
        head = application.head
        justify = Justify(local_chain.finalize(before.header), ())
        body = encode(Body(tuple([transaction.wire for transaction in found])))
        assert follower.bodies.judge(head.header, body) is Judgement.VALID
        candidate = follower.execute(head.header, head.block_id, justify, body)
        assert candidate.state_root == head.state_root
        follower.commit(head.header, head.block_id, head.finalization)
        assert follower.head == head
    assert list(follower.rows()) == list(application.rows())


def test_what_was_executed_and_not_committed_leaves_nothing(
    local_chain: Any, application: Application
) -> None:
    plain = local_chain.open(MemoryStore())
    first = local_chain.transaction(0, 1, Transfer(RECIPIENT, 1))
    second = local_chain.transaction(0, 1, Transfer(RECIPIENT, 2))
    head = application.head
    local_chain.propose(application, first)
    assert application.head == head
    assert paid(application) == 0
    local_chain.step(application, second)
    local_chain.step(plain, second)
    assert application.head == plain.head
    assert paid(application) == 2
    assert not application._candidates


def test_only_the_head_is_a_layer(local_chain: Any, application: Application) -> None:
    """However many blocks there were, a read passes one layer before it reaches the cache."""
    for _ in range(3):
        local_chain.step(application)
        assert isinstance(application.state.below, Base)


def test_simulation_tells_and_leaves_nothing(local_chain: Any, application: Application) -> None:
    rows = list(application.rows())
    good = local_chain.transaction(0, 1, Transfer(RECIPIENT, 5))
    bad = local_chain.transaction(0, 1, Transfer(RECIPIENT, 10**18))
    assert application.simulate(good).status is Status.OK
    failed = application.simulate(bad)
    assert (failed.status, failed.code) == (Status.FAILED, "bank.insufficient_funds")
    assert list(application.rows()) == rows
    (outcome,) = local_chain.step(application, good).executed.result.outcomes
    assert outcome == application_outcome(local_chain, good)


def application_outcome(local_chain: Any, transaction: Any) -> Any:
    """What a fresh node says the transaction would do in its first block."""
    return local_chain.open(MemoryStore()).simulate(transaction)


def test_a_root_is_owed_after_transactions_and_not_after_nothing(
    local_chain: Any, application: Application
) -> None:
    local_chain.step(application, local_chain.transaction(0, 1))
    assert application.tip().changed
    local_chain.step(application)
    assert not application.tip().changed
    failing = local_chain.transaction(0, 2, Transfer(RECIPIENT, 10**18))
    local_chain.step(application, failing)
    assert application.tip().changed, "a failed transaction pays, and its outcome is proven too"


def test_a_broken_invariant_stops_the_block(
    local_chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cheap ones after every block, the others every so many."""
    store = MemoryStore()
    application = local_chain.open(store, invariants_every_blocks=3)
    local_chain.step(application)
    before, rows = application.head, list(store.scan(b"", None))

    def broken(always: bool) -> Invariant:
        return Invariant("bank.told", lambda _: "It does not hold.", always)

    with monkeypatch.context() as patch:
        patch.setattr(bank.MODULE, "invariants", [broken(True)])
        with pytest.raises(InvariantBroken, match=r"bank.told at height 2: It does not hold\."):
            local_chain.step(application)
    assert application.head == before
    assert list(store.scan(b"", None)) == rows
    monkeypatch.setattr(bank.MODULE, "invariants", [broken(False)])
    local_chain.step(application)
    with pytest.raises(InvariantBroken, match="at height 3"):
        local_chain.step(application)
    assert application.head.header.height == 2


def test_unknown_queries_and_known_ones(local_chain: Any, application: Application) -> None:
    local_chain.step(application, local_chain.transaction(0, 1, Transfer(RECIPIENT, 7)))
    answer = application.query("bank.balance", {"address": RECIPIENT, "denom": NATIVE})
    assert answer.amount == 7
    with pytest.raises(NotFound, match=r"bank\.nothing"):
        application.query("bank.nothing", {})


def test_every_stage_is_timed(local_chain: Any) -> None:
    seen: list[str] = []

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        yield
        seen.append(stage)

    application = local_chain.open(MemoryStore(), timed=timed)
    local_chain.step(application)
    assert seen == ["execute", "tree", "commit"]


def test_the_base_fee_is_that_of_the_next_block(
    local_chain: Any, make_local_chain: Callable[..., Any]
) -> None:
    params = local_chain.genesis.params
    narrow = type(params)(fees=type(params.fees)(block_weight_target=500))
    application = make_local_chain(params=narrow).open(MemoryStore())
    local = make_local_chain(params=narrow)
    assert application.base_fee == 1
    local.step(application, *[local.transaction(0, nonce) for nonce in range(1, 9)])
    assert application.base_fee > 1
    assert BASE_FEE.require(application.state, 0).grains == application.base_fee


def test_every_table_is_told_apart_by_its_prefix(application: Application) -> None:
    assert list(TABLES) == sorted(TABLES)
    assert TABLES[BALANCES.prefix] is BALANCES
    assert {key[:2] for key, _ in application.rows()} <= set(TABLES)


def test_siblings_stand_side_by_side_until_one_is_final(
    local_chain: Any, application: Application
) -> None:
    plain = local_chain.open(MemoryStore())
    one = local_chain.transaction(0, 1, Transfer(RECIPIENT, 1))
    other = local_chain.transaction(0, 1, Transfer(RECIPIENT, 2))
    later = local_chain.transaction(0, 2, Transfer(RECIPIENT, 10))
    first = local_chain.propose(application, one)
    second = local_chain.propose(application, other, view=2)
    children = [
        local_chain.propose(application, later, parent=parent, view=3) for parent in (first, second)
    ]
    assert application.unfinal_ids(children[1].block_id) == {other.id, later.id}
    assert len({block.state_root for block in (first, second, *children)}) == 4
    assert paid(application) == 0
    application.notarized(second.block_id)
    found = application.unfinal_place(other.id)
    assert found is not None
    assert (found[0].block_id, found[1], found[0].is_notarized) == (second.block_id, 0, True)
    local_chain.commit(application, second)
    with pytest.raises(UnknownParent):
        application.state_after(children[0].block_id)
    with pytest.raises(UnknownParent):
        local_chain.propose(application, parent=first)
    local_chain.commit(application, children[1])
    local_chain.step(plain, other)
    local_chain.step(plain, later)
    assert application.head.state_root == plain.head.state_root == rebuild(application.rows())
    assert paid(application) == 12
    assert not application._candidates
    assert isinstance(application.state.below, Base)


def test_a_body_is_foreign_invalid_or_valid(local_chain: Any, application: Application) -> None:
    good = local_chain.transaction(0, 1)
    block = local_chain.propose(application, good)
    stranger = local_chain.open(MemoryStore())
    judge, data = stranger.bodies.judge, block.content.data
    assert judge(block.header, data) is Judgement.VALID
    assert judge(block.header, data + b"\0") is Judgement.FOREIGN
    assert judge(block.header, encode(Body(()))) is Judgement.FOREIGN
    forged = good.wire[:-1] + bytes([good.wire[-1] ^ 1])
    for body in (Body((forged,)), Body((good.wire, good.wire))):
        header = replace(block.header, tx_root=body.root)
        assert judge(header, encode(body)) is Judgement.INVALID


def test_other_parameters_than_those_in_force_are_refused(
    local_chain: Any, application: Application
) -> None:
    block = local_chain.propose(application)
    header = replace(block.header, params_hash=bytes(32))
    with pytest.raises(InvalidBlock, match="parameters"):
        application.execute(header, header.id, block.justify, block.content.data)
