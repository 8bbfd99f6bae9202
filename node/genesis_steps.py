"""A genesis file made step by step: by whoever assembles it, from what each validator declares.

The file begins with a name, a time and parameters: the terms. Each validator declares, over its own
signature, with which key, account, stake and commission it joins on these terms; so nobody is
enlisted with a key that nobody holds, or on terms that changed since. A step writes the file whole
or not at all, and two steps at a time wait for each other.

GenesisInvalid, GenesisMissing  node/genesis_file.py
GenesisExists                   genesis.exists
DeclarationInvalid              genesis.declaration_invalid
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from node.addresses import format_address
from node.application import Application
from node.errors import NodeError
from node.genesis_file import (
    GenesisInvalid,
    fields_as_toml,
    read_draft,
    read_genesis,
    read_profile,
    read_struct,
    write_genesis,
)
from node.keystore import sync_folder
from node.signer import Signer
from node.storage.chain_store import ChainStore
from node.storage.kv import MemoryStore
from state import crypto
from state.codec import Struct, encode, replace
from state.crypto import Tag
from state.errors import Rejected
from state.genesis import Allocation, Genesis, GenesisValidator
from state.types import NATIVE, Address, Bps, Hash, PositiveAmount, PublicKey, Signature


class GenesisExists(NodeError):
    """There is something where a new file was to be made."""

    code: ClassVar[str] = "genesis.exists"


class DeclarationInvalid(NodeError):
    """A declaration is not signed by its key, or was made for another network."""

    code: ClassVar[str] = "genesis.declaration_invalid"


class Declaration(Struct):
    """How a validator joins a network at its genesis, signed with the key that it names."""

    terms_hash: Hash
    public_key: PublicKey
    account: Address
    stake: PositiveAmount
    commission_bps: Bps
    signature: Signature

    @property
    def validator(self) -> GenesisValidator:
        """The row of the genesis that is declared."""
        return GenesisValidator(self.public_key, self.account, self.stake, self.commission_bps)


@dataclass(frozen=True, slots=True)
class Tried:
    """What a genesis file founds, and the state root after it."""

    genesis: Genesis
    state_root: Hash


def new_genesis(path: Path, chain: str, chain_id: str | None, time_ms: int) -> Genesis:
    """Write a genesis file of a chain's profile, without validators yet, and return it.

    Raises GenesisExists, and GenesisInvalid for what no network may be called.
    """
    profile = read_profile(chain)
    genesis = profile.begun(profile.chain_id if chain_id is None else chain_id, time_ms)
    write_new(path, write_genesis(genesis))
    return genesis


def terms_hash(genesis: Genesis) -> Hash:
    """Return the hash of a network's name, time and parameters, without people."""
    return replace(genesis, allocations=(), validators=()).hash


def add_account(path: Path, allocation: Allocation) -> Genesis:
    """Give an address coins in a genesis file; raises GenesisInvalid when it has some already."""

    def step(genesis: Genesis) -> Genesis:
        for entry in genesis.allocations:
            if (entry.address, entry.denom) == (allocation.address, allocation.denom):
                raise GenesisInvalid(
                    f"{path} gives this address {entry.amount} {entry.denom} already; edit that "
                    "amount instead."
                )
        return replace(genesis, allocations=(*genesis.allocations, allocation))

    return _revised(path, step)


def add_validators(path: Path, declarations: Sequence[Declaration]) -> Genesis:
    """Put declared validators into a genesis file, all of them or none.

    Raises DeclarationInvalid, and GenesisInvalid when a key or account stands there already, or an
    account does not hold its stake.
    """

    def step(genesis: Genesis) -> Genesis:
        balances = {
            entry.address: entry.amount for entry in genesis.allocations if entry.denom == NATIVE
        }
        for declaration in declarations:
            _check(declaration, genesis)
            if balances.get(declaration.account, 0) < declaration.stake:
                raise GenesisInvalid(
                    f"{format_address(declaration.account)} does not hold the declared stake of "
                    f"{declaration.stake} grains in {path}; fund it first with: sahara genesis "
                    "add-account"
                )
        joined = [declaration.validator for declaration in declarations]
        return replace(genesis, validators=(*genesis.validators, *joined))

    return _revised(path, step)


def declare(genesis: Genesis, key: Signer, wanted: GenesisValidator) -> Declaration:
    """Return the signed declaration that the holder of `key` joins as `wanted`.

    Raises GenesisInvalid when the key stands in the genesis already: it may have voted by now.
    """
    assert key.public_key == wanted.public_key, "one declares one's own key"
    if key.public_key in [entry.public_key for entry in genesis.validators]:
        raise GenesisInvalid(
            f"This key is a validator of {genesis.chain_id} already; make its home with: sahara "
            "init --genesis"
        )
    terms = terms_hash(genesis)
    return Declaration(
        terms,
        wanted.public_key,
        wanted.account,
        wanted.stake,
        wanted.commission_bps,
        key.sign(crypto.sign_hash(Tag.DECLARATION, terms, encode(wanted))),
    )


def write_declaration(path: Path, declaration: Declaration) -> None:
    """Write a declaration to a new file; raises GenesisExists."""
    write_new(path, "\n".join(fields_as_toml(declaration)) + "\n")


def read_declaration(path: Path) -> Declaration:
    """Return what a file declares, unchecked; raises GenesisMissing or GenesisInvalid."""
    return read_struct(Declaration, path)


def tried(path: Path) -> Tried:
    """Return a complete genesis file and the root of its state, which is built in memory.

    Raises GenesisMissing, or GenesisInvalid when the state machine refuses it.
    """
    genesis = read_genesis(path)
    try:
        application = Application(
            ChainStore(MemoryStore(), genesis),
            genesis,
            invariants_every_blocks=1,
            timed=lambda _: nullcontext(),
        )
    except Rejected as error:
        raise GenesisInvalid(f"The genesis in {path} is refused: {error}") from error
    return Tried(genesis, application.head.state_root)


def write_new(path: Path, text: str) -> None:
    """Write a file that anybody may read, whole or not at all; raises GenesisExists."""
    with _draft(path, text) as draft:
        try:
            path.hardlink_to(draft)  # unlike a rename, this never replaces what is there
        except FileExistsError as error:
            raise GenesisExists(
                f"{path} exists already and is never overwritten; choose another name, or move it "
                "away."
            ) from error


def write_over(path: Path, text: str) -> None:
    """Write a file that anybody may read, whole or not at all, over whatever is there."""
    with _draft(path, text) as draft:
        draft.replace(path)


def _check(declaration: Declaration, genesis: Genesis) -> None:
    if declaration.terms_hash != terms_hash(genesis):
        raise DeclarationInvalid(
            f"The declaration was made for the terms {declaration.terms_hash.hex()[:16]}, and "
            f"{genesis.chain_id} has {terms_hash(genesis).hex()[:16]}: name, time or parameters "
            "differ. Let the validator declare again with this genesis file."
        )
    body = encode(declaration.validator)
    digest = crypto.sign_hash(Tag.DECLARATION, declaration.terms_hash, body)
    if not crypto.verify(declaration.public_key, digest, declaration.signature):
        raise DeclarationInvalid(
            "The declaration is not signed by the key that it names, or was changed since; ask the "
            "validator for the file that `sahara genesis declare` wrote."
        )


def _revised(path: Path, step: Callable[[Genesis], Genesis]) -> Genesis:
    """Replace a genesis file by what a step makes of it, and return that."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        genesis = step(read_draft(path))
        try:
            genesis.check()
        except Rejected as error:
            raise GenesisInvalid(f"{path} stays as it is: {error}") from error
        write_over(path, write_genesis(genesis))
    finally:
        os.close(folder)  # which lets the next one in
    return genesis


@contextmanager
def _draft(path: Path, text: str) -> Iterator[Path]:
    """Give a synced file beside `path` that is gone afterwards, unless it was renamed."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with draft.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)
