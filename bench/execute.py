"""Executing transfers: blocks of 2,000 from admission to a synced commit, on one core.

Run as `python -m bench.execute [--accounts N] [--block N] [--blocks N]`. Signatures are verified
beforehand; everything else of a block counts: fees, nonces, outcomes, overlay, roots, one synced
LevelDB batch. The limit is what no executor of such blocks avoids: the hashes of its tree, one
encoding of each row, and the same rows written in one synced batch.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from nacl.signing import SigningKey

from bench.measure import ratio, report
from cython_ext import _bare
from node.application import Application, Candidate
from node.storage.chain_store import ChainStore
from node.storage.kv import LevelDb
from state import crypto
from state.codec import encode
from state.execute import check_block
from state.finality import (
    Finalization,
    Header,
    Justify,
    Proposal,
    Vote,
    justify_hash,
    set_hash,
)
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.bank import Transfer
from state.params import Params
from state.transaction import Body, KeySignature, Transaction, assemble, transaction_id

BAR = 15_000
GOAL = 40_000
FUNDS = 10**12
WARM_BLOCKS = 3

Stages = dict[str, list[float]]


class Clocked:
    """Seconds of every stage that the application names."""

    def __init__(self) -> None:
        self.stages: Stages = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        yield
        self.stages.setdefault(stage, []).append(time.perf_counter() - start)


def genesis_of(keys: Sequence[SigningKey]) -> Genesis:
    """Return a network in which every key holds coins; the first one validates."""
    addresses = [crypto.address_of(bytes(key.verify_key)) for key in keys]
    return Genesis(
        "bench",
        0,
        Params(),
        tuple(Allocation(address, FUNDS) for address in addresses),
        (GenesisValidator(bytes(keys[0].verify_key), addresses[0], FUNDS // 2),),
    )


def transfers(
    genesis: Genesis, keys: Sequence[SigningKey], block: int, blocks: int
) -> list[list[bytes]]:
    """Return signed transfers between accounts drawn evenly, block by block."""
    chance = random.Random(20)
    addresses = [entry.address for entry in genesis.allocations]
    nonces = [0] * len(keys)
    found = []
    for number in range(blocks):
        wires = []
        for sender in chance.choices(range(len(keys)), k=block):
            nonces[sender] += 1
            message = Transfer(chance.choice(addresses), chance.randrange(1, 10**6))
            body = Body(addresses[sender], nonces[sender], number + 1_000, 10**6, (message,))
            signature = keys[sender].sign(transaction_id(genesis.hash, encode(body))).signature
            wires.append(assemble(body, (KeySignature(bytes(keys[sender].verify_key), signature),)))
        found.append(wires)
    return found


def run_block(application: Application, transactions: Sequence[Transaction]) -> Candidate:
    """Build, execute and commit one block over the head."""
    head, info = application.head, application.epoch_info()
    height = head.header.height + 1
    built = application.build(head.block_id, transactions)
    justify = Justify(head.finalization, ())
    members = set_hash(info.validators)
    header = Header(
        height,
        info.epoch,
        height,
        height - 1,
        head.block_id,
        height * 1_000,
        info.validators[0].account,
        built.tx_root,
        built.evidence_root,
        justify_hash(justify),
        head.state_root,
        head.outcomes_root,
        members,
        members,
        built.params_hash,
    )
    block_id = header.id
    application.execute(header, block_id, justify, built.body)
    subject = Proposal(info.epoch, height, height - 1, block_id, header.justify_hash)
    return application.commit(header, block_id, Finalization(subject, (Vote(0, bytes(64)),)))


def limit_of(store: LevelDb, candidate: Candidate, hashes: int) -> float:
    """Seconds that the same rows cost when nothing is executed."""
    rows = list(candidate.executed.state.rows.items())
    start = time.perf_counter()
    puts = [(b"z" + key, encode(row)) for key, row in rows]
    _bare.hash_loop(b"tree/node", bytes(64), hashes)
    store.write(puts, [], sync=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--block", type=int, default=2_000)
    parser.add_argument("--blocks", type=int, default=20)
    given = parser.parse_args()
    keys = [SigningKey(number.to_bytes(32, "big")) for number in range(1, given.accounts + 1)]
    genesis = genesis_of(keys)
    batches = transfers(genesis, keys, given.block, given.blocks + WARM_BLOCKS)
    clocked = Clocked()
    seconds: Stages = {"block": [], "cpu": [], "limit": []}
    with tempfile.TemporaryDirectory() as folder:
        store = LevelDb(Path(folder) / "db", create=True)
        application = Application(
            ChainStore(store, genesis), genesis, invariants_every_blocks=10**9, timed=clocked
        )
        for number, wires in enumerate(batches):
            found = check_block(wires, application.decoder, genesis.params.fees, ())
            if number == WARM_BLOCKS:
                clocked.stages.clear()
                seconds = {"block": [], "cpu": [], "limit": []}
            start, busy = time.perf_counter(), time.process_time()
            candidate = run_block(application, found)
            seconds["block"].append(time.perf_counter() - start)
            seconds["cpu"].append(time.process_time() - busy)
            assert all(outcome.status == 0 for outcome in candidate.executed.result.outcomes)
            hashes = len(candidate.changes) * (3 + max(1, given.accounts.bit_length() - 10))
            seconds["limit"].append(limit_of(store, candidate, hashes))
        store.close()
    each = {name: median(spent) / given.block * 1e6 for name, spent in clocked.stages.items()}
    per_second = round(given.block / median(seconds["block"]))
    figures = {
        "accounts": given.accounts,
        "transactions_per_block": given.block,
        "transactions_per_second": per_second,
        "transactions_per_cpu_second": round(given.block / median(seconds["cpu"])),
        "rows_per_block": len(candidate.changes),
        "over_limit": ratio(seconds["block"], seconds["limit"]),
        "slowest_block_ms": round(max(seconds["block"]) * 1e3, 1),
        **{f"{name}_us": round(spent, 2) for name, spent in each.items()},
        "bar": BAR,
        "goal": GOAL,
    }
    report("execute", figures, per_second >= BAR)


if __name__ == "__main__":
    main()
