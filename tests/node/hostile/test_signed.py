"""One of four validators sells its keys: the others go on, and what it did is on record."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.node.hostile import signed
from tests.node.hostile.signed import SIGNED, Traitor
from tests.node.hostile.victim import Victim

SECONDS = 1.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sold(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Victim, Traitor]]:
    folder = tmp_path_factory.mktemp("sold")
    async with signed.sold([folder / f"n{at}" for at in range(4)]) as pair:
        yield pair


@pytest.mark.parametrize("name", SIGNED)
async def test_three_of_four_go_on(sold: Any, name: str) -> None:
    victim, traitor = sold
    await victim.endures(lambda: SIGNED[name](victim, traitor, SECONDS))


async def test_what_it_signed_twice_is_on_record(sold: Any) -> None:
    """After the flood of votes above: the proof stands in a block."""
    victim, traitor = sold
    await signed.signed_votes(victim, traitor, 0.2)

    async def is_on_record() -> bool:
        shown = await victim.call("staking.validators")
        standing = {one["public_key"]: one["standing"] for one in shown}
        return str(standing[traitor.key.public_key.hex()]).lower() == "tombstoned"

    await victim.until(is_on_record, "nobody was punished")
