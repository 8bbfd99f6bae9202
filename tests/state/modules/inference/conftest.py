"""A payer, an operator and a model on a chain in memory, with everything both of them sign.

Test modules take the fixture `shop` (open channel, one lane) or `make_shop` (the class itself).
Accounts: 1 developer, 2 operator, 3 payer, 4 a stranger. Whatever the shop signs can be bent by
keyword before it is signed, so that each test breaks exactly one rule.
"""

from collections.abc import Callable
from typing import Any

import pytest
from nacl.signing import SigningKey

from state.codec import replace
from state.modules.assets import asset_id
from state.modules.chain import PARAMS as PARAMS_TABLE
from state.modules.chain import THE_ONE, params_of
from state.modules.inference.channels import (
    CoopClose,
    FinalTotals,
    OpenChannel,
    channel_id_of,
    lane_totals,
)
from state.modules.inference.claims import ClaimBatch
from state.modules.inference.lanes import AddLane
from state.modules.inference.receipts import (
    Batch,
    CallStatus,
    LaneTerms,
    PriceRow,
    Receipt,
    ReceiptProof,
    Request,
    Response,
    Sums,
    cost_of,
    prove_receipt,
    receipt_tree,
    voucher_after,
)
from state.modules.inference.records import BATCHES, CHANNELS, LANES, Channel, Lane
from state.modules.models.prices import PostPrice
from state.modules.models.records import Artefact, Split, Status
from state.modules.models.txs import AddVersion, RegisterModel, SetStatus
from state.params import AssetParams, IndexParams, InferenceParams, Params
from state.types import ZERO_HASH

DEVELOPER, OPERATOR, PAYER, STRANGER = 1, 2, 3, 4
DEPOSIT = 10**12
PRICE = PriceRow(5 * 10**9, 5 * 10**8, 20 * 10**9, 0)
PARAMS = Params(
    assets=AssetParams(price_delay_blocks=1),
    index=IndexParams(bucket_blocks=5, claim_lag_buckets=3),
    inference=InferenceParams(
        claim_window_blocks=8,
        dispute_window_blocks=9,
        leaf_answer_blocks=3,
        direct_timeout_blocks=5,
        operator_unbonding_blocks=12,
    ),
)


class Shop:
    """One payer and one operator who serve and pay calls of one model."""

    def __init__(
        self,
        make_chain: Callable[..., Any],
        params: Params = PARAMS,
        *,
        price: PriceRow = PRICE,
        deposit: int = DEPOSIT,
    ) -> None:
        self.chain = make_chain(params)
        self.network = self.chain.genesis.hash
        self.session = SigningKey(b"s" * 32)
        self.operator = self.chain.address(OPERATOR)
        self.payer = self.chain.address(PAYER)
        self.model = self._register()
        post = PostPrice(
            self.model,
            1,
            in_=price.tokens_in,
            cached=price.tokens_cached,
            out=price.tokens_out,
            call=price.call,
        )
        self.chain.accept(post, by=OPERATOR)
        self.chain.end_block(params.assets.price_delay_blocks)
        self.price = price
        self.receipts: dict[tuple[bytes, int], list[Receipt]] = {}
        self.channel_id = self.open(deposit)
        self.add_lane()

    def _register(self) -> bytes:
        self.chain.accept(RegisterModel("llama"), by=DEVELOPER)
        model = asset_id(self.chain.address(DEVELOPER), 1, 0)
        version = AddVersion(model, Artefact(b"\x07" * 32, 10**9), Split(7_000, 3_000))
        self.chain.accept(version, SetStatus(model, Status.LISTED), by=DEVELOPER)
        return model

    def key(self, account: int) -> bytes:
        """The public key of a numbered account."""
        return bytes(self.chain.keys[account].verify_key)

    def sign(self, signer: int | SigningKey, digest: bytes) -> bytes:
        """Sign a digest with an account's key or a given one."""
        key = self.chain.keys[signer] if isinstance(signer, int) else signer
        signature: bytes = key.sign(digest).signature
        return signature

    def next_id(self, account: int, index: int = 0) -> bytes:
        """The channel id that the account's next transaction will give out."""
        nonce = self.next_nonce(account)
        return channel_id_of(self.chain.address(account), nonce, index, self.network)

    def next_nonce(self, account: int) -> int:
        """The nonce of the account's next transaction."""
        nonce: int = self.chain._nonces.get(self.chain.address(account), 0) + 1
        return nonce

    def open(self, deposit: int, *, expiry: int = 10_000, price_max: PriceRow = PRICE) -> bytes:
        """Open a channel from payer to operator and return its id."""
        channel_id = self.next_id(PAYER)
        message = OpenChannel(
            self.operator, bytes(self.session.verify_key), deposit, price_max, expiry
        )
        self.chain.accept(message, by=PAYER)
        return channel_id

    def terms(self, lane_no: int = 0, channel_id: bytes | None = None, **bent: Any) -> LaneTerms:
        """The terms of a lane, as both sides would sign them."""
        channel_id = channel_id or self.channel_id
        terms = LaneTerms(channel_id, lane_no, self.model, 1, 1, ZERO_HASH, 1, 7)
        return replace(terms, **bent)

    def lane_message(self, terms: LaneTerms, signer: int | SigningKey = OPERATOR) -> AddLane:
        """AddLane with the signature of the side that does not send it."""
        key = self.key(signer) if isinstance(signer, int) else bytes(signer.verify_key)
        return AddLane(terms, key, self.sign(signer, terms.digest(self.network)))

    def add_lane(self, lane_no: int = 0, channel_id: bytes | None = None) -> None:
        """Open a lane, sent by the payer and signed by the operator."""
        self.chain.accept(self.lane_message(self.terms(lane_no, channel_id)), by=PAYER)

    def lane(self, lane_no: int = 0, channel_id: bytes | None = None) -> Lane:
        """The lane's row."""
        return LANES.require(self.chain.state, (channel_id or self.channel_id, lane_no))

    def channel(self, channel_id: bytes | None = None) -> Channel:
        """The channel's row."""
        return CHANNELS.require(self.chain.state, channel_id or self.channel_id)

    def request(
        self, seq: int, lane_no: int = 0, channel_id: bytes | None = None, **bent: Any
    ) -> Request:
        """A request for the lane as it stands."""
        row = self.lane(lane_no, channel_id)
        request = Request(
            channel_id or self.channel_id,
            lane_no,
            seq,
            row.model_id,
            row.version,
            row.price_id,
            row.licence_id,
            row.workload,
            10_000,
            10_000,
            b"\x01" * 32,
            10**9,
        )
        return replace(request, **bent)

    def response(
        self, request: Request, tokens: tuple[int, int, int] = (100, 10, 20), **bent: Any
    ) -> Response:
        """The operator's answer to a request, its cost by the lane's price."""
        status = bent.get("status", CallStatus.OK)
        response = Response(
            request.digest(self.network),
            self.operator,
            *tokens,
            3,
            cost_of(self.price, status, *tokens),
            b"\x02" * 32,
            ZERO_HASH,
            7,
            1_000,
            2_000,
            status,
        )
        return replace(response, **bent)

    def receipt(self, request: Request, response: Response) -> Receipt:
        """Both halves, signed by both sides."""
        return Receipt(
            request,
            response,
            self.sign(OPERATOR, response.digest(self.network)),
            self.sign(self.session, request.digest(self.network)),
        )

    def serve(
        self, *tokens: tuple[int, int, int], lane_no: int = 0, channel_id: bytes | None = None
    ) -> list[Receipt]:
        """Calls of these tokens behind what the lane has claimed, as receipts."""
        first = self.lane(lane_no, channel_id).last_seq + 1
        found = []
        for seq, used in enumerate(tokens, first):
            request = self.request(seq, lane_no, channel_id)
            found.append(self.receipt(request, self.response(request, used)))
        return found

    def claim(
        self,
        receipts: list[Receipt],
        *,
        lane_no: int = 0,
        channel_id: bytes | None = None,
        cosign: bool = False,
        voucher: dict[str, Any] | None = None,
        batch: dict[str, Any] | None = None,
        session: SigningKey | None = None,
        operator: int | SigningKey = OPERATOR,
        network: bytes | None = None,
    ) -> ClaimBatch:
        """The claim of these receipts; voucher and batch can be bent before they are signed."""
        row = self.lane(lane_no, channel_id)
        channel_id = channel_id or self.channel_id
        root, sums = receipt_tree(receipts)
        bucket = (self.chain.height + 1) // self.chain.genesis.params.index.bucket_blocks
        last = row.last_seq + len(receipts)
        made = Batch(channel_id, lane_no, row.last_seq + 1, last, bucket, root, sums, ZERO_HASH)
        made = replace(made, **(batch or {}))
        before = Sums(row.last_seq, row.cum_in, row.cum_cached, row.cum_out, row.cum_amount)
        word = voucher_after(before, made, cosigned=cosign)
        word = replace(word, **(voucher or {}))
        network = network or self.network
        session = session or self.session
        key = self.key(operator) if isinstance(operator, int) else bytes(operator.verify_key)
        return ClaimBatch(
            made,
            word,
            bytes(session.verify_key),
            self.sign(session, word.digest(network)),
            key,
            self.sign(operator, made.digest(network)),
        )

    def claimed(self, receipts: list[Receipt], **options: Any) -> int:
        """Claim receipts, remember them, and return the first seq of their batch."""
        message = self.claim(receipts, **options)
        self.chain.accept(message, by=OPERATOR)
        key = (message.batch.channel_id, message.batch.from_seq)
        self.receipts[key] = receipts
        return int(message.batch.from_seq)

    def proof(self, seq: int, channel_id: bytes | None = None) -> ReceiptProof:
        """The proof of a claimed receipt."""
        for (channel, from_seq), receipts in self.receipts.items():
            if channel == (channel_id or self.channel_id) and 0 <= seq - from_seq < len(receipts):
                return prove_receipt(receipts, seq - from_seq, from_seq)
        raise AssertionError(f"no batch holds seq {seq}")

    def batch(self, from_seq: int, lane_no: int = 0, channel_id: bytes | None = None) -> Any:
        """The batch's row."""
        key = (channel_id or self.channel_id, lane_no, from_seq)
        return BATCHES.require(self.chain.state, key)

    def coop_close(
        self, signer: int | SigningKey = OPERATOR, totals: FinalTotals | None = None
    ) -> CoopClose:
        """CoopClose with the signature of the side that does not send it."""
        if totals is None:
            lanes = lane_totals(self.chain.state, self.channel_id)
            totals = FinalTotals(self.channel_id, lanes)
        key = self.key(signer) if isinstance(signer, int) else bytes(signer.verify_key)
        return CoopClose(totals, key, self.sign(signer, totals.digest(self.network)))

    def bend(self, **fields: int) -> None:
        """Give the inference module parameters that no genesis may have."""
        state = self.chain.state
        params = params_of(state)
        bent = replace(params, inference=replace(params.inference, **fields))
        PARAMS_TABLE.put(state, THE_ONE, bent)

    def release(self, from_seq: int = 1) -> None:
        """Let blocks pass until the batch is due."""
        self.chain.advance_to(self.batch(from_seq).release_height)


@pytest.fixture(scope="session")
def make_shop(make_chain: Callable[..., Any]) -> Callable[..., Shop]:
    """Call it for a shop of one's own, in every Hypothesis example or with other parameters."""
    return lambda *arguments, **options: Shop(make_chain, *arguments, **options)


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    """A shop with one channel and one lane."""
    return make_shop()


@pytest.fixture(scope="session")
def params() -> Params:
    """The parameters of a shop, to be bent for another one."""
    return PARAMS
