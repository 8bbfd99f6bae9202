"""A node that ends by itself is found wrong, whatever is being done to it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from node.campaign.findings import Findings
from node.campaign.member import Member, seat_in_space

SECONDS_MAX = 30.0


@pytest.mark.parametrize("is_paused", [True, False])
async def test_who_dies_while_it_stands_still_is_found_and_goes_on_nowhere(
    tmp_path: Path, is_paused: bool
) -> None:
    findings = Findings()
    member = Member(seat_in_space(0, tmp_path), [], {}, findings, None)
    member._line = ["sleep", "60"]
    await member.start()
    assert member.identity is not None and member.is_up
    if is_paused:
        member.pause()
    os.kill(member.identity.pid, signal.SIGKILL)
    assert member._watching is not None
    await asyncio.wait_for(member._watching, SECONDS_MAX)
    assert [finding.code for finding in findings.found] == ["campaign.died"]
    if not is_paused:
        member.pause()
    member.resume()
    assert not member.is_up
