"""What an operator does for a validator that was jailed while it was away: asking to be let out."""

import asyncio
import time

from node.campaign.member import Member
from node.client import ClientError, SaharaClient
from node.home import PASSPHRASE_FILE, VALIDATOR_KEY
from node.keystore import key_info, load_key, read_passphrase
from state.modules.staking.records import Standing
from state.modules.staking.validating import Unjail

RELEASE_SECONDS_MAX = 60.0
"""So long jail, and the way out of it, may last."""

RETRY_SECONDS = 0.5


async def release(member: Member) -> bool:
    """Let a node's validator out of jail where it sits there; tell whether it is out.

    May raise ClientError.
    """
    home = member.seat.home
    public_key = key_info(home, VALIDATOR_KEY).public_key
    if not await _is_jailed(member.client, public_key):
        return True
    account = load_key(home, VALIDATOR_KEY, read_passphrase(home / PASSPHRASE_FILE)).account()
    deadline = time.monotonic() + RELEASE_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            await member.client.execute(account, Unjail())
        except ClientError:
            await asyncio.sleep(RETRY_SECONDS)  # its time is not over yet
        if not await _is_jailed(member.client, public_key):
            return True
    return False


async def _is_jailed(client: SaharaClient, public_key: bytes) -> bool:
    validators = await client.query("staking.validators")
    standing = {validator.public_key: validator.standing for validator in validators}
    return bool(standing[public_key] == Standing.JAILED)
