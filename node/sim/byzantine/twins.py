"""Twins: the honest code run twice under one key, each copy with its own journal and guard.

Neither copy does anything wrong; that there are two of them is the fault. They equivocate, vote
twice and forget, just as an operator's careless second machine would.
"""

from consensus.messages import Message
from node.sim.byzantine.actor import Behaviour


class Twin(Behaviour):
    """One of two copies; it follows the protocol."""

    def incoming(self, message: Message) -> None:
        """Hear it as an honest validator does; twins conspire with nobody."""
