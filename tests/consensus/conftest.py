"""Drivers in a network of their own, and one alone among validators that the test plays."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.consensus.network import Forge, Network


@pytest.fixture
def network() -> type[Network]:
    return Network


@pytest.fixture
def forge() -> Callable[..., Forge]:
    """Node 0 alone among validators whose messages the test makes."""

    def make(count: int = 4, **options: Any) -> Forge:
        net = Network(count, **options)
        net.nodes[0].start()
        return Forge(net)

    return make
