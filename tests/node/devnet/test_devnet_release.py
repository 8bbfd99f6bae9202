"""A validator that was jailed while it was away is let out by its own key, and waited for."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.client import ClientError, SaharaClient
from node.devnet import release as module
from node.devnet.release import keep_out_of_jail, release
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


async def test_who_is_jailed_asks_until_it_is_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    public_key = key_info(home, VALIDATOR_KEY).public_key
    chain = Chain(public_key, Standing.JAILED)
    assert await release(home, cast(SaharaClient, chain))
    assert chain.asked == [(address_of(public_key), Unjail())] * RELEASED


async def test_who_is_not_jailed_asks_nothing(home: Path) -> None:
    chain = Chain(key_info(home, VALIDATOR_KEY).public_key, Standing.ACTIVE)
    assert await release(home, cast(SaharaClient, chain))
    assert chain.asked == []


async def test_who_is_never_let_out_is_told_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELEASE_SECONDS_MAX", 0.0)
    chain = Chain(key_info(home, VALIDATOR_KEY).public_key, Standing.JAILED)
    assert not await release(home, cast(SaharaClient, chain))


async def test_the_devnet_asks_for_whoever_is_in_jail_and_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on looking while the node is down, and while it syncs asks nothing."""
    public_key = key_info(home, VALIDATOR_KEY).public_key
    chain = Chain(public_key, Standing.ACTIVE)
    said: list[str] = []
    is_over = asyncio.Event()
    looks = 0

    def say(words: str) -> None:
        said.append(words)
        if len(said) == 2:
            is_over.set()

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None:
            nonlocal looks
            looks += 1
            if looks == 2:
                raise ClientError("client.unreachable", "The node is down.")
            if looks == 3:
                chain.standing = Standing.JAILED
            self.query, self.execute = chain.query, chain.execute

        async def __aenter__(self) -> "Client":
            return self

        async def __aexit__(self, *_: Any) -> None:
            return None

        async def status(self) -> Any:
            return SimpleNamespace(is_syncing=looks == 3)

    monkeypatch.setattr(module, "SaharaClient", Client)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    task = asyncio.create_task(keep_out_of_jail(home, lambda: "http://x", b"g" * 32, say))
    await asyncio.wait_for(is_over.wait(), 30)
    task.cancel()
    assert ["jailed" in said[0], "out of jail" in said[1]] == [True, True]
    assert chain.asked == [(address_of(public_key), Unjail())] * RELEASED
    assert looks >= 4, "it was syncing at the third look"
