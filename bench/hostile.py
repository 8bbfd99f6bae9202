"""Four validators, one under every attack in turn: blocks during and after, memory and handles.

`python -m bench.hostile [--seconds 30] [--only NAME]`. The tests do the same for a second each.
"""

import argparse
import asyncio
import json
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.node.hostile.catalogue import ATTACKS
from tests.node.hostile.victim import RSS_MB_MAX, Figures, Victim, network

VALIDATORS = 4


async def attacked(names: list[str], seconds: float) -> dict[str, Figures]:
    """Let each attack last so long; raises AssertionError when the node gives way."""
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with network([Path(folder) / f"n{at}" for at in range(VALIDATORS)]) as group:
            victim = Victim(group)
            for name in names:
                attack = partial(ATTACKS[name], victim, seconds)
                found[name] = await victim.endures(attack)
                print(json.dumps({"attack": name, **asdict(found[name])}), flush=True)
    return found


def main() -> None:
    """Run the attacks, and print what each came to."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", action="append", choices=list(ATTACKS))
    wishes = parser.parse_args()
    found = asyncio.run(attacked(wishes.only or list(ATTACKS), wishes.seconds))
    worst = max(one.rss_mb_max for one in found.values())
    print(json.dumps({"bench": "hostile", "rss_mb_max": worst, "bar_met": worst <= RSS_MB_MAX}))


if __name__ == "__main__":
    main()
