"""Whatever the types allow in a message, executing it ends in an outcome: never in a crash.

A crash inside `apply` would stop every node at the same block, so any client could stop the chain.
Values are drawn from the bounds that the types declare, edges first, for every registered message.
"""

from typing import Any

import pytest
from msgspec import inspect

from state.block import Status
from state.codec import Decoder, encode
from state.errors import Rejected
from state.modules.all import MESSAGES
from state.registry import Message

ROUNDS = 60


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_ends_in_an_outcome(
    chain: Any, kind: type[Message], make_draw: Any, try_message: Any
) -> None:
    draw = make_draw(kind.__name__, chain)
    decoder: Decoder[Message] = Decoder(kind)
    for _ in range(ROUNDS):
        message = draw.value(inspect.type_info(kind))
        assert decoder.decode(encode(message)) == message, "only what decodes is drawn"
        try:
            message.check()
        except Rejected:
            continue
        message.claims(chain.genesis.hash)
        assert message.weight() > 0
        outcome = try_message(chain, message)
        assert outcome.status != Status.REFUSED, outcome.sentence
        assert outcome.sentence.endswith(".") == (outcome.status == Status.FAILED)
