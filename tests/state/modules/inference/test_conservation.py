"""Random streams: whatever payers, operators and strangers do, no grain comes or goes.

The chain of the tests asserts every invariant after every block: totals against rows, rows against
pots, lanes against batches, and the supply. A model written apart from the module keeps what each
channel must have claimed, paid and returned.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from state.block import Status
from state.codec import replace
from state.modules.inference.bonds import OperatorBond, OperatorUnbond
from state.modules.inference.channels import TopUp, UniClose
from state.modules.inference.demands import AnswerLeaf, DemandLeaf
from state.modules.inference.disputes import DisputeLeaf
from state.modules.inference.records import BATCHES, CHANNELS, DEMANDS, totals_of

OPERATOR, PAYER, STRANGER = 2, 3, 4

KINDS = (
    *("claim", "false", "claim", "false"),
    *("dispute", "dispute", "demand", "demand", "demand", "answer", "answer"),
    *("top up", "close", "bond", "unbond", "wait"),
)
steps = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(1, 40)),
    min_size=12,
    max_size=40,
)


class Stream:
    """Applies steps, and remembers what was deposited and what was refused."""

    def __init__(self, shop: Any) -> None:
        self.shop = shop
        self.deposited = shop.channel().deposited

    def run(self, kind: str, which: int, size: int) -> None:
        """One step; what the rules refuse changes nothing, which the invariants confirm."""
        shop = self.shop
        seq = shop.lane().last_seq - which
        match kind:
            case "claim" | "false":
                self._claim(size, honest=kind == "claim")
            case "dispute" if seq > 0:
                self._send(DisputeLeaf(shop.channel_id, 0, shop.proof(seq)), STRANGER)
            case "demand" if seq > 0:
                first = shop.proof(seq).from_seq
                self._send(DemandLeaf(shop.channel_id, 0, first, seq, 10**5 + size), STRANGER)
            case "answer":
                self._answer()
            case "top up":
                if self._send(TopUp(shop.channel_id, size), PAYER):
                    self.deposited += size
            case "close" if size > 36:
                self._send(UniClose(shop.channel_id), PAYER)
            case "bond":
                self._send(OperatorBond(size), OPERATOR)
            case "unbond":
                self._send(OperatorUnbond(size), OPERATOR)
            case _:
                shop.chain.end_block(which)

    def _answer(self) -> None:
        """Answer the first open demand, if there is one."""
        for key, _ in DEMANDS.scan(self.shop.chain.state, limit=1):
            self._send(AnswerLeaf(key[0], key[1], self.shop.proof(key[3])), OPERATOR)

    def _claim(self, size: int, *, honest: bool) -> None:
        shop = self.shop
        receipts = shop.serve((size, 0, 1), (0, size, 2))
        if not honest:
            receipts[1] = replace(receipts[1], payer_signature=bytes(64))
        message = shop.claim(receipts)
        if self._send(message, OPERATOR):
            shop.receipts[shop.channel_id, message.batch.from_seq] = receipts

    def _send(self, message: Any, by: int) -> bool:
        return bool(self.shop.chain.submit(message, by=by).status == Status.OK)


@settings(max_examples=60)
@given(stream=steps)
def test_random_streams_conserve_every_grain(make_shop: Any, stream: list[Any]) -> None:
    shop = make_shop(deposit=10**7)
    run = Stream(shop)
    for kind, which, size in stream:
        run.run(kind, which, size)
    shop.chain.end_block(25)
    totals = totals_of(shop.chain.state)
    assert totals.deposits == run.deposited
    assert totals.pending == 0
    refunded = paid = 0
    for (_, _, from_seq), row in BATCHES.scan(shop.chain.state):
        receipts = shop.receipts[shop.channel_id, from_seq]
        costs = [receipt.response.cost for receipt in receipts]
        assert row.sums.amount == sum(costs)
        assert row.removed.calls <= len(costs)
        refunded += row.removed.amount
        paid += sum(costs) - row.removed.amount
    channel = CHANNELS.require(shop.chain.state, shop.channel_id)
    assert totals.paid == paid
    assert totals.refunded == refunded + channel.returned
    if channel.closed:
        assert totals.escrow == 0
