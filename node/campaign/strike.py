"""Carrying failures out, and waiting until the network has recovered from each."""

import asyncio
import os
import time
from collections.abc import Sequence

import msgspec

from node.campaign.findings import Findings
from node.campaign.ledger import Ledger
from node.campaign.member import SNAPSHOT_SURE_HEIGHT, Member
from node.campaign.plan import Blow, Kind, minority_of
from node.campaign.switch import Carried, Switch
from node.campaign.watcher import FRESH_SECONDS, Watcher
from node.client import ClientError
from node.devnet.release import release
from node.home import VALIDATOR_KEY
from node.keystore import key_info
from node.rpc.backend import Finality

WIPED_TIMES = 3
"""A node that has to get the whole chain again may take so many times as long as others."""

VOTE_SECONDS_MAX = 60.0
"""Within this a node that lost its disk votes again."""

GIVE_UP_SECONDS = 120.0
"""So long a campaign waits for what is too late already, to tell late from never."""

BEHIND_MAX = 3
STALL_SECONDS_MAX = 8.0
"""So long the chain may stand while no more than a minority is away."""

POLL_SECONDS = 0.1


class Strike(msgspec.Struct, frozen=True):
    """One failure as it was: times in seconds since the campaign's beginning."""

    kind: str
    nodes: tuple[int, ...]
    began: float
    ended: float
    recovered_seconds: float | None
    """From its end until all were there again; None when that never came."""
    voted_seconds: float | None
    """From its end until a node that lost its disk voted again."""
    height: int
    """The highest when it began."""
    risen: int
    """Blocks that became final while it lasted."""
    load: float
    """Processes that wanted to run on this machine, over the minute before."""


class Striker:
    """Does to the nodes what a plan says, one failure after the other."""

    def __init__(
        self,
        members: Sequence[Member],
        watcher: Watcher,
        ledger: Ledger,
        findings: Findings,
        switch: Switch | None,
        recovery_seconds_max: float,
    ) -> None:
        self.strikes: list[Strike] = []
        self.is_quiet = False
        """Whether nothing is being done, and everybody has recovered."""
        self._members = members
        self._watcher = watcher
        self._ledger = ledger
        self._findings = findings
        self._switch = switch
        self._recovery_seconds_max = recovery_seconds_max
        self._lost_by_cuts = 0

    @property
    def calm(self) -> int | None:
        """The number of the stretch in which nothing is being done; None while something is."""
        return len(self.strikes) if self.is_quiet else None

    async def strike(self, blow: Blow) -> bool:
        """Carry one failure out and wait for recovery; tell whether that came."""
        self.is_quiet = False
        began, height = self._findings.now(), self._watcher.top
        await self._begin(blow)
        begun = time.monotonic()
        await asyncio.sleep(blow.hold_seconds)
        risen = self._watcher.top - height
        self._find_stall(blow, self._watcher.stood_seconds(begun, time.monotonic()))
        await self._end(blow)
        ended = self._findings.now()
        after = f"{blow.kind.value} of {_listed(blow.nodes)}"
        recovered = await self.recovered(after, blow.nodes if blow.kind is Kind.WIPE else ())
        voted = None
        if recovered is not None:
            await self._release(blow)
            await self._find_blocks_fetched(blow, height)
            voted = await self._vote_again(blow)
        self.strikes.append(
            Strike(
                blow.kind.value,
                blow.nodes,
                began,
                ended,
                recovered,
                voted,
                height,
                risen,
                round(os.getloadavg()[0], 2),
            )
        )
        self.is_quiet = recovered is not None
        return self.is_quiet

    def _find_stall(self, blow: Blow, stood_seconds: float) -> None:
        is_minority = len(blow.nodes) <= minority_of(len(self._members))
        if is_minority and stood_seconds >= STALL_SECONDS_MAX:
            self._findings.add(
                "campaign.stalled",
                f"{self._findings.now()}",
                f"No block became final for {stood_seconds:.1f} s in {blow.kind.value} of "
                f"{_listed(blow.nodes)}, although a quorum was there.",
            )

    async def recovered(self, after: str, wiped: Sequence[int] = ()) -> float | None:
        """Return how long it took until all nodes are together at a chain that grows.

        Those that were wiped may take longer, and nobody else may because of them.
        """
        began, bound = time.monotonic(), self._recovery_seconds_max
        others = [member.index for member in self._members if member.index not in wiped]
        passed = await self._together(others, after, began, bound)
        if passed is None or not wiped:
            return passed
        return await self._together([*others, *wiped], after, began, WIPED_TIMES * bound)

    async def _together(
        self, nodes: Sequence[int], after: str, began: float, bound: float
    ) -> float | None:
        """Wait until these are together; what was final before, and is seen only now, is no growth.

        So the chain has to rise once they are.
        """
        first: int | None = None  # the highest height when all were together first
        while (passed := time.monotonic() - began) < GIVE_UP_SECONDS:
            if self._are_together(nodes, began):
                if first is None:
                    first = self._watcher.top
                if self._watcher.top > first:
                    if passed > bound:
                        self._late(after, f"took {passed:.1f} s, more than {bound:g} s")
                    return round(passed, 2)
            if not all(member.is_up for member in self._members):
                break  # one has ended by itself, and nobody starts it again
            await asyncio.sleep(POLL_SECONDS)
        self._late(after, f"did not come within {passed:.0f} s")
        return None

    def _late(self, after: str, how: str) -> None:
        heights = {index: sight.height for index, sight in self._watcher.sights.items()}
        self._findings.add(
            "campaign.not_recovered",
            f"{self._findings.now()}",
            f"Recovery from the {after} {how}; heights {heights}, machine's load "
            f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        )

    def _are_together(self, nodes: Sequence[int], since: float) -> bool:
        """Whether each of these was seen lately, close to the highest."""
        fresh = max(since, time.monotonic() - FRESH_SECONDS)
        lowest = self._watcher.top - BEHIND_MAX
        sights = [self._watcher.sights[node] for node in nodes]
        return all(sight.seen_at >= fresh and sight.height >= lowest for sight in sights)

    async def _begin(self, blow: Blow) -> None:
        met = [self._members[index] for index in blow.nodes]
        match blow.kind:
            case Kind.BLACKOUT:
                await asyncio.gather(*[member.kill() for member in met])
                self._ledger.blackouts += 1
            case Kind.KILL:
                await asyncio.gather(*[member.kill() for member in met])
            case Kind.WIPE:
                for member in met:
                    await member.kill()
                    member.wipe()
                    self._watcher.chain.forget(member.index)
            case Kind.PAUSE | Kind.FREEZE:
                for member in met:
                    member.pause()
            case Kind.RESTART:
                await asyncio.gather(*[member.stop() for member in met])
            case Kind.CUT | Kind.ONEWAY | Kind.SPLIT:
                assert self._switch is not None, "planned only where nodes have namespaces"
                self._lost_by_cuts = (await self._switch.cut(blow.pairs)).lost_by_cuts

    async def _end(self, blow: Blow) -> None:
        met = [self._members[index] for index in blow.nodes]
        match blow.kind:
            case Kind.PAUSE | Kind.FREEZE:
                for member in met:
                    member.resume()
            case Kind.CUT | Kind.ONEWAY | Kind.SPLIT:
                assert self._switch is not None, "planned only where nodes have namespaces"
                self._find_no_cut(blow, await self._switch.cut(()))
            case Kind.BLACKOUT | Kind.KILL | Kind.WIPE | Kind.RESTART:
                for member in met:
                    await member.start()

    def _find_no_cut(self, blow: Blow, carried: Carried) -> None:
        """Find wrong a cut that held nothing back: what the nodes bore then was no failure."""
        if carried.lost_by_cuts == self._lost_by_cuts:
            self._findings.add(
                "campaign.not_cut",
                f"{self._findings.now()}",
                f"No packet was held back by {blow.kind.value} of {_listed(blow.nodes)}.",
            )

    async def _release(self, blow: Blow) -> None:
        """Let those out of jail who came there for having been away."""
        for index in blow.nodes:
            try:
                member = self._members[index]
                why = await release(member.seat.home, member.client)
            except ClientError as error:
                sentence = f"Node {index} does not tell whether it is in jail: {error.sentence}"
                self._findings.add("campaign.silent", f"{self._findings.now()}", sentence)
                continue
            if why is not None:
                self._findings.add(
                    "campaign.not_released",
                    f"{index}:{self._findings.now()}",
                    f"Validator {index} was jailed while it was away, and is not let out: {why}",
                )

    async def _find_blocks_fetched(self, blow: Blow, height: int) -> None:
        """Find wrong that who lost its disk got all blocks again, though others had a snapshot."""
        if blow.kind is not Kind.WIPE or height < SNAPSHOT_SURE_HEIGHT:
            return
        for index in blow.nodes:
            try:
                status = await self._members[index].client.status()
            except ClientError as error:
                sentence = f"Node {index} does not tell how it began: {error.sentence}"
                self._findings.add("campaign.silent", f"{self._findings.now()}", sentence)
                continue
            if status.lowest_height == 1:
                self._findings.add(
                    "campaign.no_snapshot",
                    f"{index}:{self._findings.now()}",
                    f"Node {index} lost its disk at height {height} and fetched every block, "
                    "though its peers had snapshots.",
                )

    async def _vote_again(self, blow: Blow) -> float | None:
        """Wait until nodes that lost their disk are in the finalization of a later block."""
        if blow.kind is not Kind.WIPE:
            return None
        began = time.monotonic()
        for index in blow.nodes:
            if not await self._votes(self._members[index], began):
                self._findings.add(
                    "campaign.votes_no_more",
                    f"{index}:{self._findings.now()}",
                    f"Node {index} lost its disk, has the chain again, and did not vote within "
                    f"{VOTE_SECONDS_MAX:g} s.",
                )
                return None
        return round(time.monotonic() - began, 2)

    async def _votes(self, member: Member, began: float) -> bool:
        key = key_info(member.seat.home, VALIDATOR_KEY).public_key
        height = self._watcher.top
        while time.monotonic() < began + VOTE_SECONDS_MAX:
            try:
                await member.client.wait_height(height, timeout_seconds=VOTE_SECONDS_MAX)
                if key in await self._signers(member, height):
                    return True
                height += 1
            except ClientError:
                await asyncio.sleep(POLL_SECONDS)
        return False

    async def _signers(self, member: Member, height: int) -> set[bytes]:
        """Return the keys in the certificate that makes a block final."""
        finality: Finality = await member.client.query("chain.finalization", height=height)
        epoch = finality.finalization.subject.epoch
        validators = await member.client.query("chain.validators", epoch=epoch)
        return {validators[vote.validator].public_key for vote in finality.finalization.votes}


def _listed(nodes: Sequence[int]) -> str:
    return "node " + ", ".join(str(node) for node in nodes)
