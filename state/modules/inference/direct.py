"""Direct calls: one call in two transactions, or in one that both sides signed.

A direct call is a channel with one lane and one call: opening escrows the dearest answer that the
request allows, closing books a batch of one leaf. So receipt, split, index and disputes are those
of any other call, and an operator that does not answer in time leaves everything to the payer.
"""

from state.codec import replace
from state.context import TxContext
from state.crypto import SignatureClaim, address_of
from state.errors import Malformed
from state.maths import ceil_div
from state.modules import index
from state.modules.inference.channels import (
    channel_id_of,
    close_channel,
    live_channel,
    open_channel,
)
from state.modules.inference.claims import book, require_covered
from state.modules.inference.errors import (
    ClaimTooLate,
    LeafIsFalse,
    Overdrawn,
    VoucherMismatch,
    WrongSigner,
)
from state.modules.inference.lanes import new_lane, price_in_force, require_no_licence
from state.modules.inference.leaves import response_faults
from state.modules.inference.receipts import (
    Batch,
    LaneTerms,
    PriceRow,
    Receipt,
    Request,
    Response,
)
from state.modules.inference.records import (
    CHANNELS,
    CLOSINGS,
    DIRECT_CALLS,
    LANES,
    MODULE,
    Channel,
    DirectCall,
)
from state.registry import Message
from state.types import PPM, U16, ZERO_HASH, Address, Hash, PositiveAmount, PublicKey, Signature

LANE_NO = 0
SEQ = 1


def dearest_cost(price: PriceRow, request: Request) -> int:
    """Return the most that an answer to this request can cost."""
    dearest_in = max(price.tokens_in, price.tokens_cached)
    scaled = request.tokens_in_max * dearest_in + request.tokens_out_max * price.tokens_out
    return ceil_div(scaled, PPM) + price.call


@MODULE.tx
class DirectInferOpen(Message, tag=0x0540):
    """Escrow one call to an operator; the request names the id that this message gives it.

    That id is H(channel-id, account, nonce, message index, genesis hash), the lane 0, the seq 1.
    """

    request: Request
    operator: Address
    hw_class: U16
    escrow: PositiveAmount
    payer_key: PublicKey
    payer_signature: Signature

    WEIGHT = 300

    def check(self) -> None:
        """Refuse a request that is not for the one call of a direct channel."""
        if (self.request.lane_no, self.request.seq) != (LANE_NO, SEQ):
            raise Malformed("A direct call has lane 0 and seq 1; sign the request again.")
        require_no_licence(self.request.licence_id)

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """The payer's signature of the request."""
        return [(self.payer_key, self.request.digest(genesis_hash), self.payer_signature)]

    def apply(self, ctx: TxContext) -> None:
        """Check price and escrow, then open a channel of one lane."""
        request = self.request
        channel_id = channel_id_of(ctx.account, ctx.nonce, ctx.message_index, ctx.genesis_hash)
        if request.channel_id != channel_id:
            raise VoucherMismatch(
                f"The request names call {request.channel_id.hex()} and this message opens "
                f"{channel_id.hex()}; sign the request for that id."
            )
        price = price_in_force(
            ctx.state,
            self.operator,
            request.model_id,
            request.version,
            request.price_id,
            ctx.height,
        )
        dearest = dearest_cost(price, request)
        if self.escrow < dearest:
            raise Overdrawn(
                f"The answer may cost {dearest} grains and {self.escrow} are escrowed; escrow "
                "more, or allow fewer tokens."
            )
        timeout = ctx.height + ctx.params.inference.direct_timeout_blocks
        open_channel(ctx, channel_id, self._channel(ctx.account, price, timeout))
        terms = LaneTerms(
            channel_id,
            LANE_NO,
            request.model_id,
            request.version,
            request.price_id,
            request.licence_id,
            request.workload,
            self.hw_class,
        )
        LANES.put(ctx.state, (channel_id, LANE_NO), new_lane(terms, price))
        DIRECT_CALLS.put(ctx.state, channel_id, DirectCall(request, self.payer_signature))

    def _channel(self, payer: Address, price: PriceRow, timeout: int) -> Channel:
        return Channel(
            payer=payer,
            operator=self.operator,
            session_key=self.payer_key,
            price_max=price,
            expiry_height=timeout,
            close_height=timeout,
            deposited=self.escrow,
            claimed=0,
            returned=0,
            lanes_opened=1,
            lanes_open=1,
            closing=True,
            closed=False,
            direct=True,
        )


@MODULE.tx
class DirectInferClose(Message, tag=0x0541):
    """Claim a direct call with the operator's signed response; the rest goes back at once.

    The weight covers the release that the claim will cause.
    """

    channel_id: Hash
    response: Response
    operator_key: PublicKey
    operator_signature: Signature

    WEIGHT = 400

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """The operator's signature of the response."""
        return [(self.operator_key, self.response.digest(genesis_hash), self.operator_signature)]

    def apply(self, ctx: TxContext) -> None:
        """Check the response against the request, book a batch of one leaf, return the rest."""
        state, channel_id = ctx.state, self.channel_id
        channel = live_channel(state, channel_id, direct=True)
        if ctx.height > channel.close_height:
            raise ClaimTooLate(f"The call timed out at height {channel.close_height}.")
        call = DIRECT_CALLS.require(state, channel_id)
        lane = LANES.require(state, (channel_id, LANE_NO))
        self._require_answer(ctx.genesis_hash, channel, call.request, lane.hw_class)
        broken = next(response_faults(lane.price, call.request, self.response), None)
        if broken is not None:
            raise LeafIsFalse(f"The response cannot be claimed: {broken}.")
        sums = self.response.sums
        require_covered(channel, sums.amount)
        receipt = Receipt(
            call.request, self.response, self.operator_signature, call.payer_signature
        )
        bucket = index.bucket_of(ctx.params.index, ctx.height)
        batch = Batch(channel_id, LANE_NO, SEQ, SEQ, bucket, receipt.leaf, sums, ZERO_HASH)
        keyed = replace(lane, operator_key=self.operator_key)
        book(ctx, channel, keyed, batch, cosigned=False)
        CLOSINGS.drop(state, channel.close_height, channel_id)
        close_channel(ctx, channel_id, CHANNELS.require(state, channel_id))

    def _require_answer(
        self, genesis_hash: Hash, channel: Channel, request: Request, hw_class: int
    ) -> None:
        response = self.response
        if (
            response.operator != channel.operator
            or address_of(self.operator_key) != channel.operator
        ):
            raise WrongSigner("The response is not signed by the call's operator.")
        if response.request_hash != request.digest(genesis_hash) or response.hw_class != hw_class:
            raise VoucherMismatch(
                "The response answers another request, or ran on other hardware than agreed."
            )
