"""Runs a campaign: founds a network, sends, strikes, watches, and judges in the end."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from node.campaign import report as reports
from node.campaign.comparison import compare
from node.campaign.errors import NeverBegan
from node.campaign.findings import Findings
from node.campaign.join import join_late
from node.campaign.ledger import Ledger
from node.campaign.load import Load
from node.campaign.log_check import read_logs
from node.campaign.member import Member
from node.campaign.network import PROBE_SEED, Network, founded
from node.campaign.offences import find_evidence
from node.campaign.pace import Probe, hold_pace, intervals_ms, spread_of
from node.campaign.plan import NEEDS_LINKS, Blow, Kind, blows, minority_of
from node.campaign.report import Join, Machine, NodeFigures, Report, Wishes
from node.campaign.strike import Striker
from node.campaign.substance import find_emptiness
from node.campaign.watcher import Watcher
from node.client import Account

SETTLE_SECONDS_MAX = 30.0
"""So long what was sent last may take to become final."""

POLL_SECONDS = 0.1

Say = Callable[[str], None]


def kinds_of(wishes: Wishes) -> list[Kind]:
    """Return the failures that are wished for and can be had."""
    wanted = [Kind(name) for name in wishes.kinds]
    return [kind for kind in wanted if not (wishes.is_on_loopback and kind in NEEDS_LINKS)]


async def run_campaign(wishes: Wishes, folder: Path, say: Say) -> Report:
    """Run a campaign in a new folder and return its report; nothing of it runs afterwards.

    Raises CampaignError where it cannot be run at all.
    """
    findings = Findings()
    async with founded(wishes, folder, findings) as network:
        return await Campaign(wishes, network, findings, say).run()


class Campaign:
    """One campaign over a network that was founded."""

    def __init__(self, wishes: Wishes, network: Network, findings: Findings, say: Say) -> None:
        self._wishes = wishes
        self._network = network
        self._findings = findings
        self._say = say
        members = network.members
        self._watcher = Watcher(members, findings)
        self._ledger = Ledger(findings, minority_of(len(members)) + 1, lambda: self._striker.calm)
        self._busy_height = 0
        """Up to here transfers were sent: idle blocks are slower by intent."""
        self._load = Load(members, self._ledger, wishes.seed, wishes.rate_per_second)
        self._striker = Striker(
            members,
            self._watcher,
            self._ledger,
            findings,
            network.switch,
            wishes.recovery_seconds_max,
        )
        self._probe = Probe(
            members,
            self._ledger,
            Account.from_seed(PROBE_SEED),
            random.Random(wishes.seed),
            lambda: self._striker.is_quiet,
        )

    async def run(self) -> Report:
        """Begin, strike until the time is over, and judge."""
        for member in self._network.members:
            await member.start()
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watcher.run())
                await self._begin()
                sending = group.create_task(self._load.send())
                probing = group.create_task(self._probe.run())
                asking = group.create_task(self._load.ask())
                await self._strikes()
                sending.cancel()
                probing.cancel()
                self._busy_height = self._watcher.top
                await self._settle()
                asking.cancel()
                await self._stay()
                joined = await self._join()
                watching.cancel()
        except ExceptionGroup as found:  # who reads it wants the one cause, not a group of one
            raise found.exceptions[0] from found
        return await self._judge(joined)

    async def _begin(self) -> None:
        """Wait for the first blocks; raises NeverBegan."""
        if await self._striker.recovered("start") is None:
            words = [str(finding.sentence) for finding in self._findings.found]
            raise NeverBegan(
                f"The nodes did not begin together; their homes are in {self._network.folder}. "
                + " ".join(words)
            )
        self._striker.is_quiet = True
        self._say(f"{len(self._network.members)} nodes make blocks.")

    async def _strikes(self) -> None:
        wishes, striker = self._wishes, self._striker
        until = time.monotonic() + wishes.seconds
        kinds = kinds_of(wishes)
        if not kinds:
            await asyncio.sleep(wishes.seconds)
            return
        for blow in blows(wishes.seed, wishes.validators, kinds, wishes.hold_seconds_max):
            await asyncio.sleep(min(blow.quiet_seconds, max(0.0, until - time.monotonic())))
            if time.monotonic() >= until:
                return
            self._say(f"{self._findings.now():6.1f} s  {told(blow)}")
            if not await striker.strike(blow):
                return  # what does not recover teaches nothing more; its homes are kept

    async def _settle(self) -> None:
        """Wait until everything that is waited for is final, or until that takes too long."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while self._ledger.waiting:
            await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() > deadline:
                break
        self._ledger.end()

    async def _stay(self) -> None:
        """Find wrong a network that held through all failures, and is not there in the end."""
        if self._striker.is_quiet:
            self._striker.is_quiet = await self._striker.recovered("end of the load") is not None

    async def _join(self) -> list[Join]:
        height = self._wishes.join_height
        if height is None or not self._striker.is_quiet:
            return []  # who comes late to a network that has failed says nothing of either
        if not await self._watcher.reach(height):
            self._findings.add(
                "campaign.stalled",
                "join",
                f"The chain stands at height {self._watcher.top}; late nodes were to join at "
                f"{height}.",
            )
            return []
        self._say(f"{self._findings.now():6.1f} s  late nodes join at height {height}")
        return await join_late(self._network, self._watcher, self._findings, self._ledger)

    # --- the verdict -----------------------------------------------------------------------------

    async def _judge(self, joined: list[Join]) -> Report:
        members, findings = self._network.members, self._findings
        seconds = findings.now()
        compared = 0
        for member in members:
            compared += await compare(member, self._watcher, self._ledger, findings)
        await asyncio.gather(*[member.stop() for member in members if member.is_up])
        for member in members:
            find_evidence(member, findings)
        warnings = read_logs(members, findings)
        strikes = self._striker.strikes
        wished = self._wishes.rate_per_second * self._wishes.seconds
        find_emptiness(findings, kinds_of(self._wishes), strikes, self._ledger, wished)
        return self._report(seconds, compared, warnings, joined)

    def _report(
        self, seconds: float, compared: int, warnings: dict[str, int], joined: list[Join]
    ) -> Report:
        wishes, ledger, watcher = self._wishes, self._ledger, self._watcher
        strikes = self._striker.strikes
        interval = spread_of(intervals_ms(watcher.chain.times_ms, self._busy_height))
        finality = spread_of(self._probe.finality_ms)
        if wishes.conditions.delay_ms and not strikes:
            hold_pace(
                self._findings,
                wishes.conditions.delay_ms,
                wishes.block_time_ms,
                interval,
                finality,
            )
        recovered = [
            strike.recovered_seconds * 1_000
            for strike in strikes
            if strike.recovered_seconds is not None
        ]
        loads = [strike.load for strike in strikes]
        return Report(
            passed=not self._findings.found,
            findings=self._findings.found,
            wishes=wishes,
            seconds=seconds,
            blocks=len(watcher.chain),
            strikes=strikes,
            load=reports.Load(
                len(ledger.sent),
                len(ledger.acknowledged),
                ledger.sent_again,
                len(ledger.waiting),
                ledger.refused,
                compared,
            ),
            interval=interval,
            finality=finality,
            recovery=spread_of(recovered),
            nodes=[self._figures(member) for member in self._network.members],
            warnings=warnings,
            machine=Machine(
                os.cpu_count() or 1,
                max((*loads, round(os.getloadavg()[0], 2))),
                round(watcher.lag_seconds_max * 1_000, 1),
            ),
            joins=joined,
            heights={str(index): sight.heights for index, sight in watcher.sights.items()},
        )

    def _figures(self, member: Member) -> NodeFigures:
        sight = self._watcher.sights[member.index]
        lowest = self._watcher.chain.lowest_of(member.index)
        return NodeFigures(
            member.index, member.starts, sight.height, lowest, sight.rss_mb_first, sight.rss_mb_max
        )


def told(blow: Blow) -> str:
    """Say what is about to be done."""
    nodes = " ".join(str(node) for node in blow.nodes)
    return f"{blow.kind.value} of {nodes} for {blow.hold_seconds:.1f} s"
