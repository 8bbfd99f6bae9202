"""The overlay: who sent a vote that its validator did not sign is found, and nobody else."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from consensus.inputs import Peer
from consensus.messages import Message, encode
from node.client import Account
from node.network.overlay import Overlay
from p2p.interface import Delivery
from p2p.scores import Verdict
from p2p.topics import Topic
from state.crypto import SignatureClaim, Tag
from state.finality import (
    Nullification,
    Nullified,
    Nullify,
    SignedVote,
    Validator,
    Vote,
    certificate_claims,
    vote_claim,
    vote_digest,
)

GENESIS = b"g" * 32
KEYS = [Account.from_seed(bytes([at]) * 32) for at in range(1, 5)]
MEMBERS = tuple(Validator(key.public_key, key.address, 10) for key in KEYS)
STRANGER = b"s" * 32


class Host:
    """Verifies every vote of a turn at once, as the engine does."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.heard: list[tuple[Peer, Message]] = []

    def receive(self, peer: Peer, message: Message) -> None:
        self.heard.append((peer, message))
        if len(self.heard) == 1:
            asyncio.get_running_loop().call_soon(self.step)

    def step(self) -> None:
        messages: list[Any] = [message for _, message in self.heard]
        self.overlay.verify([claim for one in messages for claim in self.claims_of(one)])

    def claims_of(self, signed: Any) -> list[SignatureClaim]:
        if isinstance(signed, Nullification):
            return certificate_claims(GENESIS, signed, MEMBERS)
        claim = vote_claim(GENESIS, signed, MEMBERS)
        return [] if claim is None else [claim]

    def hello(self) -> None:
        return None


class Network:
    """Knows which node runs which validator: node n runs validator n."""

    def validator_of(self, node_id: bytes) -> bytes | None:
        at = node_id[0] - ord("0")
        return KEYS[at].public_key if 0 <= at < len(KEYS) else None


def node_of(validator: int) -> bytes:
    return f"{validator}".encode() * 32


def nullify(validator: int, view: int, signed_view: int | None = None) -> SignedVote:
    """A vote whose signature is that of another view, if one is given."""
    signed = Nullified(0, view if signed_view is None else signed_view)
    signature = KEYS[validator].sign(vote_digest(Tag.NULLIFY, GENESIS, signed))
    return Nullify(Nullified(0, view), Vote(validator, signature))


async def verdicts(*sent: tuple[bytes, Message]) -> list[Verdict]:
    """What the overlay says of votes that come in one turn."""
    overlay = Overlay()
    network: Any = Network()
    host: Any = Host(overlay)
    overlay.join(host, network)
    given: dict[int, Verdict] = {}
    for at, (peer_id, vote) in enumerate(sent):
        settle = _settler(given, at)
        overlay.on_message(Delivery(peer_id, Topic.CONSENSUS, encode(vote), settle))
    for _ in range(5):
        await asyncio.sleep(0)
    return [given[at] for at in range(len(sent))]


def _settler(given: dict[int, Verdict], at: int) -> Any:
    return lambda verdict: given.__setitem__(at, verdict)


def nullification(forged: int | None = None) -> Nullification:
    """A certificate of three votes, one of which may be for another view."""
    votes = [nullify(at, 7, signed_view=8 if at == forged else None).vote for at in range(3)]
    return Nullification(Nullified(0, 7), tuple(votes))


FORGED = nullify(1, 7, signed_view=8)


@pytest.mark.parametrize(
    ("sent", "offenders"),
    [
        ([(node_of(1), nullify(1, 7))], []),
        ([(node_of(1), FORGED)], [0]),
        ([(STRANGER, nullify(1, 7))], []),
        ([(STRANGER, FORGED)], [0]),
        ([(node_of(2), FORGED), (node_of(3), nullify(3, 7))], [0]),
        ([(STRANGER, nullify(1, 7)), (STRANGER, FORGED)], [0, 1]),
        ([(STRANGER, nullification()), (node_of(0), nullification())], []),
        ([(STRANGER, nullification(forged=1)), (node_of(1), nullification())], [0]),
    ],
    ids=[
        *("own", "own-forged", "relayed", "forged", "another's", "among-others"),
        *("certificates", "forged-certificate"),
    ],
)
async def test_a_forged_vote_costs_its_sender(
    sent: Sequence[tuple[bytes, Message]], offenders: list[int]
) -> None:
    found = await verdicts(*sent)
    assert [at for at, one in enumerate(found) if one is Verdict.INVALID] == offenders


@pytest.mark.parametrize("attacker", [STRANGER, node_of(2)])
async def test_nobody_can_frame_a_validator_by_its_own_signature(attacker: bytes) -> None:
    """Put to another subject, or under another's number, an honest signature fails there alone."""
    honest = nullify(1, 8)
    moved = Nullify(Nullified(0, 7), honest.vote)
    renamed = Nullify(Nullified(0, 8), Vote(2, honest.vote.signature))
    for forged in (moved, renamed):
        sent = [(attacker, forged), (node_of(1), honest), (attacker, forged)]
        assert await verdicts(*sent) == [Verdict.INVALID, Verdict.DUPLICATE, Verdict.INVALID]
