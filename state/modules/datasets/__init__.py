"""Datasets: committed rows, versions, owners, and the contributors who are paid by weight."""

from state.modules.datasets import pools, queries, records, txs
from state.modules.datasets.pools import POOL, accrue, can_take, fund
from state.modules.datasets.records import MODULE, dataset_of, version_of

__all__ = [
    "MODULE",
    "POOL",
    "accrue",
    "can_take",
    "dataset_of",
    "fund",
    "pools",
    "queries",
    "records",
    "txs",
    "version_of",
]
