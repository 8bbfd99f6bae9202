"""What was sent, who knew of it, and what was said to be final: the promises to be held."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from node.campaign.findings import Findings
from node.rpc.backend import Stage, TxStatus
from state.codec import encode
from state.types import Hash

CALM_SAMPLES_MIN = 20
"""Of fewer transfers that were admitted while nothing was done to the nodes no share is judged."""

FINAL_PERCENT_MIN = 75
"""Not all of them: the next failure may begin before anybody was told of the last ones, and of two
with the same nonce, through nodes that had not heard of each other's, one is lost."""

UNSPREAD_PERCENT_MAX = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction became final, and what came of it."""

    height: int
    index: int
    outcome: bytes


@dataclass(slots=True)
class Sent:
    """One transaction that a node admitted."""

    tx_id: Hash
    wire: bytes
    sent_at: float
    blackouts: int
    """How often every node had been killed before it was sent."""
    calm: int | None
    """The stretch without failures in which it was sent."""

    known: set[int] = field(default_factory=set)
    """Nodes that said they have it."""
    is_spread_judged: bool = False
    sent_again_at: float = 0.0
    place: Place | None = None
    """Where it is final, as a node acknowledged first."""
    final_seconds: float | None = None


class Ledger:
    """Every transaction of a campaign; `spread_min` nodes are more than any minority.

    `calm` tells in which stretch without failures it is now, None in the midst of one.
    """

    def __init__(
        self, findings: Findings, spread_min: int, calm: Callable[[], int | None] = lambda: 0
    ) -> None:
        self.sent: dict[Hash, Sent] = {}
        self.waiting: dict[Hash, Sent] = {}
        self.blackouts = 0
        self.sent_again = 0
        self.refused: dict[str, int] = {}
        self._findings = findings
        self._spread_min = spread_min
        self._calm = calm
        self._unspread = 0

    @property
    def acknowledged(self) -> list[Sent]:
        """What some node said is final."""
        return [sent for sent in self.sent.values() if sent.place is not None]

    def admitted(self, tx_id: Hash, wire: bytes, node: int) -> Sent:
        """Note that a node took a transaction in."""
        now = time.monotonic()
        sent = Sent(tx_id, wire, now, self.blackouts, self._calm(), {node}, sent_again_at=now)
        self.sent[tx_id] = self.waiting[tx_id] = sent
        return sent

    def refuse(self, code: str) -> None:
        """Note that a node refused one."""
        self.refused[code] = self.refused.get(code, 0) + 1

    def told(self, node: int, status: TxStatus) -> None:
        """Take in what a node says of a transaction, and hold it against what another said."""
        sent = self.sent[status.tx_id]
        if status.stage is not Stage.DROPPED:
            sent.known.add(node)
        if status.stage is not Stage.FINAL:
            return
        assert status.height is not None and status.index is not None, "final is somewhere"
        place = Place(status.height, status.index, encode(status.outcome))
        if sent.place is None:
            sent.place, sent.wire = place, b""  # nobody hands it in again
            sent.final_seconds = time.monotonic() - sent.sent_at
            self.waiting.pop(status.tx_id, None)
        elif sent.place != place:
            self._findings.add(
                "campaign.moved",
                f"{status.tx_id.hex()}:{node}",
                f"Transaction {status.tx_id.hex()[:16]} was final at height {sent.place.height}, "
                f"place {sent.place.index}; node {node} has it at {place.height}, {place.index}, "
                "or with another outcome.",
            )

    def must_live(self, sent: Sent) -> bool:
        """Tell whether more than a minority had it, and never all of them were killed since."""
        return sent.blackouts == self.blackouts and len(sent.known) >= self._spread_min

    def unspread(self, seconds: float) -> list[Sent]:
        """Return what was sent so long ago, with no failure since, and is not known to enough."""
        before, calm = time.monotonic() - seconds, self._calm()
        return [
            sent
            for sent in self.waiting.values()
            if calm is not None
            and sent.calm == calm
            and sent.sent_at <= before
            and not sent.is_spread_judged
            and len(sent.known) < self._spread_min
        ]

    def judge_spread(self, asked: Sequence[Sent]) -> None:
        """Count what is known to too few, now that every node was asked."""
        calm = self._calm()
        for sent in asked:
            if sent.calm == calm is not None and not sent.is_spread_judged:
                sent.is_spread_judged = True
                self._unspread += sent.place is None and len(sent.known) < self._spread_min

    def unknown_to_all(self, sent: Sent) -> None:
        """Take in that no node has a transaction any more: more than a minority once had it."""
        if self.must_live(sent):
            self._lost(sent, "is known to no node any more")

    def end(self) -> None:
        """Find wrong what should have become final and did not."""
        for sent in self.waiting.values():
            if self.must_live(sent):
                self._lost(sent, "never became final")
        self._find_shares()

    def _find_shares(self) -> None:
        """Find wrong that transfers are taken in, and neither passed on nor made final."""
        calm = [sent for sent in self.sent.values() if sent.calm is not None]
        if len(calm) < CALM_SAMPLES_MIN:
            return
        final = len([sent for sent in calm if sent.place is not None])
        if 100 * final < FINAL_PERCENT_MIN * len(calm):
            self._findings.add(
                "campaign.few_final",
                "transfers",
                f"Of {len(calm)} transfers that were admitted while nothing was done to the nodes, "
                f"{final} became final, less than {FINAL_PERCENT_MIN} %.",
            )
        if 100 * self._unspread > UNSPREAD_PERCENT_MAX * len(calm):
            self._findings.add(
                "campaign.not_spread",
                "transfers",
                f"Of {len(calm)} transfers that were admitted while nothing was done to the nodes, "
                f"{self._unspread} were not known to {self._spread_min} nodes seconds later, more "
                f"than {UNSPREAD_PERCENT_MAX} %.",
            )

    def not_final_at(self, sent: Sent, node: int) -> None:
        """Take in that a node does not hold final what another acknowledged."""
        assert sent.place is not None, "acknowledged"
        self._findings.add(
            "campaign.acknowledged_lost",
            f"{sent.tx_id.hex()}:{node}",
            f"Transaction {sent.tx_id.hex()[:16]} was said to be final at height "
            f"{sent.place.height}; node {node} does not have it.",
        )

    def _lost(self, sent: Sent, how: str) -> None:
        self._findings.add(
            "campaign.spread_lost",
            sent.tx_id.hex(),
            f"Transaction {sent.tx_id.hex()[:16]} was known to nodes {sorted(sent.known)}, more "
            f"than any minority, and {how}.",
        )
