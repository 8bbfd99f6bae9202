"""What the node keeps: the same head, blocks and proofs after it was closed, cut off, damaged."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from consensus.messages import BlockReply
from node.application import Application
from node.client import trust_in, verify_finalization
from node.errors import StorageCorrupt, StorageError
from node.storage import chain_store
from node.storage.chain_store import ChainStore, HeaderRow, WrongNetwork
from node.storage.kv import KeyValueStore, LevelDb, MemoryStore, Row
from state.codec import encode, replace
from state.errors import NotFound
from state.finality import Justify, Nullification, Nullified, Vote, justify_hash
from state.modules.bank import BALANCES, Balance, Transfer
from state.tree import rebuild, verify_proof
from state.types import NATIVE, ZERO_HASH

NEWCOMER = b"n" * 20


class Local:
    """A network from conftest with a few blocks, the last of which adds a row and changes some."""

    def __init__(self, network: Any, blocks: int = 3) -> None:
        self.network = network
        self.blocks = blocks

    def fill(self, store: KeyValueStore) -> Application:
        application: Application = self.network.open(store)
        for nonce in range(1, self.blocks + 1):
            self.step(application, nonce, NEWCOMER if nonce == self.blocks else None)
        return application

    def step(self, application: Application, nonce: int, recipient: bytes | None = None) -> None:
        to = recipient or self.network.accounts[1].address
        transfer = self.network.transaction(0, nonce, Transfer(to, 10 + nonce))
        self.network.step(application, transfer)


@pytest.fixture
def local(local_chain: Any) -> Local:
    return Local(local_chain)


def balance_key(address: bytes) -> bytes:
    return BALANCES.key((address, NATIVE))


def check_proofs(local: Local, application: Application) -> dict[bytes, bytes | None]:
    """Prove a row that the head changed, one it added, one untouched, and one that is not there."""
    store = application._store
    head = application.head
    assert head.finalization is not None
    network = local.network
    verify_finalization(head.header, head.finalization, trust_in(network.genesis))
    addresses = [account.address for account in network.accounts]
    keys = [balance_key(address) for address in (*addresses, NEWCOMER, b"?" * 20)]
    values = {}
    for key in keys:
        values[key], proof = store.prove(key)
        assert verify_proof(head.header.state_root, key, values[key], proof)
        assert not verify_proof(head.state_root, key, values[key], proof)
    return values


def test_proofs_are_those_of_the_block_before_the_head(local: Local) -> None:
    store = MemoryStore()
    application = local.fill(store)
    values = check_proofs(local, application)
    assert values[balance_key(NEWCOMER)] is None
    local.step(application, local.blocks + 1)
    after = check_proofs(local, application)
    newcomer = after[balance_key(NEWCOMER)]
    assert newcomer is not None
    assert BALANCES.decode(newcomer) == Balance(10 + local.blocks)


def test_everything_is_there_again_after_every_block(local: Local, tmp_path: Path) -> None:
    """Closed and opened between all blocks, against a store that was never closed."""
    whole = MemoryStore()
    never_closed = local.network.open(whole)
    for nonce in range(1, 6):
        store = LevelDb(tmp_path / "db", create=True)
        application = local.network.open(store)
        assert application.head == never_closed.head
        if nonce > 1:
            assert check_proofs(local, application) == check_proofs(local, never_closed)
        recipient = NEWCOMER if nonce == 3 else None
        local.step(application, nonce, recipient)
        local.step(never_closed, nonce, recipient)
        assert application.head == never_closed.head
        store.close()
    store = LevelDb(tmp_path / "db", create=False)
    assert list(store.scan(b"", None)) == list(whole.scan(b"", None))
    store.close()


def test_the_root_is_that_of_all_rows(local: Local) -> None:
    application = local.fill(MemoryStore())
    rows = list(application.rows())
    assert rebuild(rows) == application.head.state_root
    assert len(rows) > 10


def test_rows_that_go_are_gone_from_the_store_too(local: Local) -> None:
    """An account that gives away all it holds: its row goes, at the head and below it."""
    store = MemoryStore()
    application = local.fill(store)
    spender = local.network.accounts[3].address
    row = BALANCES.get(application.state, (spender, NATIVE))
    assert row is not None
    everything = local.network.transaction(3, 1, Transfer(NEWCOMER, row.amount - 10**6))
    fee = everything.weight * application.base_fee
    everything = local.network.transaction(3, 1, Transfer(NEWCOMER, row.amount - fee))
    assert everything.weight * application.base_fee == fee
    local.network.step(application, everything)
    for nonce in range(local.blocks + 1, local.blocks + 3):
        assert BALANCES.get(application.state, (spender, NATIVE)) is None
        assert rebuild(application.rows()) == application.head.state_root
        local.step(application, nonce)
    assert store.get(b"s" + balance_key(spender)) is None


def test_blocks_are_found_by_height_and_transactions_by_id(local: Local) -> None:
    application = local.fill(MemoryStore())
    store = application._store
    for height in range(1, local.blocks + 1):
        (wire,) = store.body(height).transactions
        (outcome,) = store.result(height).outcomes
        transaction = local.network.decoder.decode(wire, bytes_max=2**20)
        place = store.place(transaction.id)
        assert place is not None
        assert (place.height, place.index, outcome.tx_id) == (height, 0, transaction.id)
        row = store.header(height)
        assert row.block_id == row.header.id
        assert row.header.height == height
    assert store.place(b"?" * 32) is None
    for missing in (store.header, store.body, store.result):
        with pytest.raises(NotFound):
            missing(local.blocks + 1)


def test_another_network_is_refused(local: Local, make_local_chain: Callable[..., Any]) -> None:
    store = MemoryStore()
    local.fill(store)
    with pytest.raises(WrongNetwork, match="another home"):
        make_local_chain(accounts=5).open(store)
    rows = list(store.scan(b"", None))
    local.network.open(store)
    assert list(store.scan(b"", None)) == rows


def test_another_form_is_refused(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    local.fill(store)
    monkeypatch.setattr(chain_store, "SCHEMA", chain_store.SCHEMA + 1)
    with pytest.raises(StorageError, match="form"):
        local.network.open(store)


class Refusing(MemoryStore):
    """A store whose disk is full whenever it is told so."""

    full = False

    def write(self, puts: Iterable[Row], deletes: Iterable[bytes], *, sync: bool) -> None:
        if self.full:
            raise StorageError("No space left on device.")
        super().write(puts, deletes, sync=sync)


def test_a_block_that_could_not_be_written_never_was(local: Local) -> None:
    store = Refusing()
    application = local.fill(store)
    before, rows = application.head, list(store.scan(b"", None))
    store.full = True
    with pytest.raises(StorageError):
        local.step(application, local.blocks + 1)
    assert list(store.scan(b"", None)) == rows
    store.full = False
    again = local.network.open(store)
    assert again.head == before
    local.step(again, local.blocks + 1)
    assert rebuild(again.rows()) == again.head.state_root


def test_every_write_is_durable_and_whole(local: Local) -> None:
    """One synced batch a block: there is no moment between two writes at which to crash."""
    seen: list[bool] = []

    class Watching(MemoryStore):
        def write(self, puts: Iterable[Row], deletes: Iterable[bytes], *, sync: bool) -> None:
            seen.append(sync)
            super().write(puts, deletes, sync=sync)

    store = Watching()
    application = local.network.open(store)
    assert all(seen)
    for nonce in range(1, 4):
        seen.clear()
        local.step(application, nonce)
        assert seen == [True]


def logs_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def test_cut_off_at_any_byte_a_whole_block_is_the_head(local: Local, tmp_path: Path) -> None:
    """What LevelDB had not written when the power went, by cutting its log at many places."""
    local.blocks = 6
    whole = tmp_path / "whole"
    store = LevelDb(whole, create=True)
    application = local.fill(store)
    heads = [application._store.header(height) for height in range(7)]
    roots = {row.header.height - 1: row.header.state_root for row in heads[1:]}
    roots[6] = application.head.state_root
    store.close()
    (log,) = logs_of(whole)
    size = log.stat().st_size
    found = set()
    for cut in range(size // 40, size, size // 40):
        copy = tmp_path / f"cut {cut}"
        shutil.copytree(whole, copy)
        with (copy / log.name).open("r+b") as file:
            file.truncate(cut)
        store = LevelDb(copy, create=True)
        again = local.network.open(store)
        height = again.head.header.height
        found.add(height)
        assert again.head.state_root == roots[height] == rebuild(again.rows())
        if height:
            check_proofs(local, again)
        local.step(again, height + 1)
        store.close()
    assert found >= {0, 1, 3, 5}


@pytest.mark.parametrize("what", ["changes", "page", "row"])
def test_rows_of_another_making_are_named(local: Local, what: str) -> None:
    """What passes the database's checksums and is wrong all the same."""
    store = MemoryStore()
    application = local.fill(store)
    if what == "changes":
        other = MemoryStore()
        Local(local.network, blocks=2).fill(other)
        key = chain_store.CHANGES
        store.write([(key, other.get(key) or b"")], [], sync=True)
        with pytest.raises(StorageCorrupt, match="root"):
            local.network.open(store)
    elif what == "page":
        pages = list(store.scan(b"t", b"u"))
        assert pages
        store.write([], [key for key, _ in pages], sync=True)
        with pytest.raises(Exception, match="missing") as error:
            local.network.open(store)
        assert getattr(error.value, "code", "") == "tree.corrupt"
    else:
        key = balance_key(local.network.accounts[2].address)
        store.write([(b"s" + key, b"\x91\x00")], [], sync=True)
        value, proof = local.network.open(store)._store.prove(key)
        assert not verify_proof(application.head.header.state_root, key, value, proof)


def test_a_store_serves_the_state_of_the_head(local: Local) -> None:
    store = MemoryStore()
    application = local.fill(store)
    again = local.network.open(store)
    for opened in (application, again):
        assert BALANCES.get(opened.state, (NEWCOMER, NATIVE)) == Balance(10 + local.blocks)
        found = [address for (address, _), _ in BALANCES.scan(opened.state)]
        assert NEWCOMER in found
        assert found == sorted(found)
    assert isinstance(again._store, ChainStore)


def test_what_is_served_is_counted_with_its_justifications(local: Local) -> None:
    """After a stretch without finality they are most of it: a reply must fit into a message."""
    store = MemoryStore()
    chain = local.fill(store)._store
    votes = tuple([Vote(number, bytes(64)) for number in range(67)])
    header, parent_id = chain.header(1).header, ZERO_HASH
    for height in range(1, 41):
        views = range(height * 121 - 120, height * 121)
        skipped = tuple([Nullification(Nullified(0, view), votes) for view in views])
        justify = Justify(None, skipped)
        digest = justify_hash(justify)
        header = replace(
            header, height=height, view=height * 121, parent_id=parent_id, justify_hash=digest
        )
        parent_id = header.id
        at = height.to_bytes(8, "big")
        rows = [
            (b"h" + at, encode(HeaderRow(header, parent_id, None))),
            (b"i" + parent_id, encode(height)),
            (b"b" + at, b""),
            (b"j" + digest, encode(justify)),
        ]
        store.write(rows, (), sync=False)
    bytes_max = 2**24
    blocks, size = chain.blocks_from(parent_id, 64, bytes_max)
    assert [block.header.height for block in blocks] == list(range(40, 40 - len(blocks), -1))
    assert bytes_max * 9 // 10 < size <= bytes_max
    sent = len(encode(BlockReply(blocks)))
    assert size < sent < size + 2_000 * len(blocks)
    few, first = chain.blocks_from(parent_id, 64, 1)
    assert len(few) == 1 and first > 1, "one block whatever its size"
