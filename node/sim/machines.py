"""The choice of application: counters, or the whole state machine."""

from collections.abc import Callable
from dataclasses import dataclass

from node.sim.machine import Counter, Executed, Machine
from node.sim.scenario import Options
from state.finality import ValidatorSet
from state.types import Hash


@dataclass(frozen=True)
class Machines:
    """What genesis gives, and how a node's application is made."""

    genesis: Executed
    make: Callable[[Hash], Machine]


def machines_of(options: Options, members: ValidatorSet) -> Machines:
    """Return the application that `--app` asks for."""
    if options.app == "full":
        from node.sim.full import full_machines

        return Machines(*full_machines(options, members))
    return Machines(Counter(bytes(32)).genesis(), Counter)
