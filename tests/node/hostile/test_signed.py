"""One of four validators sells its keys: the others go on, and what it did is on record."""

import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from node.home import VALIDATOR_KEY
from node.keystore import key_info
from tests.node.hostile import signed
from tests.node.hostile.signed import Traitor
from tests.node.hostile.victim import Victim, network

SECONDS = 1.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sold(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Victim, Traitor]]:
    folder = tmp_path_factory.mktemp("sold")
    async with network([folder / f"n{at}" for at in range(4)]) as group:
        fallen = group.nodes[3]
        victim = Victim(group, [fallen])
        await victim.at_ease()
        members = await victim.call("chain.validators", epoch=0)
        keys = [one["public_key"] for one in members]
        fallen._process.send_signal(signal.SIGKILL)
        await fallen._process.wait()
        index = keys.index(key_info(fallen.home, VALIDATOR_KEY).public_key.hex())
        yield victim, Traitor(fallen.home, group.genesis_hash, index)


@pytest.mark.parametrize(
    "name",
    ["asking_without_end", "huge_proposals", "hollow_sketches", "lying_sketches", "signed_votes"],
)
async def test_three_of_four_go_on(sold: Any, name: str) -> None:
    victim, traitor = sold
    attack = getattr(signed, name)
    await victim.endures(lambda: attack(victim, traitor, SECONDS))


async def test_what_it_signed_twice_is_on_record(sold: Any) -> None:
    """After the flood of votes above: the proof stands in a block."""
    victim, traitor = sold
    await signed.signed_votes(victim, traitor, 0.2)

    async def is_on_record() -> bool:
        shown = await victim.call("staking.validators")
        standing = {one["public_key"]: one["standing"] for one in shown}
        return str(standing[traitor.key.public_key.hex()]).lower() == "tombstoned"

    await victim.until(is_on_record, "nobody was punished")
