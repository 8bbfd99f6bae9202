"""A validator that was jailed while it was away is let out by its own key, and waited for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.campaign import amends
from node.campaign.amends import release
from node.campaign.member import Member
from node.client import ClientError
from node.home import VALIDATOR_KEY, HomeWishes, create_home
from node.keystore import key_info
from state.crypto import address_of
from state.modules.staking.records import Standing
from state.modules.staking.validating import Unjail

RELEASED = 3
"""The try with which its time in jail is over."""


class Chain:
    """A client to a chain that has this validator in jail for a while."""

    def __init__(self, public_key: bytes, standing: Standing) -> None:
        self.standing = standing
        self.asked: list[tuple[bytes, Any]] = []
        self._public_key = public_key

    async def query(self, name: str) -> list[Any]:
        assert name == "staking.validators"
        return [SimpleNamespace(public_key=self._public_key, standing=self.standing)]

    async def execute(self, account: Any, message: Any) -> None:
        self.asked.append((account.address, message))
        if len(self.asked) < RELEASED:
            raise ClientError("staking.jail_lasts", "It is in jail; wait.")
        self.standing = Standing.ACTIVE


@pytest.fixture
def home(tmp_path: Path) -> Path:
    create_home(tmp_path / "home", HomeWishes(time_ms=1_700_000_000_000))
    return tmp_path / "home"


def member_of(home: Path, chain: Chain) -> Member:
    return cast(Member, SimpleNamespace(seat=SimpleNamespace(home=home), client=chain))


async def test_who_is_jailed_asks_until_it_is_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amends, "RETRY_SECONDS", 0.01)
    public_key = key_info(home, VALIDATOR_KEY).public_key
    chain = Chain(public_key, Standing.JAILED)
    assert await release(member_of(home, chain))
    assert chain.asked == [(address_of(public_key), Unjail())] * RELEASED


async def test_who_is_not_jailed_asks_nothing(home: Path) -> None:
    chain = Chain(key_info(home, VALIDATOR_KEY).public_key, Standing.ACTIVE)
    assert await release(member_of(home, chain))
    assert chain.asked == []


async def test_who_is_never_let_out_is_told_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amends, "RELEASE_SECONDS_MAX", 0.0)
    chain = Chain(key_info(home, VALIDATOR_KEY).public_key, Standing.JAILED)
    assert not await release(member_of(home, chain))
