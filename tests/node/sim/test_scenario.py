"""Options: what they mean, and what is refused with a sentence."""

from pathlib import Path

import pytest

from node.sim.errors import WrongUsage
from node.sim.latency import parse_latency
from node.sim.partitions import cut_at, parse_partition
from node.sim.regions import REGIONS, one_way_ms
from node.sim.scenario import Options, make_scenario, parse_byzantine, parse_stakes


def test_stakes_are_equal_zipf_or_named() -> None:
    assert len(set(parse_stakes("equal", 5))) == 1
    zipf = parse_stakes("zipf", 4)
    assert [zipf[0] // each for each in zipf] == [1, 2, 3, 4]
    assert parse_stakes("3,2,1", 3) == (3, 2, 1)


@pytest.mark.parametrize("text", ["3,2", "a,b,c", "1,0,2", "", "equals"])
def test_other_stakes_are_refused(text: str) -> None:
    with pytest.raises(WrongUsage):
        parse_stakes(text, 3)


def test_a_percentage_stays_strictly_below_itself() -> None:
    for count, expected in ((4, 1), (7, 2), (10, 3), (100, 32)):
        assert len(parse_byzantine("silent:33%", (1,) * count, 1)) == expected
    assert len(parse_byzantine("silent:25%", (1,) * 4, 1)) == 0


def test_kinds_share_no_validator_and_follow_from_the_seed() -> None:
    stakes = (1,) * 10
    both = parse_byzantine("silent:2,twins:1", stakes, 5)
    assert sorted(both.values()) == ["silent", "silent", "twins"]
    assert both == parse_byzantine("silent:2,twins:1", stakes, 5)
    assert any(both != parse_byzantine("silent:2,twins:1", stakes, seed) for seed in range(5))


@pytest.mark.parametrize("text", ["silent", "silent:9", "unheard:1", "silent:-1", "silent:1.5"])
def test_other_kinds_and_counts_are_refused(text: str) -> None:
    with pytest.raises(WrongUsage):
        parse_byzantine(text, (1,) * 4, 1)


def test_twins_have_two_endpoints() -> None:
    scenario = make_scenario(Options(byzantine="twins:1"))
    [twin] = scenario.byzantine
    assert scenario.endpoints == (0, 1, 2, 3, twin)
    assert twin not in scenario.honest


def test_the_shipped_regions_are_a_symmetric_world() -> None:
    matrix = one_way_ms()
    assert len(REGIONS) >= 10
    for row, delays in enumerate(matrix):
        assert [matrix[column][row] for column in range(len(matrix))] == delays


def test_validators_are_dealt_round_robin_over_regions() -> None:
    latency = parse_latency("wan", len(REGIONS) + 1)
    assert latency.regions == (*REGIONS, REGIONS[0])
    assert latency.matrix_us[0][1] == round(one_way_ms()[0][1] * 1_000)
    assert latency.matrix_us[0][0] == 0
    assert latency.matrix_us[0][len(REGIONS)] == 500


def test_a_latency_file_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    path.write_text('{"regions": ["a", "b"], "one_way_ms": [[0.5, 20], [30, 0.5]]}')
    assert parse_latency(str(path), 3).matrix_us == (
        (0, 20_000, 500),
        (30_000, 0, 30_000),
        (500, 20_000, 0),
    )
    for broken in ("{", '{"regions": ["a"], "one_way_ms": [[1, 2]]}', '{"regions": []}'):
        path.write_text(broken)
        with pytest.raises(WrongUsage):
            parse_latency(str(path), 3)
    for missing in ("nowhere.json", "0", "-1", "99999999"):
        with pytest.raises(WrongUsage):
            parse_latency(missing, 3)


def test_partitions_are_in_force_within_their_views() -> None:
    cuts = parse_partition("0,1|2@3-5;3@9-9", 4)
    assert cut_at(cuts, 2) is None
    assert cut_at(cuts, 3) == cut_at(cuts, 5) == (0, 0, 1, -1)
    assert cut_at(cuts, 9) == (-1, -1, -1, 0)
    for broken in ("0,1", "0|0@1-2", "9@1-2", "x@1-2"):
        with pytest.raises(WrongUsage):
            parse_partition(broken, 4)


def test_all_byzantine_is_refused() -> None:
    with pytest.raises(WrongUsage):
        make_scenario(Options(byzantine="silent:4"))
