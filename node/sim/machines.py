"""The choice of application: counters, or the whole state machine; and who validates by it."""

from collections.abc import Callable
from dataclasses import dataclass

from consensus.inputs import Tip
from node.sim.machine import GENESIS_ROOT, PARAMS_HASH, Counter, Machine
from node.sim.rotas import Rotas
from node.sim.scenario import Scenario
from node.sim.signatures import Scheme
from node.sim.world import World
from state.crypto import Tag, hash_bytes
from state.finality import Header, Validator, ValidatorSet, evidence_root, set_hash
from state.types import Hash


@dataclass(frozen=True)
class Machines:
    """What all nodes begin with, and how one's application is made."""

    genesis: Tip
    genesis_hash: Hash
    rotas: Rotas
    make: Callable[[], Machine]


def machines_of(scenario: Scenario, scheme: Scheme, world: World) -> Machines:
    """Return the application that `--app` asks for."""
    if scenario.options.app == "full":
        from node.sim.full import full_machines

        return Machines(*full_machines(scenario, scheme, world))
    members = _make_members(scenario, scheme)
    rotas = Rotas(scenario, members, world.chance("churn"))
    genesis = _genesis_tip(members)

    def make() -> Machine:
        return Counter(genesis.block_id, rotas.members)

    return Machines(genesis, hash_bytes(Tag.GENESIS, b"simulation"), rotas, make)


def _make_members(scenario: Scenario, scheme: Scheme) -> ValidatorSet:
    """Return the validator set, in the order of indices."""
    return tuple(
        Validator(key, hash_bytes(Tag.ADDRESS, key)[:20], stake)
        for key, stake in zip(scheme.keys, scenario.stakes, strict=True)
    )


def _genesis_tip(members: ValidatorSet) -> Tip:
    """Return the block at height 0 and what it gave."""
    empty = bytes(32)
    header = Header(
        height=0,
        epoch=0,
        view=0,
        parent_view=0,
        parent_id=empty,
        time_ms=0,
        proposer=members[0].account,
        tx_root=empty,
        evidence_root=evidence_root(()),
        justify_hash=empty,
        state_root=empty,
        outcomes_root=empty,
        validators_hash=set_hash(members),
        next_validators_hash=set_hash(members),
        params_hash=PARAMS_HASH,
    )
    return Tip(header, header.id, GENESIS_ROOT, empty, True, None)
