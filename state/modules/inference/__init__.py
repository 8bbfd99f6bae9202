"""Inference: channels between payers and operators, claims, releases, disputes and direct calls.

records    rows, pots, queues        receipts   what is signed off chain, and its trees
channels   deposits and closing      lanes      what a channel pays for
claims     ClaimBatch                release    paying and counting
leaves     the rules of one leaf     disputes   faults that a proof decides
demands    leaves that must be shown bonds      what an operator stands for
direct     single calls              ending     the order at the end of a block
"""

from state.modules.inference import direct, ending, invariants, queries
from state.modules.inference.records import MODULE

__all__ = ["MODULE", "direct", "ending", "invariants", "queries"]
