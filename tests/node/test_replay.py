"""Replay: an honest chain gives its own roots again, and whatever was changed is found."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest

from node import replay as replay_module
from node.application import Application
from node.client import Account
from node.replay import Replayed, replay
from node.storage.chain_store import ChainStore
from node.storage.kv import MemoryStore
from state import execute as execute_module
from state.block import Body
from state.codec import encode, replace
from state.context import BlockContext
from state.crypto import Tag, sign_hash
from state.errors import InvalidBlock, NotFound
from state.finality import (
    Finalization,
    Header,
    Justify,
    Proposal,
    Vote,
    justify_hash,
    set_hash,
)
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.bank import Transfer
from state.params import Params, StakingParams
from state.transaction import Body as Envelope
from state.types import ZERO_HASH

EPOCH_BLOCKS = 4
KEY = Account.from_seed(bytes(range(32)))
GENESIS = Genesis(
    "replay",
    1,
    Params(
        staking=StakingParams(epoch_blocks=EPOCH_BLOCKS, unbonding_blocks=100, evidence_blocks=80)
    ),
    (Allocation(KEY.address, 10**15),),
    (GenesisValidator(KEY.public_key, KEY.address, 10**12),),
)
HEIGHTS = 6
UNCERTIFIED = 2
"""A block that is final only with its descendant; the last of an epoch may not be one."""


def grow(store: ChainStore) -> None:
    """Make HEIGHTS blocks, each with one transfer, finalized by the only validator."""
    application = Application(
        store, GENESIS, invariants_every_blocks=1, timed=lambda _: nullcontext()
    )
    for height in range(1, HEIGHTS + 1):
        message = Transfer(bytes([height]) * 20, height)
        wire, _ = KEY.sign_body(
            Envelope(KEY.address, height, height + 9, 10**6, (message,)), GENESIS.hash
        )
        transaction = application.decoder.decode(wire, bytes_max=2**17)
        head, info = application.head, application.epoch_info()
        built = application.build(head.block_id, [transaction])
        view = height - info.epoch * EPOCH_BLOCKS
        justify = Justify(None if height == 1 else finalize(head.header), ())
        header = Header(
            height=height,
            epoch=info.epoch,
            view=view,
            parent_view=view - 1,
            parent_id=head.block_id,
            time_ms=GENESIS.time_ms + height,
            proposer=KEY.address,
            tx_root=built.tx_root,
            evidence_root=built.evidence_root,
            justify_hash=justify_hash(justify),
            state_root=head.state_root,
            outcomes_root=head.outcomes_root,
            validators_hash=set_hash(info.validators),
            next_validators_hash=set_hash(info.next_validators),
            params_hash=built.params_hash,
        )
        application.execute(header, header.id, justify, built.body)
        own = None if height == UNCERTIFIED else finalize(header)
        application.commit(header, header.id, own)


def finalize(header: Header) -> Finalization:
    proposal = Proposal(
        header.epoch, header.view, header.parent_view, header.id, header.justify_hash
    )
    digest = sign_hash(Tag.FINALIZE, GENESIS.hash, encode(proposal))
    return Finalization(proposal, (Vote(0, KEY.sign(digest)),))


@pytest.fixture
def rows() -> MemoryStore:
    store = MemoryStore()
    grow(ChainStore(store, GENESIS))
    return store


def replayed(store: ChainStore) -> list[Replayed]:
    return list(replay(store, GENESIS, MemoryStore()))


def test_every_invariant_is_checked_now_and_then_and_at_the_end(
    rows: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each block a long chain with much state takes for ever."""
    checked: list[int] = []

    def note(ctx: BlockContext, *, every: bool) -> None:
        if every and ctx.height:
            checked.append(ctx.height)

    monkeypatch.setattr(replay_module, "INVARIANTS_EVERY_BLOCKS", 4)
    monkeypatch.setattr(execute_module, "assert_invariants", note)
    replayed(ChainStore(rows, GENESIS))
    assert checked == [4, HEIGHTS]


def test_an_honest_chain_gives_its_roots_again(rows: MemoryStore) -> None:
    steps = replayed(ChainStore(rows, GENESIS))
    assert [step.height for step in steps] == [*range(HEIGHTS + 1)]
    assert all(step.agrees for step in steps)
    assert len({step.state_root for step in steps}) == HEIGHTS + 1
    assert replayed(ChainStore(MemoryStore(), GENESIS)) == []


def test_another_root_of_the_head_is_found(rows: MemoryStore) -> None:
    for field in ("state_root", "outcomes_root"):
        store = ChainStore(rows, GENESIS)
        assert store.head is not None
        store.head = replace(store.head, **{field: ZERO_HASH})
        steps = replayed(store)
        assert [step.height for step in steps if not step.agrees] == [HEIGHTS]


def test_a_rule_that_changed_is_found_at_the_first_block_it_touches(
    rows: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if this node executed transfers of 3 grains otherwise than the one that made the chain."""
    honest = Transfer.apply

    def other(message: Transfer, ctx: object) -> None:
        honest(replace(message, amount=30) if message.amount == 3 else message, ctx)

    monkeypatch.setattr(Transfer, "apply", other)
    steps = replayed(ChainStore(rows, GENESIS))
    assert [step.agrees for step in steps] == [True, True, True, *[False] * 4]


def other_header(store: ChainStore) -> None:
    row = store.header(3)
    forged = replace(row.header, time_ms=row.header.time_ms + 1)
    _put(store, b"h", encode(replace(row, header=forged, block_id=forged.id)))


def other_parent(store: ChainStore) -> None:
    row = store.header(3)
    _put(store, b"h", encode(replace(row, header=replace(row.header, parent_id=ZERO_HASH))))


def no_certificate_at_the_end_of_an_epoch(store: ChainStore) -> None:
    row = replace(store.header(EPOCH_BLOCKS), finalization=None)
    _put(store, b"h", encode(row), EPOCH_BLOCKS)


def no_certificate_at_the_head(store: ChainStore) -> None:
    for height in (HEIGHTS - 1, HEIGHTS):
        _put(store, b"h", encode(replace(store.header(height), finalization=None)), height)


def no_justification(store: ChainStore) -> None:
    store._store.write([], [b"j" + store.header(3).header.justify_hash], sync=False)


def justified_by_nobody(store: ChainStore) -> None:
    digest = store.header(3).header.justify_hash
    justify = store.finality.justify(digest)
    assert justify is not None
    assert justify.parent is not None
    unsigned = replace(justify.parent, votes=(Vote(0, bytes(64)),))
    row = (b"j" + digest, encode(Justify(unsigned, ())))
    store._store.write([row], [], sync=False)


def certificate_of_another_block(store: ChainStore) -> None:
    other = store.header(1).finalization
    _put(store, b"h", encode(replace(store.header(3), finalization=other)))


def other_body(store: ChainStore) -> None:
    _put(store, b"b", encode(Body(())))


def _put(store: ChainStore, prefix: bytes, value: bytes, height: int = 3) -> None:
    store._store.write([(prefix + height.to_bytes(8, "big"), value)], [], sync=False)


@pytest.mark.parametrize(
    ("change", "before"),
    [
        (other_header, 3),
        (other_parent, 3),
        (no_certificate_at_the_end_of_an_epoch, EPOCH_BLOCKS + 1),
        (no_certificate_at_the_head, HEIGHTS + 1),
        (no_justification, 3),
        (justified_by_nobody, 3),
        (certificate_of_another_block, 3),
        (other_body, 3),
    ],
)
def test_a_changed_block_is_named(
    rows: MemoryStore, change: Callable[[ChainStore], None], before: int
) -> None:
    store = ChainStore(rows, GENESIS)
    change(store)
    seen: list[int] = []
    with pytest.raises(InvalidBlock):
        seen.extend(step.height for step in replay(store, GENESIS, MemoryStore()))
    assert seen == [*range(before)]


def test_a_body_that_is_not_kept_is_named(rows: MemoryStore) -> None:
    rows.write([], [b"b" + (3).to_bytes(8, "big")], sync=False)
    with pytest.raises(NotFound, match="body of block 3 is missing"):
        replayed(ChainStore(rows, GENESIS))
