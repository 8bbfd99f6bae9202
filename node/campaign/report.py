"""What a campaign says in the end: a verdict with its reasons, the timeline, and figures."""

import msgspec

from node.campaign.fabric import Conditions
from node.campaign.findings import Finding
from node.campaign.pace import Spread
from node.campaign.plan import Kind
from node.campaign.strike import Strike


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign shall do; with the nodes' own timing, a seed decides the rest."""

    validators: int = 4
    seconds: float = 300.0
    """So long new failures begin."""
    seed: int = 1
    kinds: tuple[str, ...] = tuple(kind.value for kind in Kind)
    rate_per_second: float = 20.0
    block_time_ms: int = 200
    hold_seconds_max: float = 15.0
    recovery_seconds_max: float = 20.0
    """Within this of a failure's end every node is within three blocks of the highest."""
    conditions: Conditions = Conditions()
    is_on_loopback: bool = False
    join_height: int | None = None
    """One more node joins at the end, once the chain is so high."""


class Load(msgspec.Struct, frozen=True):
    """What became of transfers."""

    sent: int
    acknowledged: int
    sent_again: int
    never_final: int
    """Known to a minority only, or from before a blackout: nobody had promised them."""
    refused: dict[str, int]
    answers_compared: int
    """How often a node was asked about an acknowledged one in the end."""


class NodeFigures(msgspec.Struct, frozen=True):
    """One node."""

    index: int
    starts: int
    height: int
    lowest_height: int
    """It holds every block from here on; above 1 where it lost its disk and took a snapshot."""
    rss_mb_first: float
    rss_mb_max: float


class Join(msgspec.Struct, frozen=True):
    """A node that came late."""

    way: str
    """By all the `blocks`, or by a `snapshot`."""
    height: int
    seconds: float
    """From the start of its process until it was within three blocks of the others."""
    blocks_per_second: float = 0.0
    transactions_per_second: float = 0.0


class Machine(msgspec.Struct, frozen=True):
    """What else the machine had to do."""

    cores: int
    load_max: float
    lag_ms_max: float
    """How late the campaign itself woke up at worst."""


class Report(msgspec.Struct, frozen=True):
    """The whole campaign."""

    passed: bool
    findings: list[Finding]
    wishes: Wishes
    seconds: float
    blocks: int
    strikes: list[Strike]
    load: Load
    interval: Spread
    """From one block to the next, by headers, in quiet and in failure."""
    finality: Spread
    """From submitting a transfer until its node calls it final, while all is quiet."""
    recovery: Spread
    """From a failure's end until all are together again."""
    nodes: list[NodeFigures]
    warnings: dict[str, int]
    machine: Machine
    joins: list[Join]
    heights: dict[str, list[tuple[float, int | None]]]
    """Of each node: seconds since the beginning, and its final height where it answered."""


def report_json(report: Report) -> bytes:
    """Return the report as JSON that people can read, too."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
