"""Lineage: from parents and datasets to the flat table by which a version's net is split.

A version demands `derivative_bps` of the net of whatever derives from it, however remotely: an
absolute percentage, not one of a percentage. So a child owes, along every path of its lineage,
stack(child) = sum over parents of (the parent's demand + the parent's own stack), and the flat
list of ancestors is computed once, when the child is registered (assets C.3).
"""

from collections.abc import Sequence

from state.errors import Rejected
from state.modules import datasets
from state.modules.models.records import (
    DatasetUse,
    Parent,
    Payee,
    PayeeKind,
    Split,
    version_of,
)
from state.params import AssetParams
from state.tables import State
from state.types import BPS, ZERO_HASH, Hash


class BadLineage(Rejected):
    """Parents or datasets are named twice, are too many, or weigh what they must not."""

    code = "models.bad_lineage"


class StackTooHigh(Rejected):
    """Ancestors would take more of the net than the chain allows."""

    code = "models.stack_too_high"


class BadSplit(Rejected):
    """The split does not add up, or leaves money to nobody."""

    code = "models.bad_split"


def check_lineage(parents: Sequence[Parent], uses: Sequence[DatasetUse], split: Split) -> None:
    """Raise Rejected for a lineage or split that no state could make right."""
    names = [(parent.model, parent.version) for parent in parents]
    used = [(use.dataset, use.version) for use in uses]
    if len({*names}) != len(names) or len({*used}) != len(used):
        raise BadLineage("A parent or dataset is named twice; name each version once.")
    weights = sum(use.weight_bps for use in uses)
    if weights not in (0, BPS):
        raise BadLineage(f"The datasets weigh {weights} bps; 10,000 or all 0 were expected.")
    total = split.operator_bps + split.developer_bps + split.datasets_bps + split.ancestors_bps
    if total != BPS:
        raise BadSplit(f"The split sums to {total} bps; exactly 10,000 were expected.")
    if split.datasets_bps and not weights:
        raise BadSplit("The split pays datasets and none has weight; name them or pay them 0.")


def payees_of(
    state: State,
    params: AssetParams,
    parents: Sequence[Parent],
    uses: Sequence[DatasetUse],
    split: Split,
) -> tuple[Payee, ...]:
    """Return the flat split table of a version: operator, developer, datasets, ancestors.

    Its weights sum to WHOLE; its order breaks ties of rounding. Raises Rejected when a parent or
    dataset is unknown or retired, or the ancestors are too many or demand too much.
    """
    if len(parents) > params.parents_max or len(uses) > params.datasets_max:
        raise BadLineage(
            f"At most {params.parents_max} parents and {params.datasets_max} datasets may be named."
        )
    for use in uses:
        datasets.version_of(state, use.dataset, use.version)
    owed = demands(state, parents)
    if len(owed) > params.ancestors_max:
        raise BadLineage(
            f"The version would have {len(owed)} ancestors; at most {params.ancestors_max} are "
            "paid. Derive from versions with fewer."
        )
    stack = sum(owed.values())
    if stack > params.stack_bps_max:
        raise StackTooHigh(
            f"The ancestors demand {stack} bps of the net; at most {params.stack_bps_max} may be "
            "owed. Derive from versions that demand less."
        )
    if split.ancestors_bps != stack:
        raise BadSplit(
            f"The split gives ancestors {split.ancestors_bps} bps and they demand exactly {stack}; "
            "set ancestors_bps to that."
        )
    return (
        Payee(PayeeKind.OPERATOR, ZERO_HASH, 0, split.operator_bps * BPS),
        Payee(PayeeKind.DEVELOPER, ZERO_HASH, 0, split.developer_bps * BPS),
        *[
            Payee(PayeeKind.DATASET, use.dataset, use.version, split.datasets_bps * use.weight_bps)
            for use in uses
        ],
        *[
            Payee(PayeeKind.ANCESTOR, model, version, bps * BPS)
            for (model, version), bps in owed.items()
        ],
    )


def demands(state: State, parents: Sequence[Parent]) -> dict[tuple[Hash, int], int]:
    """Return what each ancestor is owed in basis points, in order of first appearance.

    An ancestor that is reached along two paths is owed along both.
    """
    owed: dict[tuple[Hash, int], int] = {}
    for parent in parents:
        version = version_of(state, parent.model, parent.version)
        key = (parent.model, parent.version)
        owed[key] = owed.get(key, 0) + version.derivative_bps
        for payee in version.payees:
            if payee.kind == PayeeKind.ANCESTOR:
                key = (payee.asset, payee.version)
                owed[key] = owed.get(key, 0) + payee.weight // BPS
    return owed
