"""A node that comes late is held against all others, as those are."""

from types import SimpleNamespace
from typing import Any

import pytest

from node.campaign.comparison import compare
from node.campaign.findings import Findings
from node.campaign.join import ARCHIVE, find_way
from node.campaign.ledger import Ledger
from node.campaign.member import SNAPSHOT_SURE_HEIGHT
from node.campaign.watcher import Watcher
from node.client import Unreachable
from node.rpc.backend import Stage, TxStatus
from node.rpc.methods import HeaderView
from state.block import Outcome, Status

ROOT, OTHER = b"r" * 32, b"o" * 32
TX_ID = b"t" * 32
HEIGHT = 20


def block_id(height: int) -> bytes:
    return height.to_bytes(32, "big")


class Late:
    """A client to a node of height 20 that may differ in one block, or lack a transfer."""

    def __init__(self, forked: int = 0, *, lacks: bool = False, is_gone: bool = False) -> None:
        self._forked, self._lacks, self._is_gone = forked, lacks, is_gone

    async def status(self) -> Any:
        if self._is_gone:
            raise Unreachable("No answer.")
        return SimpleNamespace(
            finalized_height=HEIGHT, block_id=self._id(HEIGHT), state_root=ROOT, lowest_height=1
        )

    async def query(self, _: str) -> list[Any]:
        return []

    async def query_many(self, calls: Any) -> list[Any]:
        return [self._answer(name, given) for name, given in calls]

    def _answer(self, name: str, given: dict[str, Any]) -> Any:
        if name == "chain.header":
            height = given["height"]
            header: Any = SimpleNamespace(time_ms=height, state_root=ROOT)
            return HeaderView(self._id(height), header)
        if self._lacks:
            return TxStatus(TX_ID, Stage.DROPPED)
        return final()

    def _id(self, height: int) -> bytes:
        return OTHER if height == self._forked else block_id(height)


def final() -> TxStatus:
    return TxStatus(TX_ID, Stage.FINAL, 3, 0, Outcome(TX_ID, Status.OK, "", "", 0, 0, ()))


@pytest.mark.parametrize(
    ("late", "found"),
    [
        (Late(), []),
        (Late(forked=7), ["campaign.fork"]),
        (Late(forked=HEIGHT), ["campaign.fork"]),
        (Late(lacks=True), ["campaign.acknowledged_lost"]),
        (Late(is_gone=True), ["campaign.silent"]),
    ],
)
async def test_every_header_and_every_promise_is_compared(late: Late, found: list[str]) -> None:
    findings = Findings()
    ledger = Ledger(findings, 2)
    ledger.admitted(TX_ID, b"wire", 0)
    ledger.told(0, final())
    watcher = Watcher([], findings)
    for height in range(1, HEIGHT + 1):
        watcher.chain.header(0, height, block_id(height), height, ROOT)
    member: Any = SimpleNamespace(index=4, client=late)
    assert await compare(member, watcher, ledger, findings) == (found != ["campaign.silent"])
    assert [finding.code for finding in findings.found] == found


@pytest.mark.parametrize(
    ("profile", "height", "lowest", "is_wrong"),
    [
        ("full", SNAPSHOT_SURE_HEIGHT, 1, True),
        ("full", SNAPSHOT_SURE_HEIGHT, 101, False),
        ("full", SNAPSHOT_SURE_HEIGHT - 1, 1, False),
        (ARCHIVE, SNAPSHOT_SURE_HEIGHT, 1, False),
    ],
)
def test_who_may_take_a_snapshot_does(
    profile: str, height: int, lowest: int, is_wrong: bool
) -> None:
    findings = Findings()
    find_way(findings, 4, profile, height, lowest)
    assert [finding.code for finding in findings.found] == ["campaign.no_snapshot"] * is_wrong
