"""Chains of several validators whose sets change, made quickly over any store, for tests."""

from contextlib import nullcontext
from typing import Any

from consensus.links import normal_proposal
from consensus.validators import Validators
from node.application import Application
from node.client import Account
from node.storage.chain_store import ChainStore
from node.storage.kv import KeyValueStore, MemoryStore
from state.crypto import Tag
from state.finality import (
    Finalization,
    Header,
    Justify,
    Notarization,
    Nullification,
    Nullified,
    Proposal,
    ValidatorSet,
    Vote,
    boundary_height,
    justify_hash,
    set_hash,
    vote_digest,
)
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.bank import Transfer
from state.modules.staking.delegating import Delegate
from state.params import Params, StakingParams
from state.transaction import Body

EPOCH_BLOCKS = 8
KEYS = [Account.from_seed(bytes([number]) * 32) for number in range(11, 15)]


def genesis_of(epoch_blocks: int) -> Genesis:
    """Return a network of four validators."""
    times = StakingParams(epoch_blocks=epoch_blocks, unbonding_blocks=1_000, evidence_blocks=200)
    return Genesis(
        "sync",
        0,
        Params(staking=times),
        tuple([Allocation(key.address, 10**15) for key in KEYS]),
        tuple([GenesisValidator(key.public_key, key.address, 10**12) for key in KEYS]),
    )


GENESIS = genesis_of(EPOCH_BLOCKS)
LONG = genesis_of(100)
BY_KEY = {key.public_key: key for key in KEYS}


class Chain:
    """A chain over a store; `grow` makes blocks that every honest node would accept.

    Each has a transfer and every third a delegation, so that the set is another one in each epoch.
    Every fifth view is nullified, every fourth block becomes final with a descendant only, and
    every second boundary is proposed again before it becomes final.
    """

    def __init__(self, store: KeyValueStore | None = None, genesis: Genesis = GENESIS) -> None:
        self.rows = MemoryStore() if store is None else store
        self.store = ChainStore(self.rows, genesis)
        self.genesis = genesis
        self.application = Application(
            self.store, genesis, invariants_every_blocks=1, timed=lambda _: nullcontext()
        )
        self.parent: Notarization | Finalization | None = None
        """The certificate of the head."""
        self.view = 0
        self.nonce = 0

    @property
    def height(self) -> int:
        return self.application.head.header.height

    def grow(self, blocks: int) -> "Chain":
        for _ in range(blocks):
            self._step()
        return self

    def sign(
        self, tag: Tag, subject: Proposal | Nullified, members: ValidatorSet, voters: int = 0
    ) -> tuple[Vote, ...]:
        """Return votes of all members, or of the first `voters`."""
        digest = vote_digest(tag, self.genesis.hash, subject)
        chosen = members[: voters or len(members)]
        return tuple(
            [Vote(at, BY_KEY[one.public_key].sign(digest)) for at, one in enumerate(chosen)]
        )

    def transactions(self, height: int) -> list[Any]:
        """Return what the block of a height holds."""
        messages: list[Any] = [Transfer(bytes([height % 250]) * 20, height)]
        if height % 3 == 0:
            messages.append(Delegate(KEYS[height % 4].address, 10**11 + height))
        found = []
        for message in messages:
            self.nonce += 1
            body = Body(KEYS[0].address, self.nonce, height + 9, 10**6, (message,))
            wire, _ = KEYS[0].sign_body(body, self.genesis.hash)
            found.append(self.application.decoder.decode(wire, bytes_max=2**17))
        return found

    def _step(self) -> None:
        application = self.application
        head, info = application.head, application.epoch_info()
        height = head.header.height + 1
        members = info.validators
        if head.header.height % application.epoch_blocks == 0:
            self.view = 0
            self.parent = head.finalization
        parent_view = self.view
        skipped: tuple[Nullification, ...] = ()
        self.view += 1
        if self.view % 5 == 0:
            skipped = (self._nullified(info.epoch, self.view, members),)
            self.view += 1
        justify = Justify(self.parent, skipped)
        built = application.build(head.block_id, self.transactions(height))
        validators = Validators(members, info.boundary.block_id)
        header = Header(
            height=height,
            epoch=info.epoch,
            view=self.view,
            parent_view=parent_view,
            parent_id=head.block_id,
            time_ms=self.genesis.time_ms + height,
            proposer=validators.leader_of(self.view).account,
            tx_root=built.tx_root,
            evidence_root=built.evidence_root,
            justify_hash=justify_hash(justify),
            state_root=head.state_root,
            outcomes_root=head.outcomes_root,
            validators_hash=set_hash(members),
            next_validators_hash=set_hash(info.next_validators),
            params_hash=built.params_hash,
        )
        application.execute(header, header.id, justify, built.body)
        proposal = normal_proposal(header, header.id)
        final: Finalization | None = None
        is_last = height == boundary_height(info.epoch, application.epoch_blocks)
        if is_last and info.epoch % 2:
            proposal = self._propose_again(proposal, members)
        elif is_last:
            self.store.finality.keep_link(proposal, justify)
        if is_last or height % 4:
            final = Finalization(proposal, self.sign(Tag.FINALIZE, proposal, members))
        notarized = Notarization(proposal, self.sign(Tag.NOTARIZE, proposal, members))
        self.parent = notarized if final is None or height % 2 else final
        application.commit(header, header.id, final)

    def _nullified(self, epoch: int, view: int, members: ValidatorSet) -> Nullification:
        subject = Nullified(epoch, view)
        return Nullification(subject, self.sign(Tag.NULLIFY, subject, members))

    def _propose_again(self, first: Proposal, members: ValidatorSet) -> Proposal:
        """Let the boundary become final only in the second view after it is proposed again."""
        notarized = Notarization(first, self.sign(Tag.NOTARIZE, first, members))
        skipped = (self._nullified(first.epoch, first.view + 1, members),)
        justify = Justify(notarized, skipped)
        again = Proposal(
            first.epoch, first.view + 2, first.view, first.block_id, justify_hash(justify)
        )
        self.store.finality.keep_link(again, justify)
        return again


def same(one: ChainStore, other: ChainStore, epoch_blocks: int = EPOCH_BLOCKS) -> None:
    """Hold a store against one that may be higher: blocks, certificates, links, sets, roots."""
    assert one.head is not None and other.head is not None
    top = one.head.header.height
    if top < other.head.header.height:
        assert one.head.state_root == other.header(top + 1).header.state_root
        assert one.head.outcomes_root == other.header(top + 1).header.outcomes_root
    else:
        assert one.head.state_root == other.head.state_root
    for height in range(1, top + 1):
        assert one.header(height).block_id == other.header(height).block_id
        assert one.body_data(height) == other.body_data(height)
        digest = one.header(height).header.justify_hash
        assert one.finality.justify(digest) == other.finality.justify(digest) is not None
        assert one.result(height) == other.result(height)
    epoch = top // epoch_blocks
    for number in range(epoch + 2):
        assert one.finality.members(number) == other.finality.members(number)
    for number in range(epoch + 1):
        here, there = one.finality.boundary(number), other.finality.boundary(number)
        assert here is not None and here == there
        if number:
            _linked(one, number - 1)
            _linked(other, number - 1)


def _linked(store: ChainStore, epoch: int) -> None:
    """The chain of links leads from the boundary's finalization to its first proposal."""
    boundary = store.finality.boundary(epoch + 1)
    assert boundary is not None and boundary.finalization is not None
    at = boundary.finalization.subject
    kept = {proposal: justify for proposal, justify in store.finality.links(epoch, 0, 10_000)}
    while at.view != boundary.header.view:
        parent = kept[at].parent
        assert parent is not None and isinstance(parent.subject, Proposal)
        at = parent.subject
    assert store.finality.justify(at.justify_hash) is not None, "the first proposal's own"
