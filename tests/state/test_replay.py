"""Replay: other hash seeds and the pure kernels give the same bytes at every height.

This file is also the program that the test runs: it executes one seeded stream of blocks and
prints a digest of all changes, the outcomes root and the state root of every height.
"""

import hashlib
import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cython_ext
from state import tree
from state.block import Status
from state.modules.bank import Burn, Transfer
from state.modules.staking import ClaimRewards, Delegate, Undelegate
from state.params import FeeParams, Params, StakingParams
from state.registry import Message

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
HEIGHTS = 25
SEED = 20_230


def load_chain() -> Any:
    """The chain in memory that the tests use, without pytest."""
    spec = importlib.util.spec_from_file_location("chain_in_memory", HERE.with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Chain


def draw(chance: random.Random, chain: Any) -> Message:
    """One message; about a third of them fail."""
    address = chain.address(chance.randrange(8))
    validator = chain.address(chance.choice((0, 0, 0, 1)))
    amount = 10 ** chance.randrange(1, 16)
    return chance.choice(
        [
            Transfer(address, amount, memo=chance.randbytes(chance.randrange(9))),
            Burn(amount),
            Delegate(validator, amount),
            Undelegate(validator, amount),
            ClaimRewards(validator),
        ]
    )


def digests() -> list[str]:
    """Execute the stream; the kernels in use, then one line a height."""
    chance = random.Random(SEED)
    params = Params(
        fees=FeeParams(base_fee_start=9, block_weight_target=1_500),
        staking=StakingParams(unbonding_blocks=3, epoch_blocks=3, unbonding_entries_max=4),
    )
    chain = load_chain()(params)
    rows = chain.rows
    lines = [cython_ext.IMPLEMENTATION]
    statuses = set()
    for _ in range(HEIGHTS):
        wires = [
            chain.wire([draw(chance, chain) for _ in range(chance.randint(1, 3))], by=by)
            for by in chance.choices(range(8), k=chance.randrange(8))
        ]
        outcomes = chain.block(*wires)
        statuses |= {outcome.status for outcome in outcomes}
        after = chain.rows
        changes = [
            (key.hex(), after[key].hex() if key in after else None)
            for key in sorted(rows.keys() | after.keys())
            if rows.get(key) != after.get(key)
        ]
        told = [(o.tx_id.hex(), o.code, o.sentence, o.fee, o.weight) for o in outcomes]
        everything = repr((changes, told, chain.block_events, tree.rebuild(after.items()).hex()))
        lines.append(hashlib.sha256(everything.encode()).hexdigest())
        rows = after
    assert statuses >= {Status.OK, Status.FAILED}, "the stream has to succeed and to fail"
    return lines


def run(**environment: str) -> list[str]:
    """Execute the stream in a process of its own."""
    found = subprocess.run(
        [sys.executable, str(HERE)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    lines = found.stdout.split()
    assert lines[0] == (
        "pure" if "SAHARA_PURE_PYTHON" in environment else cython_ext.IMPLEMENTATION
    )
    return lines[1:]


@pytest.fixture(scope="module")
def reference() -> list[str]:
    return digests()[1:]


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "0"},
        {"PYTHONHASHSEED": "4294967295"},
        {"PYTHONHASHSEED": "1", "SAHARA_PURE_PYTHON": "1"},
    ],
    ids=["seed 0", "another seed", "pure kernels"],
)
def test_every_height_is_the_same(reference: list[str], environment: dict[str, str]) -> None:
    found = run(**environment)
    differing = [h for h, (a, b) in enumerate(zip(reference, found, strict=True), 1) if a != b]
    assert differing == []


def test_every_height_is_another(reference: list[str]) -> None:
    """Digests that never change would agree about nothing."""
    assert len(set(reference)) == len(reference) == HEIGHTS


if __name__ == "__main__":
    print("\n".join(digests()))
