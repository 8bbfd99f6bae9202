"""The application of `--app full`: that of a node, over a database in memory, in every node.

Blocks are built, executed and committed by node/application.py with every invariant of the state
machine on; what consensus finds of evidence waits in the node's own pool until a leader reports it,
and the sets of epochs are those that staking fixes. A crash leaves what the database holds.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from random import Random

from consensus.effects import BuildBlock, CommitBlock, ExecuteBlock
from consensus.inputs import Tip
from consensus.settings import Judgement
from node.application import Application
from node.bodies import VerifiedWires
from node.evidence_pool import EvidencePool
from node.sim.elections import Elections
from node.sim.machine import Built, Executed, Machine
from node.sim.scenario import Scenario
from node.sim.signatures import Scheme
from node.sim.stakers import make_genesis, make_members
from node.sim.traffic import Traffic
from node.sim.world import World
from node.storage.chain_store import ChainStore
from node.storage.kv import MemoryStore
from state.block import Body
from state.codec import encode
from state.crypto import SignatureClaim
from state.errors import InvalidBlock
from state.finality import Evidence, Header, ValidatorSet
from state.genesis import Genesis
from state.modules.staking.queries import SlashView, slashes, validators
from state.modules.staking.records import Standing
from state.types import Address, Hash

# what simulated nodes log is no news to whoever simulates them: reports tell it
logging.getLogger("sahara").addHandler(logging.NullHandler())

BODIES_KEPT_MAX = 16
"""Bodies of its own that a Byzantine leader can make rivals of."""
REPORT_CHANCE = 0.25
"""How often a leader has somebody report by transaction what it could put into the body."""


@dataclass(frozen=True)
class ByScheme:
    """Claims of signatures that the run's own scheme accepts, of which some are no Ed25519."""

    scheme: Scheme

    def __contains__(self, claim: object) -> bool:
        """Verify a claim."""
        assert isinstance(claim, tuple), "claims are asked for"
        key, digest, signature = claim
        given: SignatureClaim = (key, digest, signature)
        return all(self.scheme.verify_many([given]))


class SignedByAll(VerifiedWires):
    """Transactions of a whole run, of which one node's final ones are still to come to others."""

    def forget(self, wire: bytes) -> None:
        """Keep it: who has yet to execute it could not verify what the run's scheme signed."""


@dataclass(frozen=True)
class Shared:
    """What the applications of all nodes of a run have in common."""

    genesis: Genesis
    genesis_hash: Hash
    traffic: Traffic
    signed: VerifiedWires
    claims: ByScheme


class FullMachine:
    """The application and the evidence pool of one simulated node."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._rows = MemoryStore()
        self._own: OrderedDict[Hash, Body] = OrderedDict()
        self._open()

    def _open(self) -> None:
        shared = self._shared
        self.store = ChainStore(self._rows, shared.genesis)
        self.application = Application(
            self.store,
            shared.genesis,
            invariants_every_blocks=1,
            timed=lambda _: nullcontext(),
            known=shared.signed,
            known_claims=shared.claims,
        )
        self._evidence = EvidencePool(self.store.finality, shared.genesis_hash, shared.claims)

    def members(self, epoch: int) -> ValidatorSet:
        """Return the validator set of an epoch that is fixed here."""
        members = self.store.finality.members(epoch)
        assert members is not None, "sets are stored when their epoch is fixed"
        return members

    def build(self, wanted: BuildBlock, salt: bytes) -> Built:
        """Choose transactions, and take late votes and evidence in, as a node does."""
        application, traffic = self.application, self._shared.traffic
        state = application.state_after(wanted.parent_id)
        evidence = self._evidence.choose(state, wanted.height)
        chance = Random(salt)
        reports: tuple[Evidence, ...] = ()
        if chance.random() < REPORT_CHANCE:
            reports, evidence = evidence, ()
        transactions = traffic.make(state, wanted.height, chance, reports)
        built = application.build(wanted.parent_id, transactions, wanted.late, evidence)
        self._own[built.tx_root] = Body((), wanted.late, evidence)
        if len(self._own) > BODIES_KEPT_MAX:
            self._own.popitem(last=False)
        return Built(built.body, built.tx_root, built.evidence_root, built.params_hash)

    def rival(self, header: Header, salt: bytes) -> Built:
        """Return another body for a header: other transactions, the same votes and evidence."""
        own = self._own.get(header.tx_root, Body(()))
        made = self._shared.traffic.make(self.application.state, header.height, Random(salt))
        body = Body(tuple([one.wire for one in made]), own.late, own.evidence)
        return Built(encode(body), body.root, body.evidence_root, header.params_hash)

    def judge(self, header: Header, body: bytes) -> Judgement:
        """Hold a body against its header and the static rules."""
        return self.application.bodies.judge(header, body)

    def judge_over_parent(self, header: Header, block_id: Hash, body: bytes) -> bool:
        """Tell whether a block may be executed over its parent."""
        return self.application.judge_over_parent(header, block_id, body)

    def execute(self, wanted: ExecuteBlock) -> Executed:
        """Execute a block over its parent, with every invariant."""
        try:
            done = self.application.execute(
                wanted.header, wanted.block_id, wanted.justify, wanted.body
            )
        except InvalidBlock:
            return Executed(False)
        return Executed(True, done.state_root, done.outcomes_root, done.changed)

    def found(self, evidence: Evidence) -> None:
        """Keep evidence until it is on the chain."""
        self._evidence.add(evidence)

    def commit(self, effect: CommitBlock) -> None:
        """Make an executed block final."""
        header = effect.header
        self.application.commit(header, effect.block_id, effect.finalization)
        self._evidence.committed(self.application.state, header.height + 1)

    def slashes(self) -> list[SlashView]:
        """Return who was slashed up to the last final block."""
        return slashes(self.application.context)

    def punished(self) -> list[Address]:
        """Return who was slashed or is out."""
        rows = validators(self.application.context)
        out = [row.account for row in rows if row.standing == Standing.TOMBSTONED]
        return [*out, *[view.validator for view in self.slashes()]]

    def kind_of(self, wire: bytes) -> str:
        """Return the names of a transaction's messages."""
        decoder, bytes_max = self.application.decoder, self._shared.genesis.params.fees
        transaction = decoder.decode(wire, bytes_max=bytes_max.transaction_bytes_max)
        return "+".join([type(message).__name__ for message in transaction.body.messages])

    def restart(self) -> None:
        """Open the database again: what is not in it is gone."""
        self._open()


def full_machines(
    scenario: Scenario, scheme: Scheme, world: World
) -> tuple[Tip, Hash, Elections, Callable[[], Machine]]:
    """Return genesis, its hash, the elections of the run, and what makes a node's application."""
    everyone = make_members(scenario, scheme)
    genesis = make_genesis(scenario, everyone, world.chance("latecomers"))
    genesis_hash = genesis.hash
    elections = Elections(scenario, everyone, world.chance("churn"))
    signed = SignedByAll({})
    traffic = Traffic(scenario, scheme, elections, genesis_hash, signed)
    shared = Shared(genesis, genesis_hash, traffic, signed, ByScheme(scheme))

    def make() -> Machine:
        return FullMachine(shared)

    first = FullMachine(shared)
    for epoch in (0, 1):
        elections.learn(epoch, first.members(epoch))
    return first.application.tip(), genesis_hash, elections, make
