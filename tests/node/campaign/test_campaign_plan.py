"""A seed decides every failure, and never takes more than a minority away by accident."""

from itertools import islice

import pytest

from node.campaign.plan import HOLD_SECONDS, MEETS_ALL, NEEDS_LINKS, Blow, Kind, blows, minority_of

KINDS = list(Kind)


def first(
    seed: int, validators: int, count: int = 90, hold_seconds_max: float = 60.0
) -> list[Blow]:
    return list(islice(blows(seed, validators, KINDS, hold_seconds_max), count))


def test_a_seed_replays_and_another_differs() -> None:
    assert first(7, 4) == first(7, 4)
    assert first(7, 4) != first(8, 4)


def test_each_kind_comes_once_before_any_comes_again() -> None:
    found = [blow.kind for blow in first(3, 4)]
    for at in range(0, len(found), len(KINDS)):
        assert sorted(kind.value for kind in found[at : at + len(KINDS)]) == sorted(
            kind.value for kind in KINDS
        )


@pytest.mark.parametrize(("validators", "minority"), [(4, 1), (6, 1), (7, 2), (10, 3)])
def test_only_what_is_meant_for_all_takes_more_than_a_minority(
    validators: int, minority: int
) -> None:
    assert minority_of(validators) == minority
    for blow in first(1, validators):
        away = len(blow.nodes)
        assert blow.nodes == tuple(sorted(set(blow.nodes)))
        if blow.kind in MEETS_ALL:
            assert away == validators
        elif blow.kind is Kind.SPLIT:
            assert 1 <= away <= validators // 2
        else:
            assert 1 <= away <= minority
    sizes = {len(blow.nodes) for blow in first(1, validators) if blow.kind is Kind.KILL}
    assert sizes == set(range(1, minority + 1))


def test_what_is_cut_is_cut_between_the_two_sides_alone() -> None:
    for blow in first(5, 7):
        assert bool(blow.pairs) == (blow.kind in NEEDS_LINKS)
        sides = {(a in blow.nodes, b in blow.nodes) for a, b in blow.pairs}
        if blow.kind is Kind.ONEWAY:
            assert sides in ({(True, False)}, {(False, True)})
            assert len(blow.pairs) == 6
        elif blow.pairs:
            assert sides == {(True, False), (False, True)}
            assert len(blow.pairs) == 2 * len(blow.nodes) * (7 - len(blow.nodes))


def test_holds_stay_within_their_bounds() -> None:
    for blow in first(2, 4):
        least, most = HOLD_SECONDS[blow.kind]
        assert least <= blow.hold_seconds <= most
    assert all(blow.hold_seconds <= 1.5 for blow in first(2, 4, hold_seconds_max=1.5))
