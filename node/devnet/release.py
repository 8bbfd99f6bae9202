"""What an operator does for a validator that was jailed while it was away: asking to be let out."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from node.client import ClientError, OutcomeNotOk, Refused, SaharaClient
from node.home import PASSPHRASE_FILE, VALIDATOR_KEY
from node.keystore import KeystoreError, key_info, load_key, read_passphrase
from state.modules.staking.queries import ValidatorView
from state.modules.staking.records import Standing
from state.modules.staking.validating import Unjail
from state.types import Hash

RELEASE_SECONDS_MAX = 60.0
"""So long jail, and the way out of it, may last."""

RETRY_SECONDS = 0.5
LOOK_SECONDS = 3.0
AGAIN_SECONDS = 60.0
"""So long whoever was not let out waits until it asks anew: each request that fails pays a fee."""

TIMEOUT_SECONDS = 5.0
PASSING = frozenset(
    {
        "mempool.full",
        "mempool.funds_reserved",
        "mempool.sender_full",
        "rpc.limit_exceeded",
        "staking.jail_lasts",
        "staking.not_jailed",
    }
)
"""Refusals that time alone mends; any other one would be repeated for ever, and paid each time."""


async def release(home: Path, client: SaharaClient) -> str | None:
    """Let a home's validator out of jail where it sits there; return why it is not out, if so.

    It asks when its time is over, and not before. May raise ClientError or KeystoreError.
    """
    public_key = key_info(home, VALIDATOR_KEY).public_key
    jailed = await _jailed(client, public_key)
    if jailed is None:
        return None
    passphrase = read_passphrase(home / PASSPHRASE_FILE)
    key = await asyncio.to_thread(load_key, home, VALIDATOR_KEY, passphrase)
    account = key.account()
    deadline = time.monotonic() + RELEASE_SECONDS_MAX
    why = f"It is in jail until height {jailed.release_height}."
    while jailed is not None:
        left_seconds = deadline - time.monotonic()
        if left_seconds <= 0:
            return why
        try:  # the block after that one is the first that may let it out
            await client.wait_height(jailed.release_height - 1, timeout_seconds=left_seconds)
            await client.execute(account, Unjail())
        except ClientError as error:
            why = error.sentence
            if isinstance(error, OutcomeNotOk | Refused) and error.code not in PASSING:
                return why
            await asyncio.sleep(RETRY_SECONDS)
        jailed = await _jailed(client, public_key)
    return None


async def keep_out_of_jail(
    home: Path, url: Callable[[], str], genesis_hash: Hash, say: Callable[[str], None]
) -> None:
    """Ask for a validator's release whenever its own node runs and finds it in jail, for ever."""
    told: str | None = None  # of the same stay in jail nothing is said twice in a row
    pause_seconds = LOOK_SECONDS
    while True:
        await asyncio.sleep(pause_seconds)
        pause_seconds = LOOK_SECONDS
        try:
            public_key = key_info(home, VALIDATOR_KEY).public_key
            async with SaharaClient(
                url(), genesis_hash=genesis_hash, timeout_seconds=TIMEOUT_SECONDS
            ) as client:
                if (await client.status()).is_syncing:
                    continue
                if await _jailed(client, public_key) is None:
                    told = None
                    continue
                if told is None:
                    told = "its validator was jailed for being away, and asks to be let out."
                    say(told)
                why = await release(home, client)
        except ClientError:
            continue  # the node is down, or the chain stands: the next look tells
        except KeystoreError as error:
            why = error.sentence
        if why is None:
            say("its validator is out of jail, and votes from the epoch after next on.")
            told = None
            continue
        pause_seconds = AGAIN_SECONDS
        words = f"its validator is not let out of jail: {why}"
        if words != told:
            told = words
            say(words)


async def _jailed(client: SaharaClient, public_key: bytes) -> ValidatorView | None:
    """Return a validator that sits in jail, None where it does not."""
    validators: list[ValidatorView] = await client.query("staking.validators")
    for validator in validators:
        if validator.public_key == public_key and validator.standing == Standing.JAILED:
            return validator
    return None
