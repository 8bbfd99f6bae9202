"""What happens at the end of every block, in this order: the one place that decides it.

Unanswered demands first, so that a batch whose last demand ends with this block is released in it;
then releases, then closings, then bonds.
"""

from state.context import BlockContext
from state.modules.inference.bonds import unbond_due
from state.modules.inference.channels import close_due
from state.modules.inference.demands import settle_unanswered
from state.modules.inference.records import MODULE
from state.modules.inference.release import release_due


@MODULE.end_block
def serve_queues(ctx: BlockContext) -> None:
    """Serve the module's queues, each within its budget."""
    settle_unanswered(ctx)
    release_due(ctx)
    close_due(ctx)
    unbond_due(ctx)
