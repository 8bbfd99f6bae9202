"""A chain in memory for tests of the state machine: real keys, real blocks, every invariant on.

Test modules cannot import this file; they take the fixtures `chain` (a fresh one) or `make_chain`
(the class itself, for Hypothesis and for parameters other than the defaults).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey

from node.sim.drawing import Draw
from state import crypto
from state.block import Outcome, Status
from state.codec import encode
from state.execute import BlockInput, apply_block, apply_genesis, check_block, query_context
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.all import MESSAGES
from state.params import Params
from state.registry import Message
from state.tables import Base, State
from state.transaction import (
    Body,
    KeySignature,
    Transaction,
    TransactionDecoder,
    assemble,
    transaction_id,
)

FUNDS = 10**15
BLOCK_MS = 1_000
FEE_MAX = 10**7


class MemoryReader:
    """Finalized bytes in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(self.rows):
            if start <= key < stop:
                yield key, self.rows[key]


class Chain:
    """One network in memory; every block goes through bytes, and every invariant is asserted.

    Accounts are numbered; number 0 is also the one validator. `submit` makes a block of one
    transaction, `block` one of several, `end_block` an empty one.
    """

    def __init__(
        self, params: Params | None = None, *, accounts: int = 8, funds: int = FUNDS
    ) -> None:
        self.keys = [SigningKey(number.to_bytes(32, "big")) for number in range(1, accounts + 1)]
        self.addresses = [crypto.address_of(bytes(key.verify_key)) for key in self.keys]
        self.genesis = Genesis(
            "test",
            0,
            params or Params(),
            tuple(Allocation(address, funds) for address in self.addresses),
            (GenesisValidator(bytes(self.keys[0].verify_key), self.addresses[0], 10**9),),
        )
        self._reader = MemoryReader()
        self._decoder = TransactionDecoder(MESSAGES, self.genesis.hash)
        self._nonces: dict[bytes, int] = {}
        self.height = 0
        self.block_events: list[Any] = []
        self.state: State = apply_genesis(Base(self._reader), self.genesis)
        self._finalize(self.state)

    def address(self, account: int) -> bytes:
        """Return the address of a numbered account."""
        return self.addresses[account]

    def wire(self, messages: Sequence[Message], *, by: int = 0) -> bytes:
        """Return a signed transaction with the account's next nonce."""
        address, key = self.addresses[by], self.keys[by]
        nonce = self._nonces[address] = self._nonces.get(address, 0) + 1
        body = Body(address, nonce, self.height + 100, FEE_MAX, tuple(messages))
        signature = key.sign(transaction_id(self.genesis.hash, encode(body))).signature
        return assemble(body, (KeySignature(bytes(key.verify_key), signature),))

    def next_nonce(self, account: int) -> int:
        """Return the nonce of the account's next transaction."""
        return self._nonces.get(self.addresses[account], 0) + 1

    def block(self, *wires: bytes) -> list[Outcome]:
        """Execute one block of signed transactions and return their outcomes."""
        self._finalize(self.state)  # what the test itself wrote since the last block
        self.height += 1
        fees = self.genesis.params.fees
        block = BlockInput(
            self.height,
            self.height * BLOCK_MS,
            self.addresses[0],
            self.height.to_bytes(32, "big"),
            check_block(wires, self._decoder, fees, ()),
        )
        executed = apply_block(self.state, block, self.genesis.hash, every_invariant=True)
        self.block_events = [msgspec.msgpack.decode(event) for event in executed.result.events]
        self._finalize(executed.state)
        return list(executed.result.outcomes)

    def submit(self, *messages: Message, by: int = 0) -> Outcome:
        """Execute a block of one transaction of account `by`; whether it succeeded is told."""
        return self.block(self.wire(messages, by=by))[0]

    def accept(self, *messages: Message, by: int = 0) -> list[Any]:
        """Submit what must succeed; return its events decoded, the tag first."""
        outcome = self.submit(*messages, by=by)
        assert outcome.status == Status.OK, f"{outcome.code}: {outcome.sentence}"
        return [msgspec.msgpack.decode(event) for event in outcome.events]

    def refuse(self, code: str, *messages: Message, by: int = 0) -> str:
        """Submit what must fail with `code`, changing nothing but nonce and fee."""
        outcome = self.submit(*messages, by=by)
        assert outcome.status != Status.OK, f"{code} was expected and the transaction went through"
        assert outcome.code == code, f"{outcome.code}: {outcome.sentence}"
        return outcome.sentence

    def end_block(self, count: int = 1) -> None:
        """Execute empty blocks."""
        for _ in range(count):
            self.block()

    def advance_to(self, height: int) -> None:
        """Execute empty blocks until `height` is the last one executed."""
        self.end_block(height - self.height)

    def query(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Ask a module's query at the last height."""
        context = query_context(self.state, self.height, self.height * BLOCK_MS, self.genesis.hash)
        return function(context, *arguments)

    def _finalize(self, layer: State) -> None:
        for key, data in layer.changes():
            if data is None:
                self._reader.rows.pop(key, None)
            else:
                self._reader.rows[key] = data
        self.state = State(Base(self._reader))

    @property
    def rows(self) -> dict[bytes, bytes]:
        """Every row of the state as bytes, to compare whole states."""
        return dict(self._reader.rows)


def known_values(chain: Chain) -> list[bytes]:
    return [
        *chain.addresses,
        *[bytes(key.verify_key) for key in chain.keys],
        bytes(20),
        bytes(32),
        *[key[2:22] for key in chain.rows if len(key) >= 22],
        *[key[2:34] for key in chain.rows if len(key) >= 34],
    ]


def attempt(chain: Chain, message: Message, *, by: int = 1) -> Outcome:
    """Execute one message over the chain's state, empty blocks behind it, all invariants on.

    Nothing is kept, and no signature is checked: whoever signs, no message may stop the chain.
    """
    nonce = chain.next_nonce(by)
    body = Body(chain.address(by), nonce, chain.height + 1, 10**9, (message,))
    key = KeySignature(bytes(chain.keys[by].verify_key), bytes(64))
    one = Transaction(b"", body, (key,), bytes(32), chain.genesis.hash)
    block = BlockInput(chain.height + 1, 1_000, chain.address(0), bytes(32), [one])
    executed = apply_block(chain.state, block, chain.genesis.hash, every_invariant=True)
    state = executed.state
    for height in range(chain.height + 2, chain.height + 5):
        empty = BlockInput(height, 1_000 * height, chain.address(0), bytes(32), [])
        state = apply_block(state, empty, chain.genesis.hash, every_invariant=True).state
    return executed.result.outcomes[0]


@pytest.fixture(scope="session")
def make_chain() -> type[Chain]:
    """The class: call it for a chain with other parameters, or anew in every Hypothesis example."""
    return Chain


@pytest.fixture
def chain() -> Chain:
    """A fresh chain with default parameters and eight funded accounts."""
    return Chain()


@pytest.fixture(scope="session")
def make_draw() -> Callable[[str, Chain], Draw]:
    """Call it with a seed and a chain for values of any type."""
    return lambda seed, chain: Draw(seed, known_values(chain))


@pytest.fixture(scope="session")
def try_message() -> Callable[..., Outcome]:
    """Call it to execute one message over a chain's state, keeping nothing."""
    return attempt
