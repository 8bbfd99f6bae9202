"""A validator that was jailed while it was away is let out by its own key, and waited for."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.client import ClientError, OutcomeNotOk, Refused, SaharaClient, Unreachable
from node.devnet import release as module
from node.devnet.release import keep_out_of_jail, release
from node.home import PASSPHRASE_FILE, VALIDATOR_KEY, HomeWishes, create_home
from node.keystore import key_info
from state.block import Outcome, Status
from state.crypto import address_of
from state.modules.staking.records import Standing
from state.modules.staking.validating import Unjail

RELEASED = 3
"""The try with which its time in jail is over."""

RELEASE_HEIGHT = 40


def failed(code: str, sentence: str) -> OutcomeNotOk:
    return OutcomeNotOk(Outcome(b"t" * 32, Status.FAILED, code, sentence, 0, 0, ()))


LASTS = failed("staking.jail_lasts", "It is in jail; wait.")
TOO_SMALL = failed("staking.self_bond_too_small", "Delegate to it from its account.")


class Chain:
    """A client to a chain that has this validator in jail for a while."""

    def __init__(self, public_key: bytes, standing: Standing) -> None:
        self.standing = standing
        self.asked: list[tuple[bytes, Any]] = []
        self.waited: list[int] = []
        self.refusals: list[ClientError] = [LASTS] * (RELEASED - 1)
        self._public_key = public_key

    async def query(self, name: str) -> list[Any]:
        assert name == "staking.validators"
        return [
            SimpleNamespace(
                public_key=self._public_key, standing=self.standing, release_height=RELEASE_HEIGHT
            )
        ]

    async def wait_height(self, height: int, *, timeout_seconds: float) -> None:
        assert timeout_seconds > 0
        self.waited.append(height)

    async def execute(self, account: Any, message: Any) -> None:
        assert len(self.waited) == len(self.asked) + 1, "who asks before its time is over pays"
        self.asked.append((account.address, message))
        if self.refusals:
            raise self.refusals.pop(0)
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
    assert await release(home, cast(SaharaClient, chain)) is None
    assert chain.asked == [(address_of(public_key), Unjail())] * RELEASED
    assert chain.waited == [RELEASE_HEIGHT - 1] * RELEASED


async def test_who_is_not_jailed_asks_nothing(home: Path) -> None:
    chain = Chain(key_info(home, VALIDATOR_KEY).public_key, Standing.ACTIVE)
    assert await release(home, cast(SaharaClient, chain)) is None
    assert chain.asked == []


async def test_who_is_never_let_out_is_told_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELEASE_SECONDS_MAX", 0.0)
    chain = Chain(key_info(home, VALIDATOR_KEY).public_key, Standing.JAILED)
    why = await release(home, cast(SaharaClient, chain))
    assert why is not None and str(RELEASE_HEIGHT) in why


@pytest.mark.parametrize(
    "refusal", [TOO_SMALL, Refused({"message": "It holds nothing.", "data": {"code": "bank.x"}})]
)
async def test_what_no_time_mends_is_asked_once_and_told(home: Path, refusal: ClientError) -> None:
    chain = Chain(key_info(home, VALIDATOR_KEY).public_key, Standing.JAILED)
    chain.refusals = [refusal]
    assert await release(home, cast(SaharaClient, chain)) == refusal.sentence
    assert len(chain.asked) == 1


async def test_an_answer_that_does_not_come_is_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    chain = Chain(key_info(home, VALIDATOR_KEY).public_key, Standing.JAILED)
    chain.refusals = [Unreachable("The node is down.")]
    assert await release(home, cast(SaharaClient, chain)) is None
    assert len(chain.asked) == 2


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
            self.wait_height = chain.wait_height

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


async def test_why_it_is_not_let_out_is_said_once_and_ends_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First its bond is too small, for a while; then nobody can read its key; then it is out."""
    chain = Chain(key_info(home, VALIDATOR_KEY).public_key, Standing.JAILED)
    chain.refusals = [TOO_SMALL] * 3
    passphrase = (home / PASSPHRASE_FILE).read_bytes()
    said: list[str] = []
    is_over = asyncio.Event()

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.query, self.execute = chain.query, chain.execute
            self.wait_height = chain.wait_height

        async def __aenter__(self) -> "Client":
            if not chain.refusals and len(said) == 2:
                (home / PASSPHRASE_FILE).unlink()
            return self

        async def __aexit__(self, *_: Any) -> None:
            return None

        async def status(self) -> Any:
            return SimpleNamespace(is_syncing=False)

    def say(words: str) -> None:
        said.append(words)
        if len(said) == 3:
            (home / PASSPHRASE_FILE).write_bytes(passphrase)
            (home / PASSPHRASE_FILE).chmod(0o600)
        if len(said) == 4:
            is_over.set()

    monkeypatch.setattr(module, "SaharaClient", Client)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.001)
    task = asyncio.create_task(keep_out_of_jail(home, lambda: "http://x", b"g" * 32, say))
    done, _ = await asyncio.wait(
        {task, asyncio.create_task(is_over.wait())},
        timeout=30,
        return_when=asyncio.FIRST_COMPLETED,
    )
    assert task not in done, task.exception()
    task.cancel()
    assert "jailed" in said[0] and "out of jail" in said[3]
    assert TOO_SMALL.sentence in said[1] and "passphrase" in said[2]
    assert len(chain.asked) == 4
