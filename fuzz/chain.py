"""What clients and leaders send to the state machine: transactions, bodies, genesis, proofs.

What decodes encodes to the same bytes; what a transaction says is executed, as if its account had
signed it, and whatever it is, the block comes to an end with every invariant holding.
"""

import random
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from fuzz.mutation import mutated
from fuzz.seeds import examples
from node.genesis_file import GenesisInvalid, read_genesis, write_genesis
from state import execute
from state.block import Body as BlockBody
from state.block import Status, bodies
from state.codec import Decoder, encode
from state.errors import Malformed, Rejected
from state.genesis import Genesis
from state.modules.all import MESSAGES
from state.transaction import Body, KeySignature, Transaction, TransactionDecoder, assemble
from state.tree import TreeProof, verify_proof
from state.types import Address
from tests.node.conftest import MemoryNode

BYTES_MAX: Final = 2**16
FEE_MAX: Final = 10**12
NODE: Final = MemoryNode()
DECODER: Final = TransactionDecoder(MESSAGES, NODE.genesis.hash)
GENESES: Final[Decoder[Genesis]] = Decoder(Genesis)
PROOFS: Final[Decoder[TreeProof]] = Decoder(TreeProof)
TOML: Final = Path(tempfile.mkdtemp(prefix="fuzz-")) / "genesis.toml"


def seeds() -> list[bytes]:
    """Every message type three times, a body, the genesis in both forms, and a proof."""
    account = NODE.accounts[0]
    wires = []
    for kind in MESSAGES:
        for message in examples(kind):
            body = Body(account.address, 1, 9, FEE_MAX, (message,))
            wires.append(account.sign_body(body, NODE.genesis.hash)[0])
    proof = encode(NODE._tree.prove(b"0", b"\x00\x01x"))
    block = encode(BlockBody(tuple(wires[:3])))
    return [*wires, block, encode(NODE.genesis), write_genesis(NODE.genesis).encode(), proof]


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change it; in a transaction, mostly what its body says."""
    try:
        found = msgspec.msgpack.decode(data, type=tuple[tuple[KeySignature, ...], msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return mutated(data, size_max, chance)
    signatures, body = found
    if not signatures or chance.randrange(4) == 0:
        return mutated(data, size_max, chance)
    changed = msgspec.Raw(mutated(bytes(body), size_max, chance))
    return bytes(msgspec.msgpack.encode((signatures, changed)))[:size_max]


def check(data: bytes) -> None:
    """Let each reader take the input."""
    _transaction(data)
    for decoder in (bodies, GENESES, PROOFS):
        _value(decoder, data)
    if data.startswith((b"#", b"chain_id")):
        _document(data)


def _transaction(data: bytes) -> None:
    try:
        found = DECODER.decode(data, bytes_max=BYTES_MAX)
    except Malformed:
        return
    assert assemble(found.body, found.signatures) == data
    assert found.weight >= len(data)
    assert all(len(claim) == 3 for claim in found.claims())
    try:
        execute.check_static(found, NODE.genesis.params.fees)
    except Rejected as error:
        assert error.code and error.sentence, error
    _execute(found)


def _execute(found: Transaction) -> None:
    """Execute what it says for an account that could say it; the block must come to its end."""
    try:
        for message in found.body.messages:
            message.check()
    except Rejected:
        return
    account = NODE.accounts[0].address
    body = Body(Address(account), 1, NODE.height + 1, FEE_MAX, found.body.messages)
    wire = assemble(body, found.signatures)
    said = Transaction(wire, body, found.signatures, found.id, NODE.genesis.hash)
    height = NODE.height + 1
    block = execute.BlockInput(
        height, height * 1_000, NODE.validator.address, NODE.records[-1].header.id, [said]
    )
    done = execute.apply_block(NODE.states[-1], block, NODE.genesis.hash, every_invariant=True)
    (outcome,) = done.result.outcomes
    assert outcome.status in (Status.OK, Status.FAILED, Status.REFUSED)
    assert (outcome.code == "ok") == (outcome.status == Status.OK), outcome


def _value(decoder: Decoder, data: bytes) -> None:
    try:
        value = decoder.decode(data)
    except Malformed:
        return
    assert encode(value) == data
    if isinstance(value, Genesis):
        _founded(value)
    elif isinstance(value, TreeProof):
        for leaf in (None, b"v"):
            assert not verify_proof(b"\x01" * 32, b"\x00\x01x", leaf, value)


def _founded(genesis: Genesis) -> None:
    try:
        genesis.check()
    except Malformed:
        return
    assert len(genesis.hash) == 32


def _document(data: bytes) -> None:
    TOML.write_bytes(data)
    try:
        genesis = read_genesis(TOML)
    except GenesisInvalid as error:
        assert error.sentence, error
        return
    TOML.write_text(write_genesis(genesis))
    assert read_genesis(TOML) == genesis
