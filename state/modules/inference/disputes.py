"""Disputes that a proof decides: a leaf that breaks a rule, and an operator that said two things.

No panel, no window for an answer: the accusation carries its proof, so it either holds and takes
effect at once, or is refused and costs its fee (assets C.1, C.9).
"""

from state import crypto
from state.codec import Struct, encode, replace
from state.context import BlockContext, TxContext
from state.crypto import SignatureClaim
from state.errors import Malformed
from state.modules.inference import events
from state.modules.inference.bonds import slash
from state.modules.inference.errors import AlreadyProven, LeafIsTrue, NoEquivocation, WrongSigner
from state.modules.inference.leaves import (
    fault_of,
    faults,
    pending_batch,
    refund_leaf,
    require_in_batch,
    require_not_refunded,
)
from state.modules.inference.receipts import (
    PATH_MAX,
    LaneNo,
    ReceiptProof,
    Request,
    Response,
)
from state.modules.inference.records import BATCHES, CHANNELS, FAULTS, LANES, MODULE, SeqKey
from state.registry import Message
from state.types import Address, Hash, PublicKey, Signature

PROOF_WEIGHT = 250 + 2 * 50 + PATH_MAX
"""A leaf's rules, its two signatures, and the longest path to its root."""

EQUIVOCATION = "the operator signed two responses for one seq"


class SignedResponse(Struct):
    """A Response as a payer holds it, with the Request that it answers."""

    request: Request
    response: Response
    operator_signature: Signature


@MODULE.tx
class ProveReceipt(Message, tag=0x0520):
    """Put on record that a receipt stands in a claimed batch; released ones can be proved too."""

    channel_id: Hash
    lane_no: LaneNo
    proof: ReceiptProof

    WEIGHT = 200

    def apply(self, ctx: TxContext) -> None:
        """Verify the path and say so in an event."""
        proof = self.proof
        row = BATCHES.require(ctx.state, (self.channel_id, self.lane_no, proof.from_seq))
        require_in_batch(row, proof)
        ctx.emit(
            events.ReceiptProven(
                self.channel_id, self.lane_no, proof.seq, proof.receipt.leaf, proof.sums
            )
        )


@MODULE.tx
class DisputeLeaf(Message, tag=0x0521):
    """Show a leaf of a pending batch that breaks a rule: it is refunded and the operator slashed.

    Rules: place, lane, operator, request hash, sums, cost, token limits, not_after_ms, and the
    signatures of both sides.
    """

    channel_id: Hash
    lane_no: LaneNo
    proof: ReceiptProof

    WEIGHT = PROOF_WEIGHT

    def apply(self, ctx: TxContext) -> None:
        """Check the path, find the rule that is broken, refund and slash."""
        proof = self.proof
        key = (self.channel_id, self.lane_no, proof.from_seq)
        channel, row = pending_batch(ctx.state, key, ctx.account)
        require_in_batch(row, proof)
        require_not_refunded(ctx.state, key, proof.seq)
        lane = LANES.require(ctx.state, (self.channel_id, self.lane_no))
        broken = next(faults(ctx, channel, lane, proof, (self.channel_id, self.lane_no)), None)
        if broken is None:
            raise LeafIsTrue("The leaf obeys every rule; there is nothing to dispute.")
        refund_leaf(ctx, key, row, proof.seq, proof.sums, broken)
        place = (self.channel_id, self.lane_no, proof.seq)
        slash_once(ctx, place, channel.operator, ctx.account, broken)


@MODULE.tx
class ProveEquivocation(Message, tag=0x0522):
    """Show two Responses that the operator signed for one seq of a lane: it is slashed.

    Responses are compared without their signatures. Neither needs to be in a batch, nor the batch
    to be pending; RefundEquivocation gives a committed leaf's value back. The payer's signature of
    the first Request shows that there was a call: otherwise an operator could accuse itself of
    every seq to come while its bond is small, for it is slashed once a seq.
    """

    first: SignedResponse
    second: SignedResponse
    operator_key: PublicKey
    session_key: PublicKey
    payer_signature: Signature

    WEIGHT = 350

    def check(self) -> None:
        """Refuse what is no pair of different Responses for one seq."""
        require_pair(self.first, self.second)

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """The operator's signatures of both Responses, and the payer's of the first Request."""
        asked = self.first.request.digest(genesis_hash)
        return [
            (self.session_key, asked, self.payer_signature),
            *[
                (self.operator_key, held.response.digest(genesis_hash), held.operator_signature)
                for held in (self.first, self.second)
            ],
        ]

    def apply(self, ctx: TxContext) -> None:
        """Slash the operator, once a seq."""
        request = self.first.request
        channel = CHANNELS.require(ctx.state, request.channel_id)
        require_operator(channel.operator, self.operator_key)
        if self.session_key != channel.session_key:
            raise WrongSigner("The first Request is not signed by the channel's session key.")
        require_answers(ctx.genesis_hash, self.first, self.second)
        place = (request.channel_id, request.lane_no, request.seq)
        if fault_of(ctx.state, *place).slashed:
            raise AlreadyProven("The operator was slashed for this seq before.")
        slash_once(ctx, place, channel.operator, ctx.account, EQUIVOCATION)


@MODULE.tx
class RefundEquivocation(Message, tag=0x0523):
    """Show a Response that differs from the committed leaf at its seq: the leaf is refunded.

    The operator is slashed too, unless it was for this seq before.
    """

    channel_id: Hash
    lane_no: LaneNo
    proof: ReceiptProof
    held: SignedResponse
    operator_key: PublicKey

    WEIGHT = PROOF_WEIGHT

    def check(self) -> None:
        """Refuse what is no pair of different Responses for one seq."""
        receipt = self.proof.receipt
        committed = SignedResponse(receipt.request, receipt.response, receipt.operator_signature)
        require_pair(committed, self.held)

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """The operator's signature of the Response that is not in the batch.

        The committed one needs none: the operator signed the root over it.
        """
        held = self.held
        return [(self.operator_key, held.response.digest(genesis_hash), held.operator_signature)]

    def apply(self, ctx: TxContext) -> None:
        """Check the path, refund and slash."""
        proof = self.proof
        key = (self.channel_id, self.lane_no, proof.from_seq)
        channel, row = pending_batch(ctx.state, key, ctx.account)
        require_in_batch(row, proof)
        require_not_refunded(ctx.state, key, proof.seq)
        require_operator(channel.operator, self.operator_key)
        place = (self.channel_id, self.lane_no, proof.seq)
        request = self.held.request
        if (request.channel_id, request.lane_no, request.seq) != place:
            raise NoEquivocation("The Response is for another seq than the committed leaf.")
        require_answers(ctx.genesis_hash, self.held)
        refund_leaf(ctx, key, row, proof.seq, proof.sums, EQUIVOCATION)
        slash_once(ctx, place, channel.operator, ctx.account, EQUIVOCATION)


def require_pair(first: SignedResponse, second: SignedResponse) -> None:
    """Raise Malformed unless the Responses differ and their Requests name one seq of a lane."""
    places = [(r.channel_id, r.lane_no, r.seq) for r in (first.request, second.request)]
    if places[0] != places[1]:
        raise Malformed("The two Requests name different seqs; show two Responses for one.")
    if encode(first.response) == encode(second.response):
        raise NoEquivocation("The two Responses are the same; signing one twice is no fault.")


def require_operator(operator: Address, operator_key: PublicKey) -> None:
    """Raise WrongSigner unless the key is the account key of the channel's operator."""
    if crypto.address_of(operator_key) != operator:
        raise WrongSigner("The Responses are not signed by the channel's operator.")


def require_answers(genesis_hash: Hash, *shown: SignedResponse) -> None:
    """Raise NoEquivocation unless each Response answers the Request that is shown with it."""
    for held in shown:
        if held.response.request_hash != held.request.digest(genesis_hash):
            raise NoEquivocation("A Response answers another Request than the one shown with it.")


def slash_once(
    ctx: BlockContext, place: SeqKey, operator: Address, reporter: Address, reason: str
) -> None:
    """Slash the operator unless it was slashed for this seq before."""
    fault = fault_of(ctx.state, *place)
    if not fault.slashed:
        FAULTS.put(ctx.state, place, replace(fault, slashed=True))
        slash(ctx, operator, reporter, reason)
