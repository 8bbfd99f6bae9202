"""Whatever the types allow in a message, executing it ends in an outcome: never in a crash.

A crash inside `apply` would stop every node at the same block, so any client could stop the chain.
Values are drawn from the bounds that the types declare, edges first, for every registered message.
"""

import random
import re
from typing import Any

import pytest
from msgspec import inspect

from state.block import Status
from state.codec import Decoder, encode
from state.errors import Rejected
from state.execute import BlockInput, apply_block
from state.modules.all import MESSAGES
from state.registry import Message
from state.transaction import Body, KeySignature, Transaction
from state.types import INT_MAX

ROUNDS = 60
TEXTS = ("sahara", "gold", "D", "x", "\u00e4", "\u2028")


class Draw:
    """Random values of msgspec types; byte strings are often ones that the state knows."""

    def __init__(self, seed: str, known: list[bytes]) -> None:
        self._chance = random.Random(seed)
        self._known = known

    def value(self, kind: Any) -> Any:
        """A value within the declared bounds of a type."""
        match kind:
            case inspect.Metadata():
                return self.value(kind.type)
            case inspect.VarTupleType():
                low = kind.min_length or 0
                high = 4 if kind.max_length is None else kind.max_length
                count = self._chance.choice([low, min(low + 1, high), min(low + 3, high)])
                return tuple([self.value(kind.item_type) for _ in range(count)])
            case inspect.TupleType():
                return tuple([self.value(item) for item in kind.item_types])
            case inspect.StructType():
                return kind.cls(*[self.value(field.type) for field in kind.fields])
            case inspect.UnionType():
                return self.value(self._chance.choice(kind.types))
        return self._scalar(kind)

    def _scalar(self, kind: Any) -> Any:
        chance = self._chance
        match kind:
            case inspect.IntType():
                low = 0 if kind.ge is None else kind.ge
                high = INT_MAX if kind.le is None else kind.le
                edges = [low, high, min(low + 1, high), min(high, 10**9), min(high, 7)]
                return max(low, chance.choice([*edges, chance.randint(low, high)]))
            case inspect.BytesType():
                low, high = kind.min_length or 0, kind.max_length or 0
                fitting = [data for data in self._known if low <= len(data) <= high]
                if fitting and chance.random() < 0.7:
                    return chance.choice(fitting)
                return chance.randbytes(chance.choice([low, min(high, low + 40)]))
            case inspect.StrType():
                low, high = kind.min_length or 0, kind.max_length or 8
                texts = [text * count for text in TEXTS for count in (low, 1, high)]
                return chance.choice(
                    [
                        text
                        for text in texts
                        if low <= len(text) <= high and re.search(kind.pattern or "", text)
                    ]
                )
            case inspect.EnumType():
                return chance.choice(list(kind.cls))
            case inspect.BoolType():
                return chance.random() < 0.5
        raise AssertionError(f"no values of {kind} are drawn yet; add the case")


def known_values(chain: Any) -> list[bytes]:
    return [
        *chain.addresses,
        *[bytes(key.verify_key) for key in chain.keys],
        bytes(20),
        bytes(32),
        *[key[2:22] for key in chain.rows if len(key) >= 22],
        *[key[2:34] for key in chain.rows if len(key) >= 34],
    ]


def transaction(chain: Any, nonce: int, message: Message) -> Transaction:
    body = Body(chain.address(1), nonce, chain.height + 1, 10**9, (message,))
    key = KeySignature(bytes(chain.keys[1].verify_key), bytes(64))
    return Transaction(b"", body, (key,), nonce.to_bytes(32, "big"), chain.genesis.hash)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_ends_in_an_outcome(chain: Any, kind: type[Message]) -> None:
    draw = Draw(kind.__name__, known_values(chain))
    decoder: Decoder[Message] = Decoder(kind)
    for number in range(1, ROUNDS + 1):
        message = draw.value(inspect.type_info(kind))
        assert decoder.decode(encode(message)) == message, "only what decodes is drawn"
        try:
            message.check()
        except Rejected:
            continue
        message.claims(chain.genesis.hash)
        assert message.weight() > 0
        outcome = apply_one(chain, transaction(chain, number, message))
        assert outcome.status != Status.REFUSED, outcome.sentence
        assert outcome.sentence.endswith(".") == (outcome.status == Status.FAILED)


def apply_one(chain: Any, one: Transaction) -> Any:
    """Execute over the same state every time, empty blocks behind it, all invariants on."""
    block = BlockInput(chain.height + 1, 1_000, chain.address(0), bytes(32), [one])
    executed = apply_block(chain.state, block, chain.genesis.hash, every_invariant=True)
    state = executed.state
    for height in range(chain.height + 2, chain.height + 5):
        empty = BlockInput(height, 1_000 * height, chain.address(0), bytes(32), [])
        state = apply_block(state, empty, chain.genesis.hash, every_invariant=True).state
    return executed.result.outcomes[0]
