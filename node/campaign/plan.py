"""What a seed means: which failure comes next, whom it meets, and how long it lasts."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """A failure that a network has to bear."""

    KILL = "kill"
    """A minority is ended as by `kill -9`, and started again later."""
    PAUSE = "pause"
    """A minority stands still (SIGSTOP), and goes on later as if nothing had been."""
    RESTART = "restart"
    """A minority is stopped in order, and started again at once."""
    CUT = "cut"
    """A minority is cut off from everybody else."""
    ONEWAY = "oneway"
    """What one node sends arrives nowhere, while it hears the others; or the other way round."""
    SPLIT = "split"
    """The network falls into two parts, of whatever size."""
    BLACKOUT = "blackout"
    """Every node is killed at once."""
    FREEZE = "freeze"
    """Every node stands still at once, as when a laptop sleeps."""
    WIPE = "wipe"
    """One node is killed and loses its disk, but for keys, genesis and settings."""


MEETS_ALL = frozenset({Kind.BLACKOUT, Kind.FREEZE})
NEEDS_LINKS = frozenset({Kind.CUT, Kind.ONEWAY, Kind.SPLIT})
"""Failures of the network itself: only where nodes have namespaces."""

HOLD_SECONDS = {
    Kind.KILL: (2.0, 8.0),
    Kind.PAUSE: (10.0, 10.0),
    Kind.RESTART: (0.0, 0.0),
    Kind.CUT: (5.0, 15.0),
    Kind.ONEWAY: (5.0, 12.0),
    Kind.SPLIT: (5.0, 15.0),
    Kind.BLACKOUT: (0.5, 3.0),
    Kind.FREEZE: (5.0, 20.0),
    Kind.WIPE: (1.0, 5.0),
}
"""How long each lasts, at least and at most."""

PAUSE_SECONDS = (1.0, 4.0)
"""Between the recovery from one and the next."""


@dataclass(frozen=True, slots=True)
class Blow:
    """One failure to come: whom it meets, how long it lasts, and the quiet before it.

    `pairs` are the ways from node to node on which nothing arrives meanwhile.
    """

    kind: Kind
    nodes: tuple[int, ...]
    hold_seconds: float
    quiet_seconds: float
    pairs: tuple[tuple[int, int], ...] = ()


def minority_of(validators: int) -> int:
    """Return how many of equal stake may be away while the rest goes on."""
    return (validators - 1) // 3


def blows(
    seed: int, validators: int, kinds: Sequence[Kind], hold_seconds_max: float
) -> Iterator[Blow]:
    """Yield failures without end: each kind once in random order, then all again in another."""
    chance = random.Random(seed)
    while True:
        for kind in chance.sample(kinds, len(kinds)):
            least, most = HOLD_SECONDS[kind]
            hold = min(chance.uniform(least, most), hold_seconds_max)
            quiet = min(chance.uniform(*PAUSE_SECONDS), hold_seconds_max)
            nodes = _met(chance, kind, validators)
            yield Blow(kind, nodes, hold, quiet, _pairs(chance, kind, nodes, validators))


def _met(chance: random.Random, kind: Kind, validators: int) -> tuple[int, ...]:
    if kind in MEETS_ALL:
        return tuple(range(validators))
    most = {Kind.SPLIT: validators // 2, Kind.WIPE: 1, Kind.ONEWAY: 1}.get(
        kind, minority_of(validators)
    )
    return tuple(sorted(chance.sample(range(validators), chance.randint(1, most))))


def _pairs(
    chance: random.Random, kind: Kind, nodes: tuple[int, ...], validators: int
) -> tuple[tuple[int, int], ...]:
    if kind not in NEEDS_LINKS:
        return ()
    others = [other for other in range(validators) if other not in nodes]
    out = [(node, other) for node in nodes for other in others]
    back = [(other, node) for node, other in out]
    if kind is Kind.ONEWAY:
        return tuple(chance.choice((out, back)))
    return (*out, *back)
