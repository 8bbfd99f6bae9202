"""Building a run's cluster: genesis, replicas, Byzantine actors, and the network between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from consensus.inputs import Tip
from consensus.messages import Message, Propose, decode, encode
from consensus.settings import Settings
from node.fanout import fan_out
from node.signer import GuardedSigner, guard_head
from node.sim.byzantine import KINDS
from node.sim.byzantine.actor import Actor, Behaviour, Cohort
from node.sim.disk import DiskFaults
from node.sim.ledger import Ledger
from node.sim.machine import Machine
from node.sim.network import Network, Packet
from node.sim.replica import Costs, Disk, Engine, Meter, Parts, Replica
from node.sim.rotas import Rotas
from node.sim.scenario import Scenario
from node.sim.settings import PACING, timeouts_for
from node.sim.signatures import Scheme
from node.sim.storage import Storage
from node.sim.watch import Watch
from node.sim.world import US_PER_MS, World
from state.crypto import SignatureClaim, Tag, hash_bytes
from state.errors import Malformed
from state.finality import Nullified, Proposal, vote_digest
from state.types import Hash, PublicKey, Signature

MakeEngine = Callable[[Settings], Engine]
"""Makes an engine; tests give one with a rule switched off."""

GUARD_PATH = Path("guard")

SIGNATURE_US = 41
"""What verifying one signature costs, by measurement, when time is charged for work."""
MESSAGE_US = 60
"""What handling one message costs beside its signatures: 35 in the engine, the rest before it."""


@dataclass(frozen=True)
class SimulatedKey:
    """A validator's key, as the guarded signer wants it."""

    public_key: PublicKey
    sign: Callable[[Hash], Signature]


@dataclass
class Cluster:
    """Everyone in a run; the endpoint's number is the place in each list."""

    world: World
    scenario: Scenario
    scheme: Scheme
    rotas: Rotas
    genesis: Tip
    genesis_hash: Hash
    make_engine: MakeEngine
    make_machine: Callable[[], Machine]
    replicas: list[Replica] = field(default_factory=list)
    behaviours: dict[int, Behaviour] = field(default_factory=dict)
    network: Network = field(init=False)
    watch: Watch = field(init=False)
    on_power_failure: Callable[[Replica], None] = field(init=False)
    on_step: Callable[[Replica], None] = field(init=False)
    _orders: dict[int, list[Replica]] = field(default_factory=dict)
    _packets: tuple[Message | None, Packet | None] = (None, None)

    # --- building -------------------------------------------------------------------------------

    def build(self) -> None:
        """Make every replica and every actor; nothing runs yet."""
        honest = tuple(self.scenario.honest)
        cohort = Cohort(self.world.chance("cohort"), len(self.scenario.endpoints), honest)
        for endpoint, validator in enumerate(self.scenario.endpoints):
            self.replicas.append(self._replica(endpoint, validator))
            kind = self.scenario.byzantine.get(validator)
            if kind is not None:
                actor = self._actor(endpoint, validator, cohort)
                actor.behaviour = self.behaviours[endpoint] = KINDS[kind](actor)
                cohort.actors.append(actor)

    def _replica(self, endpoint: int, validator: int) -> Replica:
        world, options = self.world, self.scenario.options
        disk = DiskFaults(world.chance(f"disk {endpoint}"), options.disk_faults)
        key = SimulatedKey(self.scheme.keys[validator], self.scheme.signers[validator])

        def make_engine(meter: Meter, machine: Machine) -> Engine:
            return self.make_engine(self._settings(key.public_key, machine, meter))

        def make_disk() -> Disk:
            machine = self.make_machine()
            ledger = Ledger(self.rotas, machine.members, options.epoch_length, self.genesis)
            return Disk(machine, ledger, make_storage())

        def make_storage() -> Storage:
            return Storage(disk, guard_head(key.public_key, self.genesis_hash))

        def open_signer(storage: Storage) -> GuardedSigner:
            return GuardedSigner(key, GUARD_PATH, self.genesis_hash, storage.open_guard)

        return Replica(
            Parts(
                world=world,
                endpoint=endpoint,
                validator=validator,
                public_key=key.public_key,
                make_engine=make_engine,
                open_signer=open_signer,
                index=lambda epoch: self.rotas.index(epoch, validator),
                make_disk=make_disk,
                make_storage=make_storage,
                faults=disk,
                watcher=self.watch,
                transmit=self.transmit,
                on_power_failure=lambda replica: self.on_power_failure(replica),
                on_step=lambda replica: self.on_step(replica),
                epoch_blocks=options.epoch_length,
                costs=Costs(MESSAGE_US, SIGNATURE_US) if options.cpu_cost else Costs(),
            )
        )

    def _settings(self, public_key: PublicKey, machine: Machine, meter: Meter) -> Settings:
        verify_many = self.scheme.verify_many

        def verify(claims: Sequence[SignatureClaim]) -> list[bool]:
            meter.signatures += len(claims)
            return verify_many(claims)

        return Settings(
            genesis_hash=self.genesis_hash,
            epoch_blocks=self.scenario.options.epoch_length,
            public_key=public_key,
            verify=verify,
            judge_body=machine.judge,
            judge_over_parent=machine.judge_over_parent,
            timeouts=timeouts_for(self.scenario.delta_ms),
            pacing=PACING,
        )

    def _actor(self, endpoint: int, validator: int, cohort: Cohort) -> Actor:
        sign = self.scheme.signers[validator]

        def raw_sign(kind: Tag, subject: Proposal | Nullified) -> Signature:
            return sign(vote_digest(kind, self.genesis_hash, subject))

        def later(delay_ms: int, action: Callable[[], None]) -> None:
            self.world.after(delay_ms * US_PER_MS, action)

        return Actor(
            endpoint=endpoint,
            index=lambda epoch: self.rotas.index(epoch, validator),
            account=self.rotas.everyone[validator].account,
            chance=self.world.chance(f"actor {endpoint}"),
            cohort=cohort,
            raw_sign=raw_sign,
            rival=self.replicas[endpoint].machine.rival,
            executed=lambda block_id: self.replicas[endpoint].ledger.candidate(block_id),
            is_quorum=self.rotas.is_quorum_of,
            send=lambda to, message: self._send(endpoint, to, message),
            send_bytes=lambda to, data: self.network.send(endpoint, to, noise_packet(data)),
            later=later,
            delta_ms=self.scenario.delta_ms,
        )

    # --- messages -------------------------------------------------------------------------------

    def transmit(self, endpoint: int, to: PublicKey, message: Message) -> None:
        """Send what a replica's engine wants sent, through its behaviour where it has one."""
        digest = b"Send" + to[:16] + self._packet(message).digest
        self.world.record("effect", endpoint, -1, digest, message)
        order = self._order(endpoint) if isinstance(message, Propose) else self.replicas
        targets = [
            replica.endpoint
            for replica in order
            if replica.endpoint != endpoint and (not to or replica.public_key == to)
        ]
        behaviour = self.behaviours.get(endpoint)
        if not targets:
            return
        if behaviour is not None:
            behaviour.outgoing(targets, message)
            return
        for target in targets:
            self._send(endpoint, target, message)

    def _order(self, endpoint: int) -> list[Replica]:
        """Return everybody in the order in which a proposal is sent to them."""
        if endpoint not in self._orders:
            validators = self.scenario.endpoints
            delays_us = self.scenario.latency.matrix_us[validators[endpoint]]
            to = [delays_us[validator] for validator in validators]
            stakes = [self.scenario.stakes[validator] for validator in validators]
            self._orders[endpoint] = [self.replicas[at] for at in fan_out(to, stakes, endpoint)]
        return self._orders[endpoint]

    def _send(self, endpoint: int, target: int, message: Message) -> None:
        at_us = self.replicas[endpoint].ready_us
        packet = self._packet(message)
        if at_us > self.world.now_us:
            self.world.at(at_us, lambda: self.network.send(endpoint, target, packet))
        else:
            self.network.send(endpoint, target, packet)

    def _packet(self, message: Message) -> Packet:
        """Return the packet of a message; who sends to many encodes once."""
        last, packet = self._packets
        if last is message and packet is not None:
            return packet
        data = encode(message)
        packet = Packet(message, hash_bytes(Tag.BATCH, data)[:16], len(data))
        self._packets = (message, packet)
        return packet

    def deliver(self, receiver: int, sender: int, packet: Packet) -> None:
        """A packet arrives; whoever is down misses it."""
        replica = self.replicas[receiver]
        if not replica.is_up:
            return
        message = packet.message
        if isinstance(message, bytes):
            self.world.record("noise", receiver, sender, packet.digest, None)
            try:
                message = decode(message)
            except Malformed:
                self.watch.refused += 1
                return
        self.watch.delivered(replica, sender, packet.digest, message)
        behaviour = self.behaviours.get(receiver)
        if behaviour is not None:
            behaviour.incoming(message)
        replica.deliver(self.replicas[sender].public_key, message)


def noise_packet(data: bytes) -> Packet:
    """Return a packet of bytes that may mean nothing."""
    return Packet(data, hash_bytes(Tag.BATCH, data)[:16], len(data))
