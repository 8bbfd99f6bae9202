"""The verdict: every check of the demo by name, and what it found where it does not hold."""

from collections.abc import Iterable
from dataclasses import dataclass, field

FAULTS_SHOWN_MAX = 3


@dataclass(slots=True)
class Verdict:
    """Checks in the order in which they were made."""

    checks: dict[str, bool] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def judge(self, name: str, faults: Iterable[str]) -> None:
        """Enter a check: it holds when nothing was found."""
        found = list(faults)
        self.checks[name] = not found
        if found:
            more = len(found) - FAULTS_SHOWN_MAX
            rest = f" (and {more} more)" if more > 0 else ""
            self.failures[name] = "; ".join(found[:FAULTS_SHOWN_MAX]) + rest
