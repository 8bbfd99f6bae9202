"""What a campaign must have done: one in which little happened judges little, and is no pass."""

from collections.abc import Sequence

from node.campaign.findings import Findings
from node.campaign.ledger import Ledger
from node.campaign.plan import Kind
from node.campaign.strike import Strike

LOAD_PERCENT_MIN = 50
"""Of the transfers that were wished for, so many must have been taken in, without failures."""


def find_emptiness(
    findings: Findings,
    kinds: Sequence[Kind],
    strikes: Sequence[Strike],
    ledger: Ledger,
    wished: float,
) -> None:
    """Find wrong a campaign without a failure that was wished for, or with too few transfers."""
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
    elif not kinds and 100 * len(ledger.sent) < LOAD_PERCENT_MIN * wished:
        findings.add(
            "campaign.little_load",
            "transfers",
            f"Nodes took in {len(ledger.sent)} transfers of {wished:.0f} that were to be sent, so "
            "this says little of such a load; ask for a lower --rate, or use a faster machine.",
        )
