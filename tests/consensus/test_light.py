"""A light client follows real chains, and nothing that is not one."""

from typing import Any

import pytest
from msgspec.structs import replace

from consensus import light
from consensus.light import LightError, Trust, check_final, check_path, next_epoch
from state import crypto, finality
from state.finality import Finalization, Vote

GENESIS = b"g" * 32
NOW = 2_000_000


@pytest.fixture(autouse=True)
def cheap_signatures(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chains here are signed as the test network signs; the checks around are the real ones."""
    verify = network(1).verify
    monkeypatch.setattr(crypto, "verify_many", verify)
    assert finality.crypto.verify_many is verify


def chain(network: Any, **given: Any) -> tuple[Any, Trust]:
    net = network(4, epoch_blocks=3, **given).start()
    net.run_to(7, 100_000)
    members = net.members
    return net.nodes[0].disk.chain, Trust(GENESIS, 3, 0, members, NOW - 10**6, 10**7, 1_000)


def test_from_epoch_to_epoch_to_any_header(network: Any) -> None:
    tips, trust = chain(network)
    for epoch in range(2):
        for tip in tips[epoch * 3 + 1 : epoch * 3 + 4]:
            check_final(trust, tip.header, tip.finalization, NOW)
        boundary = tips[(epoch + 1) * 3]
        trust = next_epoch(trust, boundary.header, boundary.finalization, trust.validators, NOW)
        assert trust.epoch == epoch + 1


def test_a_height_without_own_finalization_is_reached_by_its_descendants(network: Any) -> None:
    tips, _ = chain(network)
    check_path(tips[1].header, [tips[2].header, tips[3].header])
    for wrong in ([tips[3].header], [tips[1].header], [replace(tips[2].header, time_ms=1)] * 2):
        with pytest.raises(LightError):
            check_path(tips[1].header, wrong)


def test_what_does_not_convince(network: Any) -> None:
    tips, trust = chain(network)
    header, final = tips[2].header, tips[2].finalization
    few = Finalization(final.subject, final.votes[:2])
    forged = Finalization(final.subject, (*final.votes[:2], Vote(3, bytes(64))))
    other = tuple([replace(one, stake=11) for one in trust.validators])
    cases: list[tuple[Trust, Any, Any, int]] = [
        (trust, header, few, NOW),
        (trust, header, forged, NOW),
        (trust, header, tips[1].finalization, NOW),
        (trust, tips[4].header, tips[4].finalization, NOW),
        (trust, replace(header, time_ms=header.time_ms + 1), final, NOW),
        (trust, header, final, NOW + 10**8),
        (trust, header, final, header.time_ms - 1_000),
        (light.Trust(GENESIS, 3, 0, other, NOW, 10**7, 1_000), header, final, NOW),
        (light.Trust(b"h" * 32, 3, 0, trust.validators, NOW, 10**7, 1_000), header, final, NOW),
    ]
    for given, shown, certificate, now in cases:
        with pytest.raises(LightError):
            check_final(given, shown, certificate, now)


def test_only_the_boundary_hands_over_and_only_to_the_set_it_names(network: Any) -> None:
    tips, trust = chain(network)
    with pytest.raises(LightError):
        next_epoch(trust, tips[2].header, tips[2].finalization, trust.validators, NOW)
    others = trust.validators[:3]
    with pytest.raises(LightError):
        next_epoch(trust, tips[3].header, tips[3].finalization, others, NOW)
