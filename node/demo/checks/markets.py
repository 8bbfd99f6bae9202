"""The markets at every block: both sides quoted, within the budget, and every role with fills."""

from collections.abc import Iterable, Iterator, Mapping

from node.demo.plot import Moment


def quote_faults(
    first: int, last: int, quoted: Iterable[int], bare: Iterable[int]
) -> Iterator[str]:
    """Yield the trading heights first..last at which a side was missing or nobody looked."""
    bare = sorted(bare)
    if bare:
        yield f"a side of the book was empty at {len(bare)} heights, first at {bare[0]}"
    known = {*quoted, *bare}
    unseen = [height for height in range(first, last + 1) if height not in known]
    if unseen:
        yield (
            f"the book was not seen at {len(unseen)} of {last - first + 1} heights, first at "
            f"{unseen[0]}: the machine is too slow for this pace"
        )


def budget_faults(moments: Iterable[Moment], budget_lots: int) -> Iterator[str]:
    """Yield the heights at which open interest was over the budget."""
    for moment in moments:
        if moment.open_interest_lots > budget_lots:
            yield (
                f"{moment.open_interest_lots} lots were open at height {moment.height}; the budget "
                f"is {budget_lots}"
            )


def role_faults(
    market: str, lots_by_role: Mapping[str, int], roles: Iterable[str]
) -> Iterator[str]:
    """Yield the roles without a single fill in a market."""
    for role in roles:
        if not lots_by_role.get(role, 0):
            yield f"the {role.replace('_', ' ')} traded nothing on {market}"
