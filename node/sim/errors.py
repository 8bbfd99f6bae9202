"""What the simulator refuses before it begins."""

from typing import ClassVar

from node.errors import NodeError

QUOTED_MAX = 60


def quoted(text: str) -> str:
    """Return what was given as it stands in a sentence: an endless list is not repeated in one."""
    return text if len(text) <= QUOTED_MAX else f"{text[:QUOTED_MAX]}..."


class SimulationError(NodeError):
    """The simulation cannot be run."""

    code: ClassVar[str] = "simulation.error"


class WrongUsage(SimulationError):
    """An option has no meaning, or two contradict each other."""

    code: ClassVar[str] = "simulation.wrong_usage"


class WrongReport(SimulationError):
    """A file that was to be replayed is not a report of a simulation."""

    code: ClassVar[str] = "simulation.wrong_report"
