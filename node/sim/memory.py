"""How much a node remembers: every container of its engine, its guard and its journal, and a bound.

The walk finds containers by itself, so one that is new is held to the common bound until it gets
one of its own. Bounds grow with the members of the set and with the views that are not final yet,
and with nothing that a peer could send (consensus 2.7).
"""

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from msgspec import Struct

from consensus.catchup import PEERS_REMEMBERED_MAX, RELAYS_MAX, WANTS_MAX
from consensus.core import Core
from consensus.epoch import VIEWS_AHEAD_MAX, VIEWS_BEHIND_MAX
from consensus.settings import Settings
from consensus.validators import Validators
from consensus.votes import VOTES_MAX
from node.sim.replica import Replica
from node.sim.storage import COMPACT_RECORDS

RECORDS_PER_VIEW_MAX = 12
KINDS = 3
OFFENCES = 5
PROPOSALS_MAX = 2
"""Of a view: an elected leader's first, and one that contradicts it."""

Bound = Callable[[int, int], int]
"""From the number of members and of open views to the most that a container may hold."""

_CONTAINERS = (dict, list, set, deque)
_FIXED = (Settings, Validators, Struct, Enum)

BOUNDS: dict[str, Bound] = {
    "Catchup._helped": lambda _n, _v: PEERS_REMEMBERED_MAX,
    "Catchup._served": lambda _n, _v: PEERS_REMEMBERED_MAX,
    "Catchup._wants": lambda _n, _v: WANTS_MAX,
    "Catchup._relays": lambda _n, _v: RELAYS_MAX,
    "Catchup.seen": lambda n, _v: n,
    "Core.hints": lambda n, _v: n,
    "Core.proved": lambda n, _v: n,
    "Epoch.views": lambda _n, v: v,
    "Epoch.notarized": lambda _n, v: v,
    "Epoch.undecided": lambda _n, v: v,
    "Tally._votes": lambda n, _v: KINDS * n,
    "Tally._votes[]": lambda _n, _v: VOTES_MAX,
    "Tally._stakes": lambda n, _v: KINDS * VOTES_MAX * n,
    "Tally._accused": lambda n, _v: OFFENCES * n,
    "GuardedSigner._votes": lambda _n, v: v,
    "GuardedSigner._votes[]": lambda _n, _v: KINDS,
    "file journal": lambda _n, v: COMPACT_RECORDS + RECORDS_PER_VIEW_MAX * v,
    "file blocks": lambda _n, v: COMPACT_RECORDS + PROPOSALS_MAX * v,
}
"""Bounds of their own, by class and attribute; `[]` is what stands inside a container."""


def common_bound(members: int, views: int) -> int:
    """Return the most that any other container may hold."""
    return PROPOSALS_MAX * views + members


def excesses(replica: Replica, view_highest: int) -> Iterator[str]:
    """Yield what is larger than it may be in a node whose epoch has come to that view elsewhere."""
    core = replica.engine.core
    members, views = len(core.epoch.validators), open_views(core, view_highest)
    for name, size in sizes(replica).items():
        bound = BOUNDS.get(name, common_bound)(members, views)
        if size > bound:
            yield f"{name} holds {size}, at most {bound} with {members} members, {views} views"


def open_views(core: Core, view_highest: int) -> int:
    """Return how many views a node may know of: since its last final block, and around them."""
    tip = core.blocks.tip.header
    since = tip.view if tip.epoch == core.epoch.number else 0
    ahead = max(core.epoch.view, view_highest) - since
    return VIEWS_BEHIND_MAX + ahead + VIEWS_AHEAD_MAX + 1


def sizes(replica: Replica) -> dict[str, int]:
    """Return the largest size of each container by name."""
    found = {f"file {file.name}": len(file) for file in replica.storage.files[:2]}
    waiting: list[object] = [replica.engine.core, replica.signer]
    while waiting:
        holder = waiting.pop()
        for name, value in _attributes(holder):
            label = f"{type(holder).__name__}.{name}"
            if isinstance(value, _CONTAINERS):
                found[label] = max(found.get(label, 0), len(value))
                for inner in list(value.values()) if isinstance(value, dict) else value:
                    if isinstance(inner, _CONTAINERS):
                        found[label + "[]"] = max(found.get(label + "[]", 0), len(inner))
                    elif _is_holder(inner):
                        waiting.append(inner)
            elif _is_holder(value):
                waiting.append(value)
    return found


def _attributes(holder: object) -> Iterator[tuple[str, Any]]:
    slots = getattr(type(holder), "__slots__", None)
    for name in vars(holder) if slots is None else slots:
        yield name, getattr(holder, name)


def _is_holder(value: object) -> bool:
    """Tell whether a value is an object of the engine that may hold more and more."""
    if isinstance(value, _FIXED) or not type(value).__module__.startswith("consensus."):
        return False
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is None or not parameters.frozen
