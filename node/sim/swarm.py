"""Swarm: every seed draws its own options, so that a sweep meets combinations nobody thought of.

Each kind of fault is left out by some seeds and exaggerated by others, because faults that are
always on hide each other. What was drawn stands in the report, so a replay needs no drawing.
"""

from random import Random
from typing import Any

import msgspec

from node.sim.byzantine import KINDS
from node.sim.scenario import Options

COUNTS = {1: 1, 4: 5, 5: 4, 7: 4, 10: 2, 13: 2}
"""Validator counts, and how often each is drawn."""
UNDER_A_THIRD = 33.33
"""Percent of the stake; what is strictly below it is less than a third."""
VIEWS = (7, 17)
VIEWS_OF_FULL = (10, 24)
EPOCHS_OF_FULL = (2, 5)
FULL_CHANCE = 0.1
"""How often the whole state machine runs: enough views that sets change by it more than once."""


def draw_options(seed: int) -> Options:
    """Return the options that a seed stands for."""
    chance = Random(f"{seed}:swarm")
    count = _weighted(chance, COUNTS)
    full = chance.random() < FULL_CHANCE
    stakes = _stakes(chance, count)
    drawn: dict[str, Any] = {
        "seed": seed,
        "validators": count,
        "stakes": stakes,
        "views": chance.randint(*(VIEWS_OF_FULL if full else VIEWS)),
        "app": "full" if full else "none",
        "byzantine": _byzantine(chance, count),
        **_network(chance, count),
        **_faults(chance),
        **_epochs(chance, full=full),
    }
    return msgspec.convert(drawn, Options)


def _weighted(chance: Random, weights: dict[int, int]) -> int:
    return chance.choices(list(weights), list(weights.values()))[0]


def _often(chance: Random, probability: float, value: Any, otherwise: Any) -> Any:
    """Return `value` with this probability."""
    return value if chance.random() < probability else otherwise


def _stakes(chance: Random, count: int) -> str:
    form = chance.random()
    if form < 0.5:
        return "equal"
    if form < 0.75:
        return "zipf"
    return ",".join(str(chance.randint(1, 9)) for _ in range(count))


def _byzantine(chance: Random, count: int) -> str:
    """Draw nobody, one kind alone, or several: together up to just under a third of the stake."""
    form = chance.random()
    if form < 0.2 or count < 4:
        return ""
    if form < 0.6:
        return f"{chance.choice(sorted(KINDS))}:{UNDER_A_THIRD}%"
    several = chance.randint(2, max(2, (count - 1) // 3))
    share = round(UNDER_A_THIRD / several - 0.005, 2)
    return ",".join(f"{kind}:{share}%" for kind in chance.sample(sorted(KINDS), several))


def _network(chance: Random, count: int) -> dict[str, Any]:
    latency = chance.choice(["1", "10", "40", "lan", "wan"])
    return {
        "latency": latency,
        "jitter": _often(chance, 0.6, round(chance.uniform(0, 60), 1), 0.0),
        "loss": _often(chance, 0.5, _often(chance, 0.2, 0.5, round(chance.uniform(0, 0.2), 3)), 0),
        "duplicate": _often(chance, 0.4, round(chance.uniform(0, 0.5), 3), 0),
        "reorder": chance.random() < 0.5,
        "bandwidth": _often(chance, 0.15, round(chance.uniform(2, 50), 1), 0),
        "partition": _often(
            chance, 0.35, _often(chance, 0.8, "random", _cuts(chance, count)), "none"
        ),
        "cpu_cost": chance.random() < 0.15,
        "real_signatures": chance.random() < 0.04,
    }


def _cuts(chance: Random, count: int) -> str:
    """Draw two partitions of the first copies, one after the other."""
    cuts = []
    for first in (2, 9):
        order = list(range(count))
        chance.shuffle(order)
        cut = chance.randint(0, count)
        sides = "|".join(",".join(map(str, side)) for side in (order[:cut], order[cut:]))
        cuts.append(f"{sides}@{first}-{first + chance.randint(0, 5)}")
    return ";".join(cuts)


def _faults(chance: Random) -> dict[str, Any]:
    return {
        "crash": _often(chance, 0.45, round(chance.uniform(0, 0.12), 3), 0),
        "disk_faults": _often(chance, 0.35, round(chance.uniform(0, 0.04), 3), 0),
        "disk_loss": _often(chance, 0.2, round(chance.uniform(0, 0.1), 3), 0),
        "power_cut": _often(chance, 0.2, round(chance.uniform(0, 0.15), 3), 0),
    }


def _epochs(chance: Random, *, full: bool) -> dict[str, Any]:
    if full:
        return {"epoch_length": chance.randint(*EPOCHS_OF_FULL)}
    if chance.random() < 0.45:
        return {}
    length = chance.randint(2, 8)
    churn = _often(chance, 0.5, round(chance.uniform(0.2, 1), 2), 0)
    return {"epoch_length": length, "churn": churn}
