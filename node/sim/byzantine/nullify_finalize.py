"""Nullifies and finalizes one view: half of the honest validators hear the one, half the other."""

from node.sim.byzantine.actor import Behaviour
from state.finality import Proposal


class NullifyFinalize(Behaviour):
    """Signs Nullify and Finalize in every view that it hears a proposal of (E3)."""

    def conspire(self, proposal: Proposal) -> None:
        """Tell one side that the view is abandoned, and the other that its proposal is final."""
        actor = self.actor
        at = (proposal.epoch, proposal.view)
        actor.tell_side(at, 0, [actor.notarize(proposal), actor.finalize(proposal)])
        actor.tell_side(at, 1, [actor.nullify(*at)])
