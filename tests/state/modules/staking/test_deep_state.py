"""No message of staking stops the chain where much is going on, and no proof in a body does.

Each message that would do is bent in one place, or drawn whole, and executed with all invariants on
in a network with jailed and slashed validators, unbondings and redelegations under way.
"""

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import inspect

from state.codec import Decoder, encode
from state.crypto import Tag
from state.errors import Rejected
from state.modules import staking
from state.modules.staking import (
    ClaimRewards,
    Delegate,
    EditValidator,
    Redelegate,
    SubmitEvidence,
    Undelegate,
    Unjail,
)
from state.modules.staking.records import SLASHES, Standing
from state.registry import Message
from state.tables import State

BENDS = 60
ONE, TWO, THREE = 1, 2, 3


def busy(make_network: Any) -> Any:
    """Validator 1 is slashed, 3 jailed, 6 new; accounts 5, 7 and 8 are on their way."""
    network = make_network((1_000, 1_000, 1_000, 600), (0, 500, 1_000, 10_000))
    account = network.accounts
    network.accept(6, network.create(6, 900))
    for by in (5, 7, 8):
        network.accept(by, Delegate(account[ONE], 500), Delegate(account[TWO], 500))
    others = [0, 1, 2]
    while network.validator(THREE).standing == Standing.ACTIVE:
        network.block(certificates=(network.certificate(Tag.NOTARIZE, others),), fees=999)
    network.accept(5, Redelegate(account[ONE], account[TWO], 300))
    network.accept(7, Undelegate(account[ONE], 100), Redelegate(account[TWO], account[0], 10))
    network.block(evidence=(network.double_vote(ONE),), fees=777)
    network.accept(8, Redelegate(account[ONE], account[0], 100))
    assert SLASHES.get(network.state, account[ONE]) is not None
    return network


def good(network: Any) -> list[tuple[int, Message]]:
    account = network.accounts
    proof = network.double_vote(TWO, 9, 1)
    return [
        (5, Delegate(account[0], 10)),
        (5, Undelegate(account[TWO], 600)),
        (8, Redelegate(account[TWO], account[0], 50)),
        (7, ClaimRewards(account[0])),
        (6, EditValidator(0, "six")),
        (THREE, Unjail()),
        (8, network.create(8, 100)),
        (8, SubmitEvidence(1, network.public_key(TWO), proof)),
    ]


def attempt(network: Any, by: int, message: Message) -> str:
    """Execute a block with the message over the state, empty ones behind it; keep nothing."""
    kept, height = network.state, network.height
    network.state = State(kept)
    try:
        network.check_claims = False  # whoever signs, no message may stop the chain
        (code,) = network.block((by, message))
        network.block()
        network.advance_to(network.height + 6)
    finally:
        network.state, network.height = kept, height
        network.check_claims = True
    return str(code)


def draws(network: Any, make_draw: Any, seed: str) -> Any:
    rows = {key: encode(row) for key, row in network.state.rows.items() if row is not None}
    known = SimpleNamespace(addresses=network.accounts, keys=network.keys, rows=rows)
    return make_draw(seed, known)


@pytest.mark.parametrize("index", range(8))
def test_bent_messages_end_in_an_outcome(make_network: Any, make_draw: Any, index: int) -> None:
    network = busy(make_network)
    by, message = good(network)[index]
    assert attempt(network, by, message) == "ok"
    draw = draws(network, make_draw, type(message).__name__)
    decoder: Decoder[Message] = Decoder(type(message))
    codes = set()
    for number in range(BENDS):
        if not type(message).__struct_fields__:
            bent: Message = message
        elif number % 3 == 0:
            bent = draw.value(inspect.type_info(type(message)))
        else:
            bent = draw.bent(message)
        assert decoder.decode(encode(bent)) == bent
        codes.add(attempt(network, number % len(network.accounts), bent))
    assert len(codes) > 1 or message == Unjail()


def test_bent_evidence_is_refused_or_punished_and_never_breaks(
    make_network: Any, make_draw: Any
) -> None:
    network = busy(make_network)
    draw = draws(network, make_draw, "evidence")
    found = 0
    for number in range(200):
        evidence = network.double_vote((0, TWO, 6)[number % 3] if number % 5 else TWO, 9, 2)
        bent = evidence if number % 10 == 0 else draw.bent(evidence)
        args = (network.state, bent, network.genesis.hash, network.height + 1)
        if staking.is_punishable(*args):
            found += 1
            kept, height = network.state, network.height
            network.state = State(kept)
            network.block(evidence=(bent,))
            network.advance_to(network.height + 3)
            network.state, network.height = kept, height
        try:
            SubmitEvidence(2, bytes(32), bent).check()
        except Rejected:
            continue
        SubmitEvidence(2, bytes(32), bent).claims(network.genesis.hash)
    assert found >= 20
