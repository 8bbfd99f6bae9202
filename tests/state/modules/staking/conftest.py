"""A network of stakers without envelopes: real consensus keys, real votes, every invariant on."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from nacl.signing import SigningKey

from state import crypto
from state.context import BlockContext, TxContext
from state.crypto import Tag
from state.errors import Rejected
from state.execute import apply_genesis, assert_invariants
from state.finality import (
    Certificate,
    Conflict,
    Evidence,
    Finalization,
    Finalize,
    Notarization,
    Notarize,
    Nullification,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
    Vote,
    vote_digest,
)
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules import bank, chain, staking
from state.modules.staking import CreateValidator, possession_digest, queries
from state.params import Params, StakingParams
from state.registry import Message
from state.tables import Base, State
from state.types import ZERO_HASH

FUNDS = 10**12
VOTES: dict[Tag, Any] = {Tag.NOTARIZE: Notarize, Tag.NULLIFY: Nullify, Tag.FINALIZE: Finalize}
CERTIFICATES: dict[Tag, Any] = {
    Tag.NOTARIZE: Notarization,
    Tag.NULLIFY: Nullification,
    Tag.FINALIZE: Finalization,
}
PLAIN = {
    "epoch_blocks": 5,
    "evidence_blocks": 20,
    "unbonding_blocks": 30,
    "delegation_min": 1,
    "self_bond_min": 50,
    "validators_min": 1,
    "commission_blocks": 10,
    "participation_blocks": 8,
    "jail_blocks": 3,
    "proposer_bps": 0,
}


class Nothing:
    """A reader of an empty database."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes) -> Any:
        return iter(())


class Network:
    """Accounts are numbered; those of the first validators come first, in the order of addresses.

    So a validator's number is its index in the first two sets. The last account pays all fees.
    """

    def __init__(
        self,
        stakes: Sequence[int] = (1_000,) * 4,
        commissions: Sequence[int] | None = None,
        accounts: int = 10,
        **params: Any,
    ) -> None:
        self.params = Params(staking=StakingParams(**{**PLAIN, **params}))
        self.accounts = [bytes([number]) * 20 for number in range(1, accounts + 1)]
        self.keys = [SigningKey(bytes([number]) * 32) for number in range(1, accounts + 1)]
        rates = commissions or (0,) * len(stakes)
        validators = [
            GenesisValidator(self.public_key(n), self.accounts[n], stake, rate)
            for n, (stake, rate) in enumerate(zip(stakes, rates, strict=True))
        ]
        allocations = [Allocation(account, FUNDS) for account in self.accounts]
        self.genesis = Genesis("test", 0, self.params, tuple(allocations), tuple(validators))
        self.state: State = apply_genesis(Base(Nothing()), self.genesis)
        self.height = 0
        self.messages = 0
        self.events: list[Any] = []
        self.check_claims = True

    def public_key(self, number: int) -> bytes:
        return bytes(self.keys[number].verify_key)

    def context(self, proposer: int = 0, **more: Any) -> BlockContext:
        return BlockContext(
            self.state,
            self.height,
            0,
            self.params,
            self.genesis.hash,
            self.accounts[proposer],
            ZERO_HASH,
            **more,
        )

    def block(
        self,
        *steps: tuple[int, Message],
        fees: int = 0,
        proposer: int = 0,
        certificates: Sequence[Certificate] = (),
        late: Finalization | None = None,
        evidence: Sequence[Evidence] = (),
    ) -> list[str]:
        """Execute a block and return the code of each step's outcome."""
        staking.check_votes(self.state, self.height + 1, self.genesis.hash, late, evidence)
        self.height += 1
        shown = (*certificates, *(() if late is None else (late,)))
        ctx = self.context(proposer, certificates=shown, evidence=evidence)
        for hook in staking.MODULE.begin_hooks:
            hook(ctx)
        codes = [self._step(ctx, by, message) for by, message in steps]
        bank.move(self.state, self.accounts[-1], chain.FEES, fees)
        for hook in staking.MODULE.end_hooks:
            hook(ctx)
        assert_invariants(ctx, every=True)
        self.events = ctx.events
        return codes

    def _step(self, block: BlockContext, by: int, message: Message) -> str:
        self.messages += 1
        tx_id = self.messages.to_bytes(32, "big")
        ctx = TxContext(block, self.accounts[by], self.messages, tx_id)
        claims = message.claims(self.genesis.hash)
        assert not self.check_claims or all(crypto.verify_many(claims)), "an invalid block"
        try:
            message.check()
        except Rejected as error:
            return error.code
        self.state.begin()
        try:
            message.apply(ctx)
        except Rejected as error:
            self.state.rollback()
            assert error.sentence.endswith(".")
            return error.code
        self.state.commit()
        block.events += ctx.events
        return "ok"

    def accept(self, by: int, *messages: Message) -> None:
        """Execute a block of messages that must succeed."""
        codes = self.block(*[(by, message) for message in messages])
        assert codes == ["ok"] * len(messages), codes

    def refuse(self, code: str, by: int, message: Message) -> None:
        """Execute a block of one message that must fail with the code."""
        assert self.block((by, message)) == [code]

    def advance_to(self, height: int) -> None:
        """Execute empty blocks until `height` is the last one executed."""
        while self.height < height:
            self.block()

    def validator(self, number: int) -> Any:
        """What staking.validators says of one."""
        views = {view.account: view for view in queries.validators(self.context())}
        return views[self.accounts[number]]

    def create(self, number: int, self_bond: int = 1_000, **fields: Any) -> CreateValidator:
        """The message by which an account begins to validate, with a valid proof."""
        account = self.accounts[number]
        proof = self.keys[number].sign(possession_digest(self.genesis.hash, account)).signature
        terms = {"commission_bps": 0, "commission_change_bps_max": 100, **fields}
        return CreateValidator(account, self.public_key(number), proof, self_bond, **terms)

    def delegations(self, number: int) -> dict[int, int]:
        """What an account has bonded with whom, by number, after all slashes."""
        views = queries.delegations(self.context(), self.accounts[number])
        return {self.accounts.index(view.validator): view.stake for view in views}

    def balance(self, number: int) -> int:
        return bank.balance_of(self.state, self.accounts[number])

    def burned(self) -> int:
        return bank.SUPPLY.require(self.state, "sahara").burned

    def subject(self, view: int, block: int = 1, epoch: int = 0) -> Proposal:
        return Proposal(epoch, view, view - 1, bytes([block]) * 32, bytes(32))

    def vote(
        self, kind: Tag, number: int, subject: Proposal | Nullified, genesis: bytes | None = None
    ) -> Any:
        """The signed vote of an account that is a member of the subject's epoch."""
        members = staking.members_of(self.state, subject.epoch)
        index = [member.account for member in members].index(self.accounts[number])
        digest = vote_digest(kind, genesis or self.genesis.hash, subject)
        return VOTES[kind](subject, Vote(index, self.keys[number].sign(digest).signature))

    def double_vote(self, number: int, view: int = 7, epoch: int = 0) -> Conflict:
        """E1: two notarizations in one view."""
        votes = [
            self.vote(Tag.NOTARIZE, number, self.subject(view, block, epoch)) for block in (1, 2)
        ]
        return Conflict(*votes)

    def certificate(self, kind: Tag, numbers: Sequence[int], view: int = 1, epoch: int = 0) -> Any:
        """A certificate with the votes of these accounts."""
        subject = Nullified(epoch, view) if kind == Tag.NULLIFY else self.subject(view, 1, epoch)
        votes: list[SignedVote] = [self.vote(kind, number, subject) for number in numbers]
        rows = sorted([vote.vote for vote in votes], key=lambda vote: vote.validator)
        return CERTIFICATES[kind](subject, tuple(rows))


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Network]:
    """The class: call it for a network of stakers."""
    return Network


@pytest.fixture
def network() -> Network:
    """Four validators of 1,000 grains, six more accounts, epochs of five blocks."""
    return Network()
