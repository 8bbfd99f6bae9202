"""Negative controls of settled points 3 and 7: standing by one proposal, and epochs in order.

As in test_mutations.py each case names the invariant and the seeds, with the seed at which it was
found beside it. Settled point 3 speaks of what only a third of the stake can bring about: two
notarizations in one view. Whoever is honest must commit no offence then either.
"""

from collections.abc import Callable
from typing import Any

import pytest

from consensus import epoch, helping, intake, links
from consensus.core import Core
from consensus.inputs import Peer
from consensus.view import Occurrence, View
from state.crypto import SignatureClaim, Tag
from state.finality import Certificate, Finalization, Notarization, Proposal, certificate_claims

Patch = Callable[[pytest.MonkeyPatch], None]
Hunt = Callable[..., int | None]


def finalize_without(patch: pytest.MonkeyPatch, flag: str) -> None:
    """R6 without the check of one own vote."""
    honest = View.wanted

    def wanted(view: View, occurred: Occurrence, *, is_current: bool) -> Tag | None:
        if occurred is not Occurrence.CERTIFIED_VALID:
            return honest(view, occurred, is_current=is_current)
        held = getattr(view, flag)
        setattr(view, flag, None)
        try:
            return honest(view, occurred, is_current=is_current)
        finally:
            setattr(view, flag, held)

    patch.setattr(View, "wanted", wanted)


def overlook_equivocation(patch: pytest.MonkeyPatch) -> None:
    """A second notarization takes the place of the first and suppresses nothing."""

    def certify(view: View, notarization: Notarization) -> None:
        view.notarization = notarization
        view.proposal = notarization.subject

    def propose(view: View, proposal: Proposal) -> None:
        view.proposal = view.proposal or proposal

    learn = Core._learn_notarization

    def learned(core: Core, view: View, certificate: Notarization) -> None:
        is_second = view.notarization is not None
        learn(core, view, certificate)
        undecided = core.epoch.undecided
        if is_second and view.number > core.epoch.final_view and view.number not in undecided:
            undecided.append(view.number)

    patch.setattr(View, "certify", certify)
    patch.setattr(View, "propose", propose)
    patch.setattr(Core, "_learn_notarization", learned)


def finalize_twice(patch: pytest.MonkeyPatch) -> None:
    """R6 without my_finalize, and a second notarization of the view does not suppress it."""
    finalize_without(patch, "my_finalize")
    overlook_equivocation(patch)


def finalize_beside_notarize(patch: pytest.MonkeyPatch) -> None:
    """R6 without my_notarize, and a second notarization of the view does not suppress it."""
    finalize_without(patch, "my_notarize")
    overlook_equivocation(patch)


def switch_on_notarization(patch: pytest.MonkeyPatch) -> None:
    """The notarization of a boundary block ends its epoch (settled 7)."""
    learn = Core._learn_notarization

    def learned(core: Core, view: View, certificate: Notarization) -> None:
        learn(core, view, certificate)
        entry = core.blocks.get(certificate.subject.block_id)
        if entry is not None and entry.header.height == core.epoch.boundary_height:
            taken: Any = certificate
            core._learn_finalization(view, taken)

    for module in (links, epoch):
        patch.setattr(module, "Finalization", (Notarization, Finalization))
    patch.setattr(Core, "_learn_notarization", learned)


def count_future_epochs(patch: pytest.MonkeyPatch) -> None:
    """Certificates of an epoch to come are taken for those of the present one (settled 7)."""
    is_of_epoch, claims_of = helping.is_of_epoch, epoch.Epoch.claims_of

    def is_ours(core: Core, peer: Peer, number: int) -> bool:
        return number > core.epoch.number or is_of_epoch(core, peer, number)

    def claims(own: epoch.Epoch, certificate: Certificate) -> list[SignatureClaim] | None:
        if certificate.subject.epoch > own.number:
            members = own.validators.members
            return certificate_claims(own._genesis_hash, certificate, members) or None
        return claims_of(own, certificate)

    def take_in(core: Core, certificate: Certificate) -> None:
        subject = certificate.subject
        if subject.epoch >= core.epoch.number and subject.view >= core.epoch.floor:
            core.learn(certificate)

    for module in (intake, helping):
        patch.setattr(module, "is_of_epoch", is_ours)
    patch.setattr(epoch.Epoch, "claims_of", claims)
    patch.setattr(Core, "take_in", take_in)


LOSSY: dict[str, Any] = {"loss": 0.1, "jitter": 8.0, "reorder": True, "views": 15}
ONE_LARGE = {**LOSSY, "stakes": "9,2,2,2", "byzantine": "splitter:1"}
OFFENCE = {"one-vote-of-a-kind"}
CASES = [
    (finalize_twice, ONE_LARGE, OFFENCE, 150),  # an honest E2 (seed 27)
    (finalize_beside_notarize, ONE_LARGE, OFFENCE, 40),  # an honest E4 (seed 9)
    # who has switched cannot show why, and the others stay behind: no progress (seed 1)
    (switch_on_notarization, {**LOSSY, "epoch_length": 2}, {"progress"}, 20),
    # the finality of another epoch contradicts the view of its own (seed 1)
    (count_future_epochs, {**LOSSY, "loss": 0.2, "epoch_length": 3}, {"engine-never-fails"}, 40),
]


@pytest.mark.usefixtures("without_guard")
@pytest.mark.parametrize(("mutate", "options", "invariants", "seeds_max"), CASES)
def test_a_settled_point_that_is_switched_off_is_missed(
    mutate: Patch,
    options: dict[str, Any],
    invariants: set[str],
    seeds_max: int,
    hunt: Hunt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)
    assert hunt(options, invariants, seeds_max) is not None


@pytest.mark.usefixtures("without_guard")
@pytest.mark.parametrize(
    "options",
    [ONE_LARGE, {**LOSSY, "epoch_length": 2}],
    ids=str,
)
def test_nothing_is_found_where_nothing_is_switched_off(
    options: dict[str, Any], hunt: Hunt
) -> None:
    broken = OFFENCE | {"honest-commit-no-offence", "engine-never-fails", "progress"}
    assert hunt(options, broken, 6) is None
