"""What a campaign must have done: one in which nothing happened judges nothing, and is no pass."""

from collections.abc import Sequence

from node.campaign.findings import Findings
from node.campaign.ledger import Ledger
from node.campaign.plan import Kind
from node.campaign.strike import Strike


def find_emptiness(
    findings: Findings, kinds: Sequence[Kind], strikes: Sequence[Strike], ledger: Ledger
) -> None:
    """Find wrong a campaign without a failure that was wished for, or without a transfer."""
    if kinds and not strikes:
        findings.add(
            "campaign.nothing_done",
            "strikes",
            "The time was over before the first failure; give it more --seconds.",
        )
    if not ledger.acknowledged:
        refused = ", ".join(f"{code} {count} times" for code, count in ledger.refused.items())
        findings.add(
            "campaign.nothing_final",
            "transfers",
            f"Of {len(ledger.sent)} transfers that nodes admitted none became final; refused: "
            f"{refused or 'none'}.",
        )
