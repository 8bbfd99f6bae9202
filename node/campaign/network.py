"""The network of a campaign: founded in new homes, with or without namespaces, and taken down."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from node.campaign.findings import Findings
from node.campaign.load import FUNDS_GRAINS, payers_of
from node.campaign.member import SNAPSHOT_EVERY_BLOCKS, Member, seat_in_space
from node.campaign.report import Wishes
from node.campaign.spaces import Space, make_spaces
from node.campaign.switch import Switch, start_switch
from node.client import Account
from node.devnet.layout import node_home, take_seat
from node.home import HomeWishes, create_homes
from state.genesis import Allocation
from state.types import Hash

PROBE_SEED = b"campaign probe".ljust(32, b".")


@dataclass(slots=True)
class Network:
    """The nodes of a campaign, and what is between them."""

    members: list[Member]
    switch: Switch | None
    spare: Space | None
    """A namespace for a node that comes late."""
    folder: Path
    genesis_hash: Hash
    settings: dict[str, object]


@asynccontextmanager
async def founded(wishes: Wishes, folder: Path, findings: Findings) -> AsyncIterator[Network]:
    """Give a network whose nodes are about to be started."""
    count = wishes.validators
    async with AsyncExitStack() as at_end:
        spaces: list[Space] = []
        if not wishes.is_on_loopback:
            spaces = make_spaces(count + 1)
            for space in spaces:
                at_end.callback(space.close)
        homes = [node_home(folder, index) for index in range(count)]
        payers = [*payers_of(wishes.seed), Account.from_seed(PROBE_SEED)]
        funds = tuple([Allocation(payer.address, FUNDS_GRAINS) for payer in payers])
        founding = HomeWishes(time_ms=time.time_ns() // 1_000_000, funds=funds)
        _, genesis = create_homes(homes, founding)
        switch = None
        if spaces:
            switch = await start_switch(spaces, wishes.conditions, wishes.seed)
            at_end.push_async_callback(switch.stop)
        place = seat_in_space if spaces else take_seat
        seats = [place(index, home) for index, home in enumerate(homes)]
        pace = wishes.block_time_ms
        settings: dict[str, object] = {
            "--block-interval-ms-min": pace,
            "--idle-interval-ms": 2 * pace,
            "--snapshot-every-blocks": SNAPSHOT_EVERY_BLOCKS,
        }
        members = []
        for seat in seats:
            own = spaces[seat.index] if spaces else None
            members.append(Member(seat, seats, settings, findings, own))
        for member in members:
            at_end.push_async_callback(member.close)
            await member.open(genesis.hash)
        spare = spaces[-1] if spaces else None
        yield Network(members, switch, spare, folder, genesis.hash, settings)
