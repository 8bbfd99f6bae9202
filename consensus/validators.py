"""An epoch's validators: powers, quorums, and who leads which view.

Leaders follow a smooth weighted round-robin over stake, shuffled per epoch. The order depends on
the epoch's seed and the view alone, never on which certificate unlocked the view (consensus 2.8).
"""

from math import gcd

from state.crypto import Tag, hash_bytes
from state.finality import Validator, ValidatorSet, is_quorum, set_hash
from state.types import Hash, PublicKey

ROTATION_MAX = 4_096
"""Views after which the order of leaders repeats; finer ratios of stake are rounded to it."""


class Validators:
    """One epoch's set: by index, by key, and its leaders."""

    __slots__ = ("_by_key", "_rotation", "hash", "members", "stakes", "total")

    def __init__(self, members: ValidatorSet, seed: Hash) -> None:
        self.members = members
        self.stakes = [member.stake for member in members]
        self.total = sum(self.stakes)
        assert self.total > 0, "an epoch's set has stake"
        self.hash = set_hash(members)
        self._by_key = {member.public_key: at for at, member in enumerate(members)}
        self._rotation = _rotation(self.stakes, _shuffled(members, seed))

    def __len__(self) -> int:
        """Return how many members the set has."""
        return len(self.members)

    def index_of(self, key: PublicKey | None) -> int | None:
        """Return the index of a validator's key, None for any other."""
        return None if key is None else self._by_key.get(key)

    def leader(self, view: int) -> int:
        """Return the index of the leader of a view, counted from 1."""
        return self._rotation[(view - 1) % len(self._rotation)]

    def leader_of(self, view: int) -> Validator:
        """Return the leader of a view."""
        return self.members[self.leader(view)]

    def is_quorum(self, stake: int) -> bool:
        """Tell whether this stake is more than two thirds of the total."""
        return is_quorum(stake, self.total)


def _shuffled(members: ValidatorSet, seed: Hash) -> list[int]:
    """Return the indices in an order that the epoch's seed decides."""
    keys = [hash_bytes(Tag.LEADER, seed + member.public_key) for member in members]
    return sorted(range(len(members)), key=keys.__getitem__)


def _weights(stakes: list[int]) -> list[int]:
    """Return whole shares of a rotation in proportion to stake, by largest remainder."""
    unit = gcd(*stakes)
    exact = [stake // unit for stake in stakes]
    if sum(exact) <= ROTATION_MAX:
        return exact
    total = sum(stakes)
    weights = [stake * ROTATION_MAX // total for stake in stakes]
    rest = [stake * ROTATION_MAX % total for stake in stakes]
    order = sorted(range(len(stakes)), key=lambda at: (-rest[at], at))
    for at in order[: ROTATION_MAX - sum(weights)]:
        weights[at] += 1
    return weights


def _rotation(stakes: list[int], order: list[int]) -> list[int]:
    """Return the leaders of one rotation: each step pays all by weight and takes from one."""
    weights = _weights(stakes)
    total = sum(weights)
    credit = [0] * len(stakes)
    leaders = []
    for _ in range(total):
        for at in order:
            credit[at] += weights[at]
        chosen = max(order, key=credit.__getitem__)
        credit[chosen] -= total
        leaders.append(chosen)
    return leaders
