"""No message stops the chain where much is going on: open demands, pending batches, closings.

Each message that would do is bent in one place, so that it passes most checks before it fails, or
succeeds in a way that nobody planned. The chain asserts every invariant after every block.
"""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import inspect

from state.block import Status
from state.codec import replace
from state.errors import Rejected
from state.modules.all import MESSAGES
from state.modules.index import CreateIndex
from state.modules.inference.bonds import OperatorBond, OperatorUnbond
from state.modules.inference.channels import TopUp, UniClose
from state.modules.inference.demands import AnswerLeaf, DemandLeaf
from state.modules.inference.direct import DirectInferClose, DirectInferOpen, dearest_cost
from state.modules.inference.disputes import (
    DisputeLeaf,
    ProveReceipt,
    RefundEquivocation,
    SignedResponse,
)
from state.modules.inference.lanes import CloseLane
from state.modules.inference.receipts import Receipt, Request
from state.params import Params
from state.registry import Message
from state.types import ZERO_HASH

DEVELOPER, OPERATOR, PAYER, STRANGER = 1, 2, 3, 4
EVERYBODY = (DEVELOPER, OPERATOR, PAYER, STRANGER)
GOOD = (100, 10, 20)
BENDS = 50
ROUNDS = 12


def busy(shop: Any) -> Request:
    """Fill the shop: batches true, false, disputed, held and released, and an open direct call."""
    chain = shop.chain
    chain.accept(CreateIndex(shop.model, 1, 1, 4, 1, 1_000, 0), by=DEVELOPER)
    chain.accept(OperatorBond(10**9), OperatorUnbond(10**6), by=OPERATOR)
    shop.claimed(shop.serve(GOOD, GOOD))
    shop.release()
    shop.claimed(shop.serve(GOOD, GOOD, GOOD))  # seq 3..5, soon held
    second = shop.open(10**9)
    shop.add_lane(1)
    chain.advance_to(shop.batch(3).release_height - 1)
    chain.accept(DemandLeaf(shop.channel_id, 0, 3, 4, 10**6), by=PAYER)
    assert shop.batch(3).held
    receipts = shop.serve(GOOD, GOOD, GOOD, GOOD)  # seq 6..9
    receipts[1] = replace(receipts[1], payer_signature=bytes(64))
    receipts[2] = replace(receipts[2], payer_signature=bytes(64))
    shop.claimed(receipts)
    chain.accept(DisputeLeaf(shop.channel_id, 0, shop.proof(7)), by=STRANGER)
    chain.accept(
        DemandLeaf(shop.channel_id, 0, 6, 9, 10**6),
        UniClose(second),
        TopUp(shop.channel_id, 9),
        by=PAYER,
    )
    return call(shop)


def call(shop: Any) -> Request:
    """Open a direct call and return its request."""
    request = Request(
        shop.next_id(PAYER), 0, 1, shop.model, 1, 1, ZERO_HASH, 1, 500, 50, ZERO_HASH, 10**9
    )
    shop.chain.accept(opening(shop, request), by=PAYER)
    return request


def opening(shop: Any, request: Request) -> DirectInferOpen:
    key, signature = (
        bytes(shop.session.verify_key),
        shop.sign(shop.session, request.digest(shop.network)),
    )
    escrow = dearest_cost(shop.price, request)
    return DirectInferOpen(request, shop.operator, 7, escrow, key, signature)


def held(shop: Any, receipt: Receipt) -> SignedResponse:
    """Another answer to a receipt's request."""
    response = replace(receipt.response, end_ms=1_999)
    return SignedResponse(receipt.request, response, bytes(64))


def valid(shop: Any, direct: Request) -> dict[str, tuple[int, Message]]:
    """One message of each kind that would succeed, and who sends it."""
    channel, operator = shop.channel_id, shop.key(OPERATOR)
    true, false = shop.proof(6), shop.proof(8)
    first = SignedResponse(true.receipt.request, true.receipt.response, bytes(64))
    next_call = replace(direct, channel_id=shop.next_id(PAYER))
    answer = shop.response(direct, GOOD)
    return {
        "claim": (OPERATOR, shop.claim(shop.serve(GOOD))),
        "dispute": (STRANGER, DisputeLeaf(channel, 0, false)),
        "prove": (STRANGER, ProveReceipt(channel, 0, true)),
        "equivocation": (
            PAYER,
            shop.accuse(first, held(shop, true.receipt)),
        ),
        "refund": (
            PAYER,
            RefundEquivocation(channel, 0, true, held(shop, true.receipt), operator),
        ),
        "answer": (OPERATOR, AnswerLeaf(channel, 0, shop.proof(9))),
        "answer that resumes": (OPERATOR, AnswerLeaf(channel, 0, shop.proof(4))),
        "demand": (STRANGER, DemandLeaf(channel, 0, 6, 6, 10**6)),
        "lane": (PAYER, shop.lane_message(shop.terms(2))),
        "close lane": (OPERATOR, CloseLane(channel, 1)),
        "top up": (PAYER, TopUp(channel, 5)),
        "alone": (PAYER, UniClose(channel)),
        "together": (PAYER, shop.coop_close()),
        "direct": (PAYER, opening(shop, next_call)),
        "answer direct": (
            OPERATOR,
            DirectInferClose(direct.channel_id, answer, operator, bytes(64)),
        ),
    }


@pytest.fixture(scope="module")
def scene(make_shop: Callable[..., Any], params: Params) -> tuple[Any, Request]:
    """A busy shop; nothing that the tests try on it is kept."""
    slow = replace(params.inference, leaf_answer_blocks=6, operator_unbonding_blocks=20)
    shop = make_shop(replace(params, inference=slow))
    return shop, busy(shop)


def names() -> list[str]:
    return [
        *("claim", "dispute", "prove", "equivocation", "refund", "answer", "answer that resumes"),
        *("demand", "lane", "close lane", "top up", "alone", "together", "direct"),
        "answer direct",
    ]


@pytest.mark.parametrize("name", names())
def test_a_bent_message_ends_in_an_outcome(
    scene: tuple[Any, Request], name: str, make_draw: Any, try_message: Any
) -> None:
    shop, direct = scene
    messages = valid(shop, direct)
    assert list(messages) == names()
    by, message = messages[name]
    assert try_message(shop.chain, message, by=by).code == "ok"
    draw = make_draw(name, shop.chain)
    codes = set()
    for number in range(BENDS):
        bent = draw.bent(message)
        try:
            bent.check()
        except Rejected as error:
            codes.add(error.code)
            continue
        bent.claims(shop.network)
        sender = by if number % 3 else EVERYBODY[number // 3 % 4]
        outcome = try_message(shop.chain, bent, by=sender)
        codes.add(outcome.code)
        assert outcome.status != Status.REFUSED, outcome.sentence
    assert len(codes) > 1, "some bent message has to fail"


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_any_message_ends_in_an_outcome(
    scene: tuple[Any, Request], kind: type[Message], make_draw: Any, try_message: Any
) -> None:
    shop, _ = scene
    draw = make_draw(kind.__name__, shop.chain)
    for number in range(ROUNDS):
        message = draw.value(inspect.type_info(kind))
        try:
            message.check()
        except Rejected:
            continue
        outcome = try_message(shop.chain, message, by=EVERYBODY[number % 4])
        assert outcome.status != Status.REFUSED, outcome.sentence
