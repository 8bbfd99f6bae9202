"""Each promise of a campaign is found broken when it is, and only then."""

import asyncio
import random
import time
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from node.campaign import load, pace, watcher
from node.campaign.chain_record import ChainRecord
from node.campaign.findings import FINDINGS_MAX, Findings
from node.campaign.ledger import Ledger
from node.campaign.load import hold_to_promises
from node.campaign.pace import SAMPLES_MIN, Probe, hold_pace, intervals_ms, spread_of
from node.campaign.plan import Kind
from node.campaign.substance import find_emptiness
from node.campaign.watcher import Watcher
from node.client import Account, Refused
from node.rpc.backend import Stage, TxStatus
from node.rpc.methods import HeaderView
from state.block import Outcome, Status
from state.errors import NotFound

IDS = [bytes([number]) * 32 for number in range(8)]


def codes(findings: Findings) -> list[str]:
    return [finding.code for finding in findings.found]


def final(tx_id: bytes, height: int = 3, index: int = 0, sentence: str = "") -> TxStatus:
    outcome = Outcome(tx_id, Status.OK, "", sentence, 0, 0, ())
    return TxStatus(tx_id, Stage.FINAL, height, index, outcome)


def test_two_blocks_or_two_states_at_one_height_are_a_fork() -> None:
    findings = Findings()
    chain = ChainRecord(findings)
    chain.header(0, 1, IDS[1], 100, IDS[5])
    chain.header(1, 1, IDS[1], 100, IDS[5])
    chain.head(1, 1, IDS[1], IDS[6])
    assert codes(findings) == []
    chain.header(2, 1, IDS[2], 100, IDS[5])
    assert codes(findings) == ["campaign.fork"]
    chain.header(2, 2, IDS[3], 200, IDS[7])  # the root after block 1, which node 1 told otherwise
    assert codes(findings) == ["campaign.fork"] * 2
    assert "state" in findings.found[1].sentence


def test_a_height_that_was_final_is_not_taken_back_but_with_the_disk() -> None:
    findings = Findings()
    chain = ChainRecord(findings)
    chain.header(0, 1, IDS[1], 100, IDS[5])
    chain.head(0, 2, IDS[2], IDS[6])
    assert chain.next_of(0) == 2
    chain.forget(0)
    assert chain.next_of(0) == 1
    chain.head(0, 1, IDS[1], IDS[7])
    assert codes(findings) == []
    chain.head(0, 0, IDS[0], IDS[5])
    assert codes(findings) == ["campaign.taken_back"]


def test_only_who_lost_its_disk_may_begin_above_the_first_block() -> None:
    findings = Findings()
    chain = ChainRecord(findings)
    chain.begins_at(0, 1)
    chain.forget(0)
    assert chain.lowest_of(0) == 1
    chain.head(0, 150, IDS[1], IDS[5])
    chain.begins_at(0, 101)
    assert (chain.lowest_of(0), codes(findings)) == (101, [])
    chain.head(1, 150, IDS[1], IDS[5])
    chain.begins_at(1, 101)
    assert codes(findings) == ["campaign.hole"]
    chain.begins_at(0, 1_000)
    assert codes(findings) == ["campaign.hole"] * 2, "it cannot begin above its own height"


class Holed:
    """A client to a node that refuses some headers, each with a code."""

    def __init__(self, refused: dict[int, str]) -> None:
        self._refused = refused

    async def query_many(self, calls: Any) -> list[Any]:
        return [self._answer(given["height"]) for _, given in calls]

    def _answer(self, height: int) -> HeaderView | Refused:
        if height in self._refused:
            return Refused({"message": "No.", "data": {"code": self._refused[height]}})
        return HeaderView(IDS[1], SimpleNamespace(time_ms=height, state_root=IDS[5]))


@pytest.mark.parametrize(("lowest", "found"), [(1, 1), (100, 1), (101, 0)])
async def test_a_node_is_held_to_every_header_from_its_lowest_height_on(
    lowest: int, found: int
) -> None:
    findings = Findings()
    client = Holed(dict.fromkeys([*range(1, 51), 100], NotFound.code))
    member: Any = SimpleNamespace(index=0, client=client)
    watching = Watcher([member], findings)
    chain = watching.chain
    chain.forget(0)  # so it may begin with a snapshot
    chain.head(0, 300, IDS[1], IDS[5])
    while chain.next_of(0) <= 300:
        await watching.read_headers(member, 300)
    assert len(chain) == 300 - 51
    chain.begins_at(0, lowest)
    assert codes(findings) == ["campaign.hole"] * found


async def test_who_answers_with_an_error_has_not_told_its_header() -> None:
    member: Any = SimpleNamespace(index=0, client=Holed({3: "rpc.internal_error"}))
    watching = Watcher([member], Findings())
    with pytest.raises(Refused):
        await watching.read_headers(member, 5)
    assert watching.chain.next_of(0) == 3


async def test_what_lies_below_a_snapshot_is_not_asked_for_and_all_else_is() -> None:
    findings = Findings()
    ledger = Ledger(findings, 2)
    for at in (1, 2, 3):
        ledger.admitted(IDS[at], b"wire", 0)
        ledger.told(0, final(IDS[at], height=at))

    class Client:
        asked: ClassVar[list[bytes]] = []

        async def query_many(self, calls: Any) -> list[TxStatus]:
            self.asked.extend([given["tx_id"] for _, given in calls])
            return [final(IDS[2], height=2), TxStatus(IDS[3], Stage.DROPPED)]

    member: Any = SimpleNamespace(index=3, client=Client())
    assert await hold_to_promises(member, ledger, 2) == 2
    assert Client.asked == [IDS[2], IDS[3]]
    assert codes(findings) == ["campaign.acknowledged_lost"]


def test_what_is_acknowledged_stays_where_it_was_said_to_be() -> None:
    findings = Findings()
    ledger = Ledger(findings, 2)
    sent = ledger.admitted(IDS[1], b"wire", 0)
    ledger.told(0, TxStatus(IDS[1], Stage.PENDING))
    assert ledger.acknowledged == []
    ledger.told(1, final(IDS[1]))
    ledger.told(2, final(IDS[1]))
    assert ledger.acknowledged == [sent]
    assert codes(findings) == [] and not ledger.waiting
    for node, status in enumerate(
        (final(IDS[1], height=4), final(IDS[1], index=1), final(IDS[1], sentence="other"))
    ):
        ledger.told(node, status)
    assert codes(findings) == ["campaign.moved"] * 3
    ledger.not_final_at(sent, 3)
    assert codes(findings)[-1] == "campaign.acknowledged_lost"


@pytest.mark.parametrize(
    ("known", "blackout", "is_lost"),
    [((0, 1), False, True), ((0,), False, False), ((0, 1), True, False)],
)
def test_only_what_more_than_a_minority_knew_must_live(
    known: tuple[int, ...], blackout: bool, is_lost: bool
) -> None:
    findings = Findings()
    ledger = Ledger(findings, 2)
    sent = ledger.admitted(IDS[1], b"wire", 0)
    for node in known:
        ledger.told(node, TxStatus(IDS[1], Stage.PENDING))
    ledger.told(3, TxStatus(IDS[1], Stage.DROPPED, reason="expired"))
    ledger.blackouts += blackout
    ledger.unknown_to_all(sent)
    assert codes(findings) == ["campaign.spread_lost"] * is_lost
    ledger.end()  # of one transaction it is said once
    assert codes(findings) == ["campaign.spread_lost"] * is_lost


class Mempool:
    """A client to a node that has some transactions pending, and takes in what it is given."""

    def __init__(self, pending: set[bytes]) -> None:
        self.pending = pending
        self.given: list[bytes] = []

    async def query_many(self, calls: Any) -> list[Any]:
        found = []
        for _, given in calls:
            tx_id = given["tx_id"]
            is_here = tx_id in self.pending
            found.append(TxStatus(tx_id, Stage.PENDING) if is_here else Refused({"message": "No."}))
        return found

    async def submit_many(self, wires: list[bytes]) -> list[bytes]:
        self.given += wires
        return wires


@pytest.mark.parametrize("is_up", [True, False])
async def test_what_the_network_must_keep_is_not_handed_in_again(is_up: bool) -> None:
    """Whether one node is away meanwhile or not: else a loss would be mended before it is seen."""
    findings = Findings()
    ledger = Ledger(findings, 2)
    nodes = [Mempool(set()), Mempool({IDS[1]}), Mempool({IDS[1]})]
    members: Any = [
        SimpleNamespace(index=index, client=client, is_up=is_up or index > 0)
        for index, client in enumerate(nodes)
    ]
    for number, known in ((1, {0}), (2, {0, 1})):
        sent = ledger.admitted(IDS[number], bytes([number]), 0)
        sent.known |= known
        sent.sent_again_at -= 2 * load.SEND_AGAIN_SECONDS
    late = load.Load(members, ledger, 1, 20.0)
    if is_up:  # so it hears that two nodes have the first, and none the second
        ledger.admitted(IDS[3], b"\x03", 0).sent_again_at -= 2 * load.SEND_AGAIN_SECONDS
    await late._send_late_again()
    given = [wire for client in nodes for wire in client.given]
    assert given == [b"\x03" if is_up else b"\x01"]
    assert ledger.sent_again == 1
    assert codes(findings) == ["campaign.spread_lost"] * is_up
    ledger.end()
    assert {finding.code for finding in findings.found} == {"campaign.spread_lost"}


def test_a_campaign_in_which_nothing_happened_is_no_pass() -> None:
    findings = Findings()
    ledger = Ledger(findings, 2)
    ledger.refuse("mempool.full")
    struck: Any = [SimpleNamespace(kind="kill")]
    find_emptiness(findings, [Kind.KILL], [], ledger, 1)
    assert codes(findings) == ["campaign.nothing_done", "campaign.nothing_final"]
    assert "mempool.full 1 times" in findings.found[1].sentence
    ledger.admitted(IDS[1], b"wire", 0)
    ledger.told(0, final(IDS[1]))
    quiet = Findings()
    find_emptiness(quiet, [], [], ledger, 2)
    find_emptiness(quiet, [Kind.KILL], struck, ledger, 100)
    assert codes(quiet) == []
    find_emptiness(quiet, [], [], ledger, 3)
    assert codes(quiet) == ["campaign.little_load"]


def many(count: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in range(count)]


def test_transfers_that_are_taken_in_and_forgotten_are_found() -> None:
    findings = Findings()
    ledger = Ledger(findings, 2)
    for number, tx_id in enumerate(many(100)):
        sent = ledger.admitted(tx_id, b"wire", number % 4)
        if number < 74:
            ledger.told(0, final(tx_id))
        else:
            ledger.unknown_to_all(sent)
    ledger.end()
    assert codes(findings) == ["campaign.few_final"]


@pytest.mark.parametrize(("shared", "found"), [(88, ["campaign.not_spread"]), (90, [])])
async def test_transfers_that_nobody_passes_on_are_found(
    shared: int, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each becomes final in the end, by the node that took it in."""
    monkeypatch.setattr(load, "SPREAD_SECONDS", 0.0, raising=False)
    findings = Findings()
    ledger = Ledger(findings, 2)
    ids = many(100)
    nodes = [Mempool(set(ids)), Mempool(set(ids[:shared]))]
    members: Any = [
        SimpleNamespace(index=index, client=client, is_up=True)
        for index, client in enumerate(nodes)
    ]
    for tx_id in ids:
        ledger.admitted(tx_id, b"wire", 0)
    one = load.Load(members, ledger, 1, 20.0)
    for _ in range(2):
        await one._hold_spread()
    for tx_id in ids:
        ledger.told(0, final(tx_id))
    ledger.end()
    assert codes(findings) == found


@pytest.mark.parametrize("calms", [(None, None), (0, None), (0, 1)])
def test_what_a_failure_may_have_lost_is_not_held_against_the_network(calms: Any) -> None:
    findings = Findings()
    stretch = calms[0]
    ledger = Ledger(findings, 2, lambda: stretch)
    sent = [ledger.admitted(tx_id, b"wire", 0) for tx_id in many(100)]
    stretch = calms[1]
    assert ledger.unspread(0.0) == []
    ledger.judge_spread(sent)
    for tx_id in many(75):
        ledger.told(0, final(tx_id))
    ledger.end()
    assert codes(findings) == []


def test_of_few_transfers_no_share_is_judged() -> None:
    findings = Findings()
    ledger = Ledger(findings, 2)
    for tx_id in many(19):
        ledger.admitted(tx_id, b"wire", 0)
    ledger.end()
    assert codes(findings) == []


async def test_nobody_waits_for_a_height_while_the_chain_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watcher, "STAND_SECONDS_MAX", 0.05)
    watching = Watcher([], Findings())
    watching.top = 7
    assert await watching.reach(7)
    assert not await watching.reach(8)


def test_what_is_still_waiting_in_the_end_is_found() -> None:
    findings = Findings()
    ledger = Ledger(findings, 1)
    ledger.admitted(IDS[1], b"wire", 0)
    ledger.admitted(IDS[2], b"wire", 0)
    ledger.told(0, final(IDS[2]))
    ledger.end()
    assert codes(findings) == ["campaign.spread_lost"]


def test_findings_are_said_once_and_bounded() -> None:
    findings = Findings()
    for number in range(2 * FINDINGS_MAX):
        findings.add("campaign.fork", str(number // 2), "It forked.")
    assert len(findings.found) == FINDINGS_MAX


def test_a_slow_pace_is_found_and_a_good_one_is_not() -> None:
    findings = Findings()
    good, slow = spread_of([500.0] * SAMPLES_MIN), spread_of([5_000.0] * SAMPLES_MIN)
    hold_pace(findings, 50, 200, good, good)
    assert codes(findings) == []
    hold_pace(findings, 50, 200, slow, slow)
    assert codes(findings) == ["campaign.slow"] * 2


def test_a_pace_that_was_hardly_measured_is_not_kept() -> None:
    findings = Findings()
    good = spread_of([500.0] * SAMPLES_MIN)
    hold_pace(findings, 50, 200, good, spread_of([400.0] * (SAMPLES_MIN - 1)))
    assert codes(findings) == ["campaign.not_measured"]
    hold_pace(findings, 50, 200, spread_of([]), good)
    assert codes(findings) == ["campaign.not_measured"] * 2


@pytest.mark.parametrize("stays_quiet", [True, False])
async def test_a_transfer_that_is_not_final_in_time_counts_as_slow(
    stays_quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "PROBE_SECONDS", 0.01)
    monkeypatch.setattr(pace, "FINAL_SECONDS_MAX", 0.1)

    class Client:
        async def build(self, *_: object) -> Any:
            return SimpleNamespace(tx_id=IDS[1], wire=b"wire")

        async def submit(self, _: bytes) -> None: ...

        async def transaction_status(self, tx_id: bytes) -> TxStatus:
            return TxStatus(tx_id, Stage.PENDING)

    began = time.monotonic()
    member: Any = SimpleNamespace(index=0, client=Client())
    probe = Probe(
        [member],
        Ledger(Findings(), 2),
        Account.from_seed(IDS[1]),
        random.Random(1),
        lambda: stays_quiet or time.monotonic() < began + 0.05,
    )
    task = asyncio.create_task(probe.run())
    await asyncio.sleep(0.5)
    task.cancel()
    assert bool(probe.finality_ms) == stays_quiet
    assert set(probe.finality_ms) <= {100.0}


def test_intervals_are_between_neighbours_after_the_first_block() -> None:
    assert intervals_ms({0: 0, 1: 900, 2: 1_000, 3: 1_150, 5: 9_000, 6: 9_001}, 5) == [100.0, 150.0]
    assert spread_of([]).samples == 0
    assert spread_of([float(value) for value in range(101)]).p90 == 90.0
