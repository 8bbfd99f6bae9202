"""File handles: raised as far as may be, and kept from clients where there are few."""

import resource
from collections.abc import Iterator

import pytest

from node.handles import CLIENTS_MIN, KEPT, WANTED, for_clients, raise_limit
from node.rpc.limits import RpcLimits


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    found = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield found
    resource.setrlimit(resource.RLIMIT_NOFILE, found)


def test_the_limit_is_raised_as_far_as_it_may_be(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    most = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    assert raise_limit() == most
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    assert raise_limit() == most


def test_clients_get_what_is_left(limits: tuple[int, int]) -> None:
    wanted = RpcLimits().connections_max
    assert for_clients(WANTED, wanted) == wanted
    assert for_clients(1_024, wanted) == 1_024 - KEPT < wanted
    assert for_clients(256, wanted) == CLIENTS_MIN
    assert 1_024 - KEPT > 256, "a node with the usual limit serves many"
