"""A silent validator: it holds a key and says nothing."""

from consensus.messages import Message
from node.sim.byzantine.actor import Behaviour


class Silent(Behaviour):
    """Sends nothing, ever."""

    def outgoing(self, targets: list[int], message: Message) -> None:
        """Keep it."""
