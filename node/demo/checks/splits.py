"""The split of every payment, recomputed here in exact fractions and compared with the chain's.

Written apart from the state machine's own code: a payment is cut by the largest remainder twice,
first into the protocol's parts and the net, then the net by the version's table (assets C.3).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from state.modules.models.records import PayeeKind, Split
from state.modules.split import Payout
from state.params import SplitParams
from state.types import BPS, Address


@dataclass(frozen=True, slots=True)
class Recipients:
    """Who should be paid for one model."""

    operator: Address
    developer: Address
    dataset_pool: Address

    def of(self, kind: PayeeKind) -> Address:
        """The balance that a part of this kind goes to; models of the demo have no ancestors."""
        return {
            PayeeKind.OPERATOR: self.operator,
            PayeeKind.DEVELOPER: self.developer,
            PayeeKind.DATASET: self.dataset_pool,
        }[kind]


def cut(amount: int, weights: Sequence[int]) -> list[int]:
    """Parts of `amount` in proportion to weights: floors first, then one grain each to the largest
    fractions, ties to the earlier part.
    """
    whole = sum(weights)
    exact = [Fraction(amount * weight, whole) for weight in weights]
    parts = [part.numerator // part.denominator for part in exact]
    by_rest = sorted(range(len(parts)), key=lambda place: (parts[place] - exact[place], place))
    for place in by_rest[: amount - sum(parts)]:
        parts[place] += 1
    return parts


def split_faults(
    payout: Payout, gross: int, params: SplitParams, split: Split, recipients: Recipients
) -> Iterator[str]:
    """Yield where a payout differs from what the rule gives."""
    kept = [params.burn_bps, params.validators_bps, params.audit_bps, params.treasury_bps]
    burn, validators, audit, treasury, net = cut(gross, [*kept, BPS - sum(kept)])
    found = (payout.gross, payout.burn, payout.validators, payout.audit, payout.treasury)
    if found != (gross, burn, validators, audit, treasury):
        yield (
            f"gross, burn, validators, audit, treasury are {found}; expected "
            f"{(gross, burn, validators, audit, treasury)}"
        )
    shares = [
        (PayeeKind.OPERATOR, split.operator_bps),
        (PayeeKind.DEVELOPER, split.developer_bps),
        (PayeeKind.DATASET, split.datasets_bps),
    ]
    parts = cut(net, [bps for _, bps in shares])
    expected = [
        (kind, recipients.of(kind), part) for (kind, _), part in zip(shares, parts, strict=True)
    ]
    credited = [(each.kind, each.recipient, each.amount) for each in payout.credits]
    if credited != expected:
        yield f"the parts are {credited}; expected {expected}"
