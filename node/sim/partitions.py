"""Partitions: who cannot reach whom, while the run is within which views.

A specification is a list, separated by `;`, of `SIDES@FIRST-LAST`: sides separated by `|`, each a
list of endpoints separated by `,`, in force while the highest view of an honest validator lies
within the range. Endpoints that are not named stand on a side of their own, together. Endpoints
0..n-1 are the validators; the second copies of twins follow in the order of their validators.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from node.sim.errors import WrongUsage, quoted

REDRAWN_EVERY_VIEWS = 5

CUTS_MAX = 1_000

_PART = re.compile(r"(?P<sides>[0-9,|]{1,4096})@(?P<first>[0-9]{1,9})-(?P<last>[0-9]{1,9})")

Sides = tuple[int, ...] | None
"""The number of its side for every endpoint, or None where all reach all."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One partition and the views it is in force for, both included."""

    sides: tuple[int, ...]
    first: int
    last: int


def parse_partition(text: str, endpoints: int) -> list[Cut]:
    """Return the cuts that a specification names; raises WrongUsage."""
    parts = text.split(";", CUTS_MAX)
    if len(parts) > CUTS_MAX:
        raise WrongUsage(f"--partition names more than {CUTS_MAX} partitions; give fewer.")
    cuts = [_parse_cut(part, endpoints) for part in parts]
    ordered = sorted(cuts, key=lambda cut: cut.first)
    for earlier, later in pairwise(ordered):
        if later.first <= earlier.last:
            raise WrongUsage(
                f"--partition has two partitions for view {later.first}; give each view one."
            )
    return cuts


def _parse_cut(text: str, endpoints: int) -> Cut:
    found = _PART.fullmatch(text.strip())
    if found is None:
        raise WrongUsage(
            f"--partition {quoted(text)!r} is neither none, random, nor SIDES@FIRST-LAST such as "
            "0,1|2,3@10-20; join several with a semicolon."
        )
    first, last = int(found["first"]), int(found["last"])
    if first > last:
        raise WrongUsage(f"--partition {text!r} ends before it begins; give the lower view first.")
    sides = [-1] * endpoints
    for number, members in enumerate(found["sides"].split("|")):
        for member in filter(None, members.split(",")):
            index = int(member)
            if index >= endpoints or sides[index] >= 0:
                raise WrongUsage(
                    f"--partition {quoted(text)!r} names endpoint {index} twice, or there is none; "
                    f"there are endpoints 0 to {endpoints - 1}."
                )
            sides[index] = number
    return Cut(tuple(sides), first, last)


def cut_at(cuts: list[Cut], view: int) -> Sides:
    """Return the partition in force while the run is in that view."""
    for cut in cuts:
        if cut.first <= view <= cut.last:
            return cut.sides
    return None


def draw_partition(chance: Random, endpoints: int) -> Sides:
    """Draw one: half of the time none, else two sides, one isolated, or three sides."""
    shape = chance.random()
    if shape < 0.5 or endpoints < 2:
        return None
    if shape < 0.75:
        return tuple(chance.randrange(2) for _ in range(endpoints))
    if shape < 0.9:
        alone = chance.randrange(endpoints)
        return tuple(int(endpoint == alone) for endpoint in range(endpoints))
    return tuple(chance.randrange(3) for _ in range(endpoints))
