"""What a campaign finds wrong: sentences with a code and a time, each said once."""

import time
from dataclasses import dataclass, field

import msgspec

FINDINGS_MAX = 200


class Finding(msgspec.Struct, frozen=True):
    """Something that must not be."""

    at_seconds: float
    code: str
    sentence: str


@dataclass(slots=True)
class Findings:
    """Everything found since the campaign began; of one code and subject, the first."""

    began: float = field(default_factory=time.monotonic)
    found: list[Finding] = field(default_factory=list)
    _told: set[tuple[str, str]] = field(default_factory=set)

    def add(self, code: str, subject: str, sentence: str) -> None:
        """Note what is wrong with a subject."""
        if (code, subject) in self._told or len(self.found) >= FINDINGS_MAX:
            return
        self._told.add((code, subject))
        self.found.append(Finding(self.now(), code, sentence))

    def now(self) -> float:
        """Return the seconds since the campaign began."""
        return round(time.monotonic() - self.began, 2)
