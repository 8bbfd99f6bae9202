"""Genesis files made step by step: what each step writes, and what none of them takes."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.genesis_file import GenesisInvalid, GenesisMissing, read_draft, read_genesis
from node.genesis_steps import (
    Declaration,
    DeclarationInvalid,
    GenesisExists,
    add_account,
    add_validators,
    declare,
    new_genesis,
    read_declaration,
    terms_hash,
    tried,
    write_declaration,
)
from node.keystore import UnlockedKey
from state.codec import replace
from state.genesis import SUPPLY_MAX, Allocation, GenesisValidator

ALICE, BOB = (UnlockedKey(name, name.encode() * 8) for name in ("aaaa", "bbbb"))
STAKE = 10**12


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.toml"
    new_genesis(path, "testnet", "sahara-testnet-1", 1_900_000_000_000)
    return path


def declared(path: Path, key: UnlockedKey, account: bytes | None = None) -> Declaration:
    wanted = GenesisValidator(key.public_key, account or key.address, STAKE, 500)
    return declare(read_draft(path), key, wanted)


def test_two_validators_make_a_network(file: Path, tmp_path: Path) -> None:
    begun = read_draft(file)
    assert (begun.chain_id, begun.time_ms) == ("sahara-testnet-1", 1_900_000_000_000)
    assert begun.validators == () == begun.allocations
    with pytest.raises(GenesisInvalid, match="length >= 1"):
        tried(file)
    for key in (ALICE, BOB):
        add_account(file, Allocation(key.address, 2 * STAKE))
        write_declaration(tmp_path / key.name, declared(file, key))
    read = [read_declaration(tmp_path / key.name) for key in (ALICE, BOB)]
    made = add_validators(file, read)
    found = tried(file)
    assert made == read_genesis(file) == found.genesis
    assert terms_hash(made) == terms_hash(begun)
    assert [entry.account for entry in made.validators] == [ALICE.address, BOB.address]
    assert found.state_root != bytes(32)
    assert {entry.name for entry in tmp_path.iterdir()} == {"genesis.toml", "aaaa", "bbbb"}


def test_nothing_is_overwritten(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(GenesisExists):
        new_genesis(file, "devnet", None, 5)
    with pytest.raises(GenesisExists):
        write_declaration(file, declared(file, ALICE))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("chain", "chain_id", "time_ms", "said"),
    [
        ("moonnet", None, 5, "no chain 'moonnet'"),
        ("testnet", "", 5, "'chain_id'"),
        ("testnet", "x" * 65, 5, "'chain_id'"),
        ("testnet", None, -1, "'time_ms'"),
    ],
)
def test_what_no_network_may_be_called(
    tmp_path: Path, chain: str, chain_id: str | None, time_ms: int, said: str
) -> None:
    with pytest.raises(GenesisInvalid, match=said):
        new_genesis(tmp_path / "genesis.toml", chain, chain_id, time_ms)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changed",
    [
        {"stake": STAKE - 1},
        {"commission_bps": 501},
        {"account": BOB.address},
        {"public_key": BOB.public_key},
        {"public_key": bytes(32)},
        {"signature": bytes(64)},
        {"terms_hash": bytes(32)},
    ],
)
def test_a_declaration_that_was_changed_is_refused(
    file: Path, changed: dict[str, int | bytes]
) -> None:
    for key in (ALICE, BOB):
        add_account(file, Allocation(key.address, STAKE))
    before = file.read_bytes()
    good = declared(file, BOB)
    with pytest.raises(DeclarationInvalid):
        add_validators(file, [good, replace(declared(file, ALICE), **changed)])
    assert file.read_bytes() == before


def test_terms_that_changed_since_are_refused(file: Path) -> None:
    add_account(file, Allocation(ALICE.address, STAKE))
    declaration = declared(file, ALICE)
    file.write_text(file.read_text().replace("epoch_blocks = 600", "epoch_blocks = 601"))
    with pytest.raises(DeclarationInvalid, match="declare again"):
        add_validators(file, [declaration])


def test_what_does_not_fit_leaves_the_file_as_it_was(file: Path) -> None:
    add_account(file, Allocation(ALICE.address, STAKE))
    twice = [declared(file, ALICE)] * 2
    shared = [declared(file, ALICE), declared(file, BOB, ALICE.address)]
    before = file.read_bytes()
    for declarations, said in (
        (twice, "share a key or an account"),
        (shared, "share a key or an account"),
        ([declared(file, BOB)], "does not hold the declared stake"),
    ):
        with pytest.raises(GenesisInvalid, match=said):
            add_validators(file, declarations)
    with pytest.raises(GenesisInvalid, match="already"):
        add_account(file, Allocation(ALICE.address, 1))
    with pytest.raises(GenesisInvalid, match="supply"):
        add_account(file, Allocation(BOB.address, SUPPLY_MAX))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(GenesisMissing):
        add_account(file.with_name("none"), Allocation(ALICE.address, 1))


def test_a_file_edited_by_hand_is_tried_by_the_state_machine(file: Path) -> None:
    add_account(file, Allocation(ALICE.address, STAKE))
    add_validators(file, [declared(file, ALICE)])
    file.write_text(file.read_text().replace(f"amount = {STAKE}", f"amount = {STAKE - 1}"))
    with pytest.raises(GenesisInvalid, match="does not hold its stake"):
        tried(file)


def test_a_key_is_declared_once(file: Path) -> None:
    add_account(file, Allocation(ALICE.address, STAKE))
    add_validators(file, [declared(file, ALICE)])
    with pytest.raises(GenesisInvalid, match="already"):
        declared(file, ALICE)


def test_steps_at_the_same_time_all_count(file: Path) -> None:
    def add(number: int) -> None:
        add_account(file, Allocation(bytes([number]) * 20, 1))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    held = read_draft(file).allocations
    assert {entry.address[0] for entry in held} == {*range(1, 9)}


@given(st.integers(1, 2**63 - 1), st.integers(0, 10_000), st.binary(min_size=20, max_size=20))
def test_a_declaration_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, stake: int, commission_bps: int, account: bytes
) -> None:
    path = tmp_path_factory.mktemp("declared") / "alice.toml"
    wanted = GenesisValidator(ALICE.public_key, account, stake, commission_bps)
    declaration = Declaration(bytes(32), *wanted_fields(wanted), bytes(64))
    write_declaration(path, declaration)
    assert read_declaration(path) == declaration
    assert declaration.validator == wanted


def wanted_fields(wanted: GenesisValidator) -> tuple[bytes, bytes, int, int]:
    return wanted.public_key, wanted.account, wanted.stake, wanted.commission_bps
