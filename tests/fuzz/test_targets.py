"""Every fuzzer's oracles hold for its seeds and some hundred mutations, without a fuzzer."""

import importlib
import random
import re
from pathlib import Path
from typing import Any

import pytest

from fuzz.http import SERVERS
from node.rpc import server
from node.rpc.limits import RpcLimits

ROOT = Path(__file__).resolve().parents[2]
MAIN = (ROOT / "fuzz" / "__main__.py").read_text()
TARGETS = re.findall(r'"(\w+)"', MAIN.partition("TARGETS: Final = (")[2].partition(")")[0])
ROUNDS = {"engine": 60, "sync": 25, "http": 150, "rpc": 250, "chain": 250}
SIZE_MAX = 4_096


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(f"fuzz.{request.param}")


def test_there_are_targets() -> None:
    assert len(TARGETS) >= 9
    helpers = {"__main__", "ledger", "mutation", "rows", "seeds", "stranger", "wires"}
    assert {path.stem for path in (ROOT / "fuzz").glob("*.py")} == {*TARGETS, *helpers}


def test_what_closes_at_once_in_a_fuzzer_does_so_nowhere_else() -> None:
    """Without a limit, aiohttp waits for ever for whoever does not close; 0 is no limit."""
    importlib.import_module("fuzz.http")
    assert server.CLOSE_SECONDS >= 1
    assert 0 < SERVERS.rpc._limits.close_seconds < RpcLimits().close_seconds


def test_oracles_hold(target: Any) -> None:
    seeds = target.seeds()
    for seed in seeds:
        target.check(seed)
    chance = random.Random(target.__name__)
    for _ in range(ROUNDS.get(target.__name__.rpartition(".")[2], 600)):
        data = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 2, 4))):
            data = target.mutate(data, SIZE_MAX, chance)
        target.check(data)
