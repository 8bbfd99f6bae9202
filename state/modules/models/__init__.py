"""Models: registered assets, their versions, lineage, prices, and notarised hashes."""

from state.modules.models import lineage, prices, queries, records, txs
from state.modules.models.records import (
    MODULE,
    PayeeKind,
    may_operate,
    model_of,
    recorded_version,
    version_of,
)

__all__ = [
    "MODULE",
    "PayeeKind",
    "lineage",
    "may_operate",
    "model_of",
    "prices",
    "queries",
    "records",
    "recorded_version",
    "txs",
    "version_of",
]
