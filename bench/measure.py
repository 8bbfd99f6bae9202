"""How the scripts here measure: rounds that interleave the contenders, medians, JSON.

The machines are shared and noisy. A figure therefore counts as a ratio to a limit measured in the
same run, and each ratio is taken within a round, where both sides met the same neighbours.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 9

Seconds = dict[str, list[float]]


def interleave(contenders: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> Seconds:
    """Wall seconds of every contender in every round, after one unmeasured round."""
    seconds: Seconds = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(above: list[float], below: list[float]) -> float:
    """The median over the rounds of above / below."""
    pairs = zip(above, below, strict=True)
    return round(statistics.median(one / other for one, other in pairs), 4)


def report(name: str, figures: Mapping[str, object], bar_met: bool) -> None:
    """Print the figures as JSON; a bar that is missed is exit code 1."""
    print(json.dumps({"bench": name, "rounds": ROUNDS, **figures, "bar_met": bar_met}, indent=2))
    if not bar_met:
        raise SystemExit(1)
