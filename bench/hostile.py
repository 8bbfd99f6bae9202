"""Four validators, one under every attack in turn: blocks during and after, memory and handles.

`python -m bench.hostile [--seconds 30] [--only NAME]`. First strangers and peers attack one of
four; then the keys of a fourth are sold, and whoever has them attacks one of the other three. The
tests do the same for a second each.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.node.hostile.catalogue import ATTACKS
from tests.node.hostile.signed import SIGNED, sold
from tests.node.hostile.victim import RSS_MB_MAX, Figures, Victim, network

VALIDATORS = 4


async def attacked(names: Sequence[str], seconds: float) -> AsyncIterator[tuple[str, Figures]]:
    """Let each attack last so long; raises AssertionError when the node gives way."""
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / f"{stage}{at}" for stage in "ab" for at in range(VALIDATORS)]
        outside = [name for name in ATTACKS if name in names]
        inside = [name for name in SIGNED if name in names]
        if outside:
            async with network(homes[:VALIDATORS]) as group:
                victim = Victim(group)
                for name in outside:
                    yield name, await _endured(victim, partial(ATTACKS[name], victim), seconds)
        if inside:
            async with sold(homes[VALIDATORS:]) as (victim, traitor):
                for name in inside:
                    attack = partial(SIGNED[name], victim, traitor)
                    yield name, await _endured(victim, attack, seconds)


async def _endured(
    victim: Victim, attack: Callable[[float], Awaitable[None]], seconds: float
) -> Figures:
    return await victim.endures(partial(attack, seconds))


async def _run(names: Sequence[str], seconds: float) -> int:
    worst = 0
    async for name, figures in attacked(names, seconds):
        print(json.dumps({"attack": name, **asdict(figures)}), flush=True)
        worst = max(worst, figures.rss_mb_max)
    return worst


def main() -> None:
    """Run the attacks, and print what each came to."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", action="append", choices=[*ATTACKS, *SIGNED], metavar="NAME")
    wishes = parser.parse_args()
    worst = asyncio.run(_run(wishes.only or [*ATTACKS, *SIGNED], wishes.seconds))
    bar_met = worst <= RSS_MB_MAX
    print(json.dumps({"bench": "hostile", "rss_mb_max": worst, "bar_met": bar_met}))
    if not bar_met:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
