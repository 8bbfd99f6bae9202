"""What an operator does for a validator that was jailed while it was away: asking to be let out."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from node.client import ClientError, SaharaClient
from node.home import PASSPHRASE_FILE, VALIDATOR_KEY
from node.keystore import key_info, load_key, read_passphrase
from state.modules.staking.records import Standing
from state.modules.staking.validating import Unjail
from state.types import Hash

RELEASE_SECONDS_MAX = 60.0
"""So long jail, and the way out of it, may last."""

RETRY_SECONDS = 0.5
LOOK_SECONDS = 3.0
TIMEOUT_SECONDS = 5.0


async def release(home: Path, client: SaharaClient) -> bool:
    """Let a home's validator out of jail where it sits there; tell whether it is out.

    May raise ClientError.
    """
    public_key = key_info(home, VALIDATOR_KEY).public_key
    if not await _is_jailed(client, public_key):
        return True
    passphrase = read_passphrase(home / PASSPHRASE_FILE)
    key = await asyncio.to_thread(load_key, home, VALIDATOR_KEY, passphrase)
    account = key.account()
    deadline = time.monotonic() + RELEASE_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            await client.execute(account, Unjail())
        except ClientError:
            await asyncio.sleep(RETRY_SECONDS)  # its time is not over yet
        if not await _is_jailed(client, public_key):
            return True
    return False


async def keep_out_of_jail(
    home: Path, url: Callable[[], str], genesis_hash: Hash, say: Callable[[str], None]
) -> None:
    """Ask for a validator's release whenever its own node runs and finds it in jail, for ever."""
    public_key = key_info(home, VALIDATOR_KEY).public_key
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        with suppress(ClientError):  # the node is down, or the chain stands: the next look tells
            async with SaharaClient(
                url(), genesis_hash=genesis_hash, timeout_seconds=TIMEOUT_SECONDS
            ) as client:
                if (await client.status()).is_syncing or not await _is_jailed(client, public_key):
                    continue
                say("its validator was jailed for being away, and asks to be let out.")
                if await release(home, client):
                    say("its validator is out of jail, and votes from the epoch after next on.")


async def _is_jailed(client: SaharaClient, public_key: bytes) -> bool:
    validators = await client.query("staking.validators")
    standing = {validator.public_key: validator.standing for validator in validators}
    return bool(standing.get(public_key) == Standing.JAILED)
