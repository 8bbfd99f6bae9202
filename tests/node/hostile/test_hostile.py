"""Four validators, one of them under attack: it keeps its peers, its pace, memory and handles.

`python -m bench.hostile --seconds 30` does the same for longer, and prints the figures.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.node.hostile.catalogue import ATTACKS
from tests.node.hostile.victim import Victim, network

SECONDS = 0.5

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Victim]:
    folder = tmp_path_factory.mktemp("hostile")
    async with network([folder / f"n{at}" for at in range(4)]) as group:
        yield Victim(group)


@pytest.mark.parametrize("name", ATTACKS)
async def test_it_endures(victim: Any, name: str) -> None:
    await victim.endures(lambda: ATTACKS[name](victim, SECONDS))
