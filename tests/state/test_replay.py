"""Replay: other hash seeds and the pure kernels give the same bytes at every height.

This file is also the program that the test runs: it executes seeded streams of blocks and
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
from state.codec import replace
from state.modules.bank import Burn, Transfer
from state.modules.datasets.pools import ClaimContribution, contributor_path
from state.modules.datasets.txs import OfferSubscription, SubscribeDataset
from state.modules.index import CreateIndex
from state.modules.inference.bonds import OperatorBond, OperatorUnbond
from state.modules.inference.channels import UniClose
from state.modules.inference.demands import AnswerLeaf, DemandLeaf
from state.modules.inference.disputes import DisputeLeaf
from state.modules.models.records import (
    DatasetRelation,
    DatasetUse,
    Parent,
    ParentRelation,
    Split,
)
from state.modules.staking import (
    ClaimRewards,
    Delegate,
    EditValidator,
    Redelegate,
    Undelegate,
    Unjail,
)
from state.params import FeeParams, Params, StakingParams
from state.registry import Message

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
HEIGHTS = 25
STEPS = 60
SEED = 20_230


def load(path: Path) -> Any:
    """A file of fixtures as a module, without pytest."""
    spec = importlib.util.spec_from_file_location(path.parent.name + "_fixtures", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHAIN = load(HERE.with_name("conftest.py")).Chain
CATALOGUE = load(HERE.parent / "modules" / "conftest.py").Catalogue
SHOP = load(HERE.parent / "modules" / "inference" / "conftest.py").Shop


class Recorded(CHAIN):
    """A chain that keeps a digest of everything that each of its blocks changed and said."""

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.lines: list[str] = []
        self.codes: set[str] = set()

    def block(self, *wires: bytes) -> Any:
        """Execute a block and add its line."""
        before = self.rows
        outcomes = super().block(*wires)
        after = self.rows
        changes = [
            (key.hex(), after[key].hex() if key in after else None)
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]
        told = [(o.tx_id.hex(), o.code, o.sentence, o.fee, o.weight) for o in outcomes]
        said = [bytes(event).hex() for outcome in outcomes for event in outcome.events]
        root = tree.rebuild(after.items()).hex()
        everything = repr((changes, told, said, self.block_events, root))
        self.lines.append(hashlib.sha256(everything.encode()).hexdigest())
        self.codes |= {outcome.code for outcome in outcomes}
        return outcomes


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
            Redelegate(validator, chain.address(1), amount),
            EditValidator(1_000, "m" * chance.randrange(9)),
            Unjail(),
        ]
    )


def coins() -> list[str]:
    """Execute a stream of transfers and stakes; one line a height."""
    chance = random.Random(SEED)
    params = Params(
        fees=FeeParams(base_fee_start=9, block_weight_target=1_500),
        staking=StakingParams(
            unbonding_blocks=3, epoch_blocks=1, evidence_blocks=1, unbonding_entries_max=4
        ),
    )
    chain = Recorded(params)
    for _ in range(HEIGHTS):
        wires = [
            chain.wire([draw(chance, chain) for _ in range(chance.randint(1, 3))], by=by)
            for by in chance.choices(range(8), k=chance.randrange(8))
        ]
        chain.block(*wires)
    assert len(chain.codes) > 3, "the stream has to succeed and to fail"
    assert len(chain.lines) == HEIGHTS
    return chain.lines


def register(chain: Any) -> bytes:
    """Datasets, a parent, and a model that derives from all of them; the model's id."""
    catalogue = CATALOGUE(chain)
    data = [catalogue.dataset(4, [(4, 3), (5, 4)]) for _ in range(2)]
    parent = catalogue.model(6, derivative_bps=700)
    uses = [
        DatasetUse(one, 1, DatasetRelation.TRAINED_ON, weight)
        for one, weight in zip(data, (3_333, 6_667), strict=True)
    ]
    lineage = [Parent(parent, 1, ParentRelation.FINETUNED_FROM)]
    split = Split(5_000, 2_800, 1_500, 700)
    model: bytes = catalogue.model(1, split, parents=lineage, datasets=uses)
    chain.accept(CreateIndex(model, 1, 0, 4, 10**9, 1_000, 0), by=1)
    chain.accept(OfferSubscription(data[0], 999, 5), by=4)
    chain.accept(SubscribeDataset(data[0], 3, 999, 5), by=3)
    path = tuple(contributor_path([(chain.address(4), 3), (chain.address(5), 4)], 1))
    chain.accept(ClaimContribution(data[0], 1, 1, 4, path), by=5)
    catalogue.price(model, 2, 5 * 10**9, 5 * 10**8, 20 * 10**9, 0)
    return model


class Calls(SHOP):
    """A payer and an operator of a model with a lineage."""

    def _register(self) -> bytes:
        return register(self.chain)


def serve(chance: random.Random, shop: Any) -> None:
    """One step of payer, operator or stranger; some are refused."""
    chain, lane = shop.chain, shop.lane()
    seq = chance.randint(1, max(1, lane.last_seq))
    step = chance.randrange(6)
    if step == 0 or lane.last_seq == 0:
        tokens = [(chance.randrange(900), chance.randrange(9), chance.randrange(90))] * 3
        receipts = shop.serve(*tokens)
        if chance.random() < 0.5:
            receipts[1] = replace(receipts[1], payer_signature=bytes(64))
        message = shop.claim(receipts)
        if chain.submit(message, by=2).code == "ok":
            shop.receipts[shop.channel_id, message.batch.from_seq] = receipts
    elif step == 1:
        chain.submit(DisputeLeaf(shop.channel_id, 0, shop.proof(seq)), by=4)
    elif step == 2:
        first = shop.proof(seq).from_seq
        chain.submit(DemandLeaf(shop.channel_id, 0, first, seq, 10**5), by=3)
    elif step == 3:
        chain.submit(AnswerLeaf(shop.channel_id, 0, shop.proof(seq)), by=2)
    elif step == 4:
        chain.submit(OperatorBond(10**8), OperatorUnbond(10**6), by=2)
    else:
        chain.end_block(2)


def calls() -> list[str]:
    """Execute a stream of paid calls, disputes, demands and releases; one line a height."""
    chance = random.Random(SEED)
    shop = Calls(Recorded)
    for _ in range(STEPS):
        serve(chance, shop)
    shop.chain.accept(UniClose(shop.channel_id), by=3)
    shop.chain.end_block(12)
    assert shop.channel().closed
    assert {"inference.leaf_is_true", "inference.not_pending"} <= shop.chain.codes
    lines: list[str] = shop.chain.lines
    return lines


def digests() -> list[str]:
    """The kernels in use, then one line a height of both streams."""
    return [cython_ext.IMPLEMENTATION, *coins(), *calls()]


def run(**environment: str) -> list[str]:
    """Execute the streams in a process of its own."""
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


def test_heights_differ(reference: list[str]) -> None:
    """Digests that never change would agree about nothing; only idle blocks are alike."""
    assert len(set(reference)) > HEIGHTS + STEPS


if __name__ == "__main__":
    print("\n".join(digests()))
