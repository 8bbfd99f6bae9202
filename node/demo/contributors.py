"""The dataset's contributors take out what the paid calls of all models have earned them.

Each proves its leaf in the list that the dataset committed to, and gets its weight's part of all
that came into the pool, rounded down (assets C.3).
"""

from collections.abc import Iterator, Sequence

from node.client import SaharaClient
from node.demo.cast import Cast, contributors_of
from node.demo.registry import VERSION
from node.demo.steps import Sending, events_of, perform, require_ok
from state.modules.datasets.pools import ClaimContribution, contributor_path
from state.modules.datasets.records import ContributionClaimed
from state.types import Hash

STEP = "paying the dataset's contributors"


async def pay_contributors(client: SaharaClient, cast: Cast, dataset_id: Hash) -> list[int]:
    """Let every contributor claim; return the grains that each was paid, in order."""
    if (await client.query("datasets.pool", dataset=dataset_id, version=VERSION)).received == 0:
        return [0] * len(cast.contributors)
    people = contributors_of(cast)
    sendings: list[Sending] = [
        (
            account,
            (
                ClaimContribution(
                    dataset_id, VERSION, index, weight, tuple(contributor_path(people, index))
                ),
            ),
        )
        for index, (account, (_, weight)) in enumerate(zip(cast.contributors, people, strict=True))
    ]
    statuses = await perform(client, STEP, sendings)
    return [
        events_of(require_ok(STEP, status), ContributionClaimed)[0].amount for status in statuses
    ]


def contributor_faults(
    earned: int, received: int, paid: Sequence[int], weights: Sequence[int]
) -> Iterator[str]:
    """Yield where pool or payments differ from what the payouts gave the dataset."""
    if received != earned:
        yield f"the pool received {received} grains and the payouts gave the dataset {earned}"
    for number, (grains, weight) in enumerate(zip(paid, weights, strict=True), start=1):
        due = earned * weight // sum(weights)
        if grains != due:
            yield f"contributor {number} was paid {grains} grains; {due} were due"
