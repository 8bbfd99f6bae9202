"""The watch over a run: it hears everything, feeds trace, chronicle and measures, and reports."""

from dataclasses import dataclass, field

from consensus.effects import Blame, CommitBlock, Effect, EvidenceFound, Send
from consensus.inputs import EpochInfo, Peer
from consensus.messages import Message, Propose
from node.sim.checkers import FinalityIsKept, HonestVotes, Violation
from node.sim.chronicle import Chronicle, Final
from node.sim.measure import Measures
from node.sim.memory import excesses
from node.sim.reading import read_effect, read_message
from node.sim.replica import HALTED, Replica
from node.sim.scenario import Scenario
from node.sim.tracing import effect_digest
from node.sim.world import World
from state.errors import InvariantBroken
from state.finality import Evidence, Finalize, Misfit, Notarize, Nullify, offender
from state.types import Hash

VIOLATIONS_MAX = 100
STEPS_BETWEEN_LOOKS = 97

OwnVote = Notarize | Nullify | Finalize | Propose


@dataclass
class Watch:
    """Hears of every effect, send and delivery, and keeps what they mean."""

    world: World
    scenario: Scenario
    chronicle: Chronicle
    measures: Measures
    violations: list[Violation] = field(default_factory=list)
    roots: dict[int, dict[Hash, set[int]]] = field(default_factory=dict)
    refused: int = 0
    """Packets that were no message."""
    _steps: int = 0
    _read: set[bytes] = field(default_factory=set)
    _refused: set[tuple[int, Hash]] = field(default_factory=set)
    """Blocks that execution refused, with who executed them."""
    _halts: list[Violation] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Set up the checkers that watch a run as it goes."""
        self._honest = frozenset(self.scenario.honest)
        self._votes = HonestVotes(self.report)
        self._finality = FinalityIsKept(self.report)

    def report(self, violation: Violation) -> None:
        """Keep a violation, once."""
        if violation not in self.violations and len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(violation)

    def is_honest(self, replica: Replica) -> bool:
        """Tell whether a replica follows the protocol, alone under its key."""
        return replica.validator in self._honest

    @property
    def is_forked(self) -> bool:
        """Whether two blocks of one height are final."""
        return self.chronicle.is_forked

    def concluded(self) -> list[Violation]:
        """Return what was found as the run went on; before a fork, to halt is a failure."""
        return self.violations + ([] if self.is_forked else self._halts)

    # --- what replicas do -----------------------------------------------------------------------

    def effect(self, replica: Replica, effect: Effect) -> None:
        """A replica is about to carry out an effect."""
        if not isinstance(effect, Send):
            digest = effect_digest(effect)
            self.world.record("effect", replica.endpoint, -1, digest, effect)
        if not self.is_honest(replica):
            return
        if not read_effect(self.chronicle, effect):
            text = f"endpoint {replica.endpoint} keeps a certificate without a valid quorum"
            self._found(replica, "certificates-have-quorum", text)
        if isinstance(effect, CommitBlock):
            self._final(replica, effect)
        if isinstance(effect, EvidenceFound):
            self._accused(replica, effect.evidence)
        if isinstance(effect, Blame):
            self._blamed(replica, effect.peer)

    def _blamed(self, replica: Replica, peer: Peer) -> None:
        everyone = self.chronicle.rotas.everyone
        if peer in {everyone[each].public_key for each in self._honest}:
            text = f"endpoint {replica.endpoint} blames an honest peer {peer.hex()[:8]}"
            self._found(replica, "honest-never-blamed", text)

    def _accused(self, replica: Replica, evidence: Evidence) -> None:
        vote = evidence.vote if isinstance(evidence, Misfit) else evidence.first
        accused = self.chronicle.rotas.validator(vote.subject.epoch, offender(evidence))
        if accused in self._honest:
            text = f"endpoint {replica.endpoint} accuses honest {accused}"
            self._found(replica, "honest-commit-no-offence", text)

    def sends(self, replica: Replica, to: bytes, message: Message) -> None:
        """A replica lets go of a message."""
        if isinstance(message, Propose) and self._is_own(replica, message):
            now_us = replica.ready_us
            self.measures.proposed(message.proposal.block_id, replica.validator, now_us)
        if not self.is_honest(replica):
            return
        if not read_message(self.chronicle, message):
            text = f"endpoint {replica.endpoint} sends a worthless {type(message).__name__}"
            self._found(replica, "certificates-have-quorum", text)
        match message:
            case Notarize() | Nullify() | Finalize() | Propose():
                if self._is_own(replica, message):
                    self._own_vote(replica, message)

    def _is_own(self, replica: Replica, message: OwnVote) -> bool:
        subject = message.proposal if isinstance(message, Propose) else message.subject
        return message.vote.validator == replica.index(subject.epoch)

    def lost(self, replica: Replica) -> None:
        """A replica has lost its journal and guard, perhaps all."""
        self.world.record("lost", replica.endpoint, -1, b"", None)
        self._votes.lost(replica.validator)

    def _own_vote(self, replica: Replica, message: OwnVote) -> None:
        who = f"endpoint {replica.endpoint}"
        if message.vote.signature not in replica.storage.durable:
            text = f"{who} sends a {type(message).__name__} that its journal does not hold"
            self._found(replica, "durable-before-send", text)
        if isinstance(message, Propose):
            message = Notarize(message.proposal, message.vote)
        if isinstance(message, Notarize):
            self._notarized(replica, message)
        self._votes.signed(replica.validator, message)
        if isinstance(message, Finalize) and not self._is_durable(replica, message):
            text = (
                f"{who} finalizes {message.subject.block_id.hex()[:8]} without its blocks on disk"
            )
            self._found(replica, "durable-before-send", text)

    def begins(self, replica: Replica, epoch: EpochInfo) -> None:
        """A replica begins an epoch: its application has the sets that all others have."""
        if not self.is_honest(replica):
            return
        sets = ((epoch.epoch, epoch.validators), (epoch.epoch + 1, epoch.next_validators))
        for number, members in sets:
            if not self.chronicle.rotas.learn(number, members) and not self.is_forked:
                text = f"endpoint {replica.endpoint} has another set for epoch {number}"
                self._found(replica, "sets-as-scheduled", text)

    def _is_durable(self, replica: Replica, message: Finalize) -> bool:
        """Tell whether a block and its unfinal ancestors are on the replica's disk (settled 1)."""
        block_id = message.subject.block_id
        while not replica.ledger.holds(block_id):
            header = self.chronicle.headers.get(block_id)
            if block_id not in replica.storage.durable_blocks or header is None:
                return False
            block_id = header.parent_id
        return True

    def failed(self, replica: Replica, reason: str) -> None:
        """A replica's engine raised, or halted."""
        self.world.record("failed", replica.endpoint, -1, reason.encode()[:64], reason)
        if self.is_honest(replica) and not self.is_forked:
            is_state = reason.startswith(InvariantBroken.__name__)
            name = "application-invariants" if is_state else "engine-never-fails"
            text = f"endpoint {replica.endpoint}: {reason}"
            if reason.startswith(HALTED):
                # Whoever learns of a fork halts, perhaps before it is known here for one.
                self._halts.append(Violation(name, 0, f"{text} at {self.world.now_ms} ms"))
            else:
                self._found(replica, name, text)

    def _final(self, replica: Replica, effect: CommitBlock) -> None:
        header = effect.header
        final = Final(header.height, effect.block_id, replica.endpoint)
        self.chronicle.add_final(final, replica.validator)
        self._finality.final(replica.endpoint, header.height, effect.block_id, header.view)
        roots = self.roots.setdefault(header.height - 1, {})
        roots.setdefault(replica.ledger.tip.state_root, set()).add(replica.validator)
        now_us = replica.ready_us
        self.measures.finalized(header.height, effect.block_id, replica.validator, now_us)

    def remembers(self, replica: Replica, view_highest: int) -> None:
        """Look now and then at how much a replica that is up remembers."""
        self._steps += 1
        if self._steps % STEPS_BETWEEN_LOOKS == 0:
            for text in excesses(replica, view_highest):
                self._found(replica, "bounded-memory", f"endpoint {replica.endpoint}: {text}")

    def executed(self, replica: Replica, block_id: Hash, *, is_valid: bool) -> None:
        """A replica has executed a block, which it was asked for before any vote for it (R3)."""
        if not is_valid and self.is_honest(replica):
            self._refused.add((replica.endpoint, block_id))

    def _notarized(self, replica: Replica, vote: Notarize) -> None:
        if (replica.endpoint, vote.subject.block_id) in self._refused:
            text = f"endpoint {replica.endpoint} notarizes what its own execution refuses"
            self._found(replica, "notarizes-what-holds", text)

    # --- what the network brings ----------------------------------------------------------------

    def delivered(self, replica: Replica, sender: int, digest: bytes, message: Message) -> None:
        """A message reaches a replica that is up."""
        self.world.record("deliver", replica.endpoint, sender, digest, message)
        if digest not in self._read and self.is_honest(replica):
            self._read.add(digest)
            read_message(self.chronicle, message)

    def _found(self, replica: Replica, invariant: str, text: str) -> None:
        view = replica.engine.core.epoch.view if replica.is_up else 0
        self.report(Violation(invariant, view, f"{text} at {self.world.now_ms} ms"))
