"""A light client follows real chains, and nothing that is not one."""

from typing import Any

import pytest
from msgspec.structs import replace

from consensus import light
from consensus.light import LightError, NotFinal, Trust, check_final, check_path, next_epoch
from state import codec, crypto, finality
from state.crypto import Tag
from state.finality import Finalization, Vote, vote_digest
from tests.consensus.network import key_of, sign

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


def signed(tip: Any, count: int = 4, **changes: Any) -> Finalization:
    """What the first `count` of the set sign of a header, whatever it is."""
    subject = codec.replace(tip.finalization.subject, **changes)
    message = vote_digest(Tag.FINALIZE, GENESIS, subject)
    votes = [Vote(at, sign(key_of(at), message)) for at in range(count)]
    return Finalization(subject, tuple(votes))


def test_settled_6_a_quorum_for_what_its_header_contradicts_convinces_nobody(network: Any) -> None:
    tips, trust = chain(network)
    check_final(trust, tips[2].header, signed(tips[2]), NOW)
    view = tips[2].header.view
    for changes in (
        {"epoch": 1},
        {"parent_view": view - 2},
        {"view": view + 1},
        {"view": view - 1},
        {"view": view + 2, "parent_view": view},
        {"justify_hash": bytes(32)},
        {"block_id": tips[1].block_id},
    ):
        with pytest.raises(NotFinal):
            check_final(trust, tips[2].header, signed(tips[2], **changes), NOW)
    again = signed(tips[3], view=tips[3].header.view + 2, parent_view=tips[3].header.view)
    check_final(trust, tips[3].header, again, NOW)  # settled 9: only a boundary is proposed again


def test_settled_6_heights_outside_the_epoch_are_of_no_use(network: Any) -> None:
    tips, trust = chain(network)
    for height in (0, 4, 10**6):
        header = codec.replace(tips[3].header, height=height)
        with pytest.raises(NotFinal):
            check_final(trust, header, signed(tips[3], block_id=header.id), NOW)


def test_no_fewer_than_a_quorum_by_stake_and_each_counts_once(network: Any) -> None:
    tips, trust = chain(network)
    header = tips[2].header
    for count in (1, 2):
        with pytest.raises(NotFinal):
            check_final(trust, header, signed(tips[2], count), NOW)
    check_final(trust, header, signed(tips[2], 3), NOW)
    twice = signed(tips[2], 2)
    for votes in (twice.votes[:1] * 3, (*twice.votes, twice.votes[0]), twice.votes[::-1]):
        with pytest.raises(NotFinal):
            check_final(trust, header, Finalization(twice.subject, votes), NOW)
    stranger = (*twice.votes, Vote(9, bytes(64)))
    with pytest.raises(NotFinal):
        check_final(trust, header, Finalization(twice.subject, stranger), NOW)


@pytest.mark.parametrize(
    "check", ["fits", "set_hash", "verify_certificate", "boundary_height"], ids=str
)
def test_each_check_is_missed(network: Any, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one check switched off, something that convinces nobody convinces."""
    tips, trust = chain(network)
    header, final = tips[2].header, tips[2].finalization
    other = tuple([replace(one, stake=11) for one in trust.validators])
    elsewhere = Trust(GENESIS, 3, 0, other, NOW, 10**7, 1_000)
    attempts: dict[str, tuple[Any, Any]] = {
        "fits": (lambda *_: True, (trust, header, signed(tips[2], parent_view=7), NOW)),
        "set_hash": (lambda _: header.validators_hash, (elsewhere, header, final, NOW)),
        "verify_certificate": (lambda *_: True, (trust, header, signed(tips[2], 1), NOW)),
        "boundary_height": (lambda *_: header.height, ()),
    }
    switched_off, given = attempts[check]

    def attempt() -> None:
        if given:
            check_final(*given)
        else:
            next_epoch(trust, header, final, trust.validators, NOW)

    with pytest.raises(LightError):
        attempt()
    monkeypatch.setattr(light, check, switched_off)
    attempt()


def test_only_the_boundary_hands_over_and_only_to_the_set_it_names(network: Any) -> None:
    tips, trust = chain(network)
    with pytest.raises(LightError):
        next_epoch(trust, tips[2].header, tips[2].finalization, trust.validators, NOW)
    others = trust.validators[:3]
    with pytest.raises(LightError):
        next_epoch(trust, tips[3].header, tips[3].finalization, others, NOW)
