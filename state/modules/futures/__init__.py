"""Futures on indices that paid inference makes: batch auctions, margin, settlement.

records     rows, pots, tables        contracts   listing             accounts   cash in and out
requests    operations as they queue  admission   what becomes of them
desk        one market in one block   auction     clear, fills, fees, mark
liquidation stages A, C and D         payment     variation and final settlement
pipeline    the order of a step       insurance   underwriting        prices     what the index says

orders clearing margin fees mark settlement budget listing are pure arithmetic beneath them.
"""

from state.modules.futures import accounts, contracts, insurance, invariants, pipeline, queries
from state.modules.futures.records import MODULE

__all__ = ["MODULE", "accounts", "contracts", "insurance", "invariants", "pipeline", "queries"]
