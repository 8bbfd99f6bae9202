"""What was sent, who knew of it, and what was said to be final: the promises to be held."""

import time
from dataclasses import dataclass, field

from node.campaign.findings import Findings
from node.rpc.backend import Stage, TxStatus
from state.codec import encode
from state.types import Hash


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

    known: set[int] = field(default_factory=set)
    """Nodes that said they have it."""
    sent_again_at: float = 0.0
    place: Place | None = None
    """Where it is final, as a node acknowledged first."""
    final_seconds: float | None = None


class Ledger:
    """Every transaction of a campaign; `spread_min` nodes are more than any minority."""

    def __init__(self, findings: Findings, spread_min: int) -> None:
        self.sent: dict[Hash, Sent] = {}
        self.waiting: dict[Hash, Sent] = {}
        self.blackouts = 0
        self.sent_again = 0
        self.refused: dict[str, int] = {}
        self._findings = findings
        self._spread_min = spread_min

    @property
    def acknowledged(self) -> list[Sent]:
        """What some node said is final."""
        return [sent for sent in self.sent.values() if sent.place is not None]

    def admitted(self, tx_id: Hash, wire: bytes, node: int) -> Sent:
        """Note that a node took a transaction in."""
        now = time.monotonic()
        sent = Sent(tx_id, wire, now, self.blackouts, {node}, now)
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

    def unknown_to_all(self, sent: Sent) -> None:
        """Take in that no node has a transaction any more: more than a minority once had it."""
        if self.must_live(sent):
            self._lost(sent, "is known to no node any more")

    def end(self) -> None:
        """Find wrong what should have become final and did not."""
        for sent in self.waiting.values():
            if self.must_live(sent):
                self._lost(sent, "never became final")

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
