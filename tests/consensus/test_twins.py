"""Twins, exhaustively: every way in which three rounds can be led and parted while one is twinned.

One validator of four runs twice under one key (Twins, arXiv 2004.10617). In each of the rounds 1 to
3 the five endpoints are parted into at most two sides, and any validator leads; a message of a
round crosses no border of that round, however late it is sent. Then everything is connected. These
are (16 x 4)^3 = 262,144 cases, and 45,760 up to renaming the three honest validators.

A seeded tenth runs with the tests. All of them: PYTHONPATH=. python tests/consensus/test_twins.py
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from itertools import permutations, product
from random import Random
from time import monotonic
from typing import Any

import pytest

from consensus.inputs import VoteSigned
from consensus.validators import Validators
from consensus.view import Occurrence, View
from state.crypto import Tag
from state.finality import offender, vote_digest
from tests.consensus import network
from tests.consensus.network import Network, Node, encode

TWIN = 0
HONEST = (1, 2, 3)
ENDPOINTS = 5
"""The validators by index, then the second copy of the first."""
ROUNDS = 3
DELAY_MS = 10
PARTED_MS = 2_000
"""Sides without a quorum do not end a round by themselves: then the rounds are over."""
HEALED_MS = 60_000
FINAL_AFTERWARDS = 10
CASES = 45_760
BATCH = 64

WANTED = View.wanted

Round = tuple[int, int]
"""Who leads, and the set of endpoints, as bits, that are on another side than the first copy."""
Case = tuple[Round, ...]


def every_round() -> list[Round]:
    return list(product(range(4), range(0, 2**ENDPOINTS, 2)))


def renamed(one: Round, names: tuple[int, ...]) -> Round:
    """The same round when honest validator HONEST[i] is called names[i]."""
    to = {0: 0, 4: 4, **dict(zip(HONEST, names, strict=True))}
    leader, side = one
    return to[leader], sum(1 << to[at] for at in range(ENDPOINTS) if side >> at & 1)


def every_case() -> Iterator[Case]:
    """One case of each class of those that differ by the names of honest validators alone."""
    rounds = every_round()
    number = {one: at for at, one in enumerate(rounds)}
    others = [[number[renamed(one, names)] for one in rounds] for names in permutations(HONEST)]
    for case in product(range(len(rounds)), repeat=ROUNDS):
        if all(case <= tuple([to[at] for at in case]) for to in others):
            yield tuple([rounds[at] for at in case])


class Parted(Network):
    """Four validators, one of them twinned, whose first rounds are led and parted as told."""

    def __init__(self, case: Case) -> None:
        super().__init__(4, delay=(DELAY_MS, DELAY_MS), twins=(TWIN,))
        self.case = case
        self.is_healed = False
        self.places = {id(node): at for at, node in enumerate(self.nodes)}
        # Two machines never build the same block: copies that lead one view equivocate.
        self.body = lambda node, height: b"%d at %d" % (height, self.places[id(node)])

    def deliver(self, node: Any, send: Any) -> None:
        message = send.message
        subject = getattr(message, "subject", None) or getattr(message, "proposal", None)
        side = self.side(node.core.epoch.view if subject is None else subject.view)
        wire = encode(message)
        here = side >> self.places[id(node)] & 1
        for at, other in enumerate(self.nodes):
            wanted = other.key != node.key and send.to in (b"", other.key)
            if wanted and side >> at & 1 == here:
                self.at(self.now + DELAY_MS, self.arrive, other, node.key, wire)

    def side(self, view: int) -> int:
        return 0 if self.is_healed or view > ROUNDS else self.case[view - 1][1]


def run_case(case: Case, final_afterwards: int = FINAL_AFTERWARDS) -> dict[str, Any]:
    """Run a case; raises AssertionError where safety, accountability or liveness breaks."""
    elected = Validators.leader

    def leader(validators: Validators, view: int) -> int:
        return case[view - 1][0] if view <= ROUNDS else elected(validators, view)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validators, "leader", leader)
        net = Parted(case)
        net.start()
        honest = net.nodes[1:4]
        net.run(PARTED_MS, lambda: all(node.core.epoch.view > ROUNDS for node in honest))
        net.is_healed = True
        before = max(node.height for node in net.nodes)
        began_ms = net.now
        high = before + final_afterwards
        net.run(HEALED_MS, lambda: all(node.height >= high for node in honest))
    assert all(node.height >= high for node in honest), ("stands still", case)
    assert not any(node.halted for node in net.nodes), ("halted", case)
    found = {offender(one) for node in net.nodes for one in node.evidence}
    assert found <= {TWIN}, ("an honest validator is accused", case)
    return {"final_parted": before, "is_named": bool(found), "healed_ms": net.now - began_ms}


def run_batch(cases: list[Case]) -> list[dict[str, Any]]:
    return [run_case(case) for case in cases]


@lru_cache
def chosen() -> list[Case]:
    """The seeded tenth that runs with the tests."""
    return Random("twins").sample(list(every_case()), CASES // 10)


def test_there_are_as_many_cases_as_symmetry_leaves() -> None:
    """Burnside: the mean, over the renamings, of how many cases each leaves as they are."""
    rounds = every_round()
    fixed = [
        sum(renamed(one, names) == one for one in rounds) ** ROUNDS
        for names in permutations(HONEST)
    ]
    assert len(list(every_case())) == sum(fixed) // len(fixed) == CASES


@pytest.mark.parametrize("part", range(8))
def test_a_tenth_of_all_cases(part: int) -> None:
    named = [run_case(case, 2)["is_named"] for case in chosen()[part::8]]
    assert any(named), "the twin is caught in some, so the cases do part its copies"


def notarizes_twice(view: View, occurrence: Occurrence, *, is_current: bool) -> Tag | None:
    """R3 without once per view."""
    if occurrence is Occurrence.PROPOSAL_VALID and is_current:
        return None if view.my_notarize == view.proposal or view.my_nullify else Tag.NOTARIZE
    return WANTED(view, occurrence, is_current=is_current)


def finalizes_after_nullify(view: View, occurrence: Occurrence, *, is_current: bool) -> Tag | None:
    """R6 without the check for an own Nullify."""
    held = view.my_nullify
    view.my_nullify = held and occurrence is not Occurrence.CERTIFIED_VALID
    try:
        return WANTED(view, occurrence, is_current=is_current)
    finally:
        view.my_nullify = held


@pytest.mark.parametrize(
    ("wanted", "found_by"), [(WANTED, 0), (notarizes_twice, 50), (finalizes_after_nullify, 200)]
)
def test_the_cases_accuse_an_engine_that_forgot_a_rule(
    wanted: Any, found_by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the guard, which refuses what the engine should not have asked for."""

    def sign(node: Node, kind: Tag, subject: Any) -> VoteSigned:
        signature = network.sign(node.key, vote_digest(kind, network.GENESIS, subject))
        return VoteSigned(node.network.now, kind, subject, signature)

    monkeypatch.setattr(Node, "sign_vote", sign)
    monkeypatch.setattr(View, "wanted", wanted)
    if wanted is notarizes_twice:
        monkeypatch.setattr(View, "propose", lambda view, one: setattr(view, "proposal", one))
    if not found_by:
        run_batch(chosen()[:50])
        return
    with pytest.raises(AssertionError, match="an honest validator is accused"):
        run_batch(chosen()[:found_by])


def main(jobs: int) -> None:
    cases = list(every_case())
    batches = [cases[at : at + BATCH] for at in range(0, len(cases), BATCH)]
    began = monotonic()
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(jobs) as pool:
        for done, part in enumerate(pool.map(run_batch, batches), 1):
            rows += part
            if done % 50 == 0:
                print(f"{len(rows)}/{len(cases)} in {monotonic() - began:.0f} s", file=sys.stderr)
    result = {
        "cases": len(rows),
        "twin_named": sum(row["is_named"] for row in rows),
        "final_while_parted": sum(row["final_parted"] > 0 for row in rows),
        "healed_ms_max": max(row["healed_ms"] for row in rows),
        "seconds": round(monotonic() - began),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
