"""What negative controls share: a hunt over seeds, and the guard switched off."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from consensus.driver import Driver
from node.signer import GuardedSigner
from node.sim.scenario import Options
from node.sim.simulation import Hooks, simulate

Hunt = Callable[..., int | None]


@pytest.fixture
def hunt() -> Hunt:
    """Return the first seed whose run breaks one of these invariants, None if no seed does.

    Of what honest validators sign, the two votes may be named instead of the invariant.
    """

    def first(
        options: dict[str, Any], invariants: set[str], seeds_max: int, engine: Any = Driver
    ) -> int | None:
        for seed in range(1, seeds_max + 1):
            given = msgspec.convert({"seed": seed, **options}, Options)
            report = simulate(given, hooks=Hooks(make_engine=engine))
            said = {row.text.partition(" signed ")[2] for row in report.violations}
            if invariants & ({row.invariant for row in report.violations} | said):
                return seed
        return None

    return first


@pytest.fixture
def without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off the signer guard, which would mask what the engine does wrong."""
    monkeypatch.setattr(GuardedSigner, "_refuse_contradiction", lambda *_: None)
    monkeypatch.setattr(GuardedSigner, "votes", lambda *_: ())
