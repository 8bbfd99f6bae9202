"""What a client believes: the sets of all epochs up to now, each named by the one before.

It begins with the set of genesis, or with one that somebody trusted has told, and walks from
boundary to boundary (consensus 2.11, settled point 19): each boundary header, final by its own
epoch's set, names the next. Nothing that a node says is believed before that was checked.
"""

from consensus.light import LightError, Trust, next_epoch
from node.client.errors import ProofInvalid
from node.rpc.backend import Finality
from state.finality import Header, Validator, ValidatorSet, boundary_height
from state.genesis import Genesis

FOREVER_MS = 2**62
"""Who pins a genesis and asks at every epoch's turn believes its sets without a bound in time."""


def validators_of(genesis: Genesis) -> ValidatorSet:
    """Return the first validator set of a network, in the order of its indices."""
    members = [Validator(each.public_key, each.account, each.stake) for each in genesis.validators]
    return tuple(sorted(members, key=lambda member: member.account))


def trust_in(genesis: Genesis) -> Trust:
    """Return the trust in epoch 0 that follows from a genesis document alone."""
    return Trust(
        genesis.hash,
        genesis.params.staking.epoch_blocks,
        0,
        validators_of(genesis),
        genesis.time_ms,
        FOREVER_MS,
        FOREVER_MS,
    )


class TrustChain:
    """The trust in each epoch from the first one on, as far as it was walked."""

    def __init__(self, first: Trust) -> None:
        self._first = first.epoch
        self._walked = [first]

    @property
    def last(self) -> Trust:
        """The trust in the newest epoch that was reached."""
        return self._walked[-1]

    def at(self, epoch: int) -> Trust | None:
        """Return the trust in an epoch, None where it was not reached yet; raises ProofInvalid."""
        if epoch < self._first:
            raise ProofInvalid(
                f"Trust begins with epoch {self._first}, and the proof is of epoch {epoch}; begin "
                "with an older set, or ask for something newer."
            )
        place = epoch - self._first
        return self._walked[place] if place < len(self._walked) else None

    @property
    def boundary_next(self) -> int:
        """The height of the block that ends the newest epoch that was reached."""
        return boundary_height(self.last.epoch, self.last.epoch_blocks)

    def extend(
        self, boundary: Header, finality: Finality, following: ValidatorSet, *, now_ms: int
    ) -> None:
        """Take in the next epoch's set; raises ProofInvalid unless the last one hands over to it.

        A boundary block is final by its own finalization alone (settled point 7).
        """
        if finality.descendants:
            raise ProofInvalid("A boundary block has a finalization of its own; none was shown.")
        try:
            trust = next_epoch(self.last, boundary, finality.finalization, following, now_ms)
        except LightError as error:
            raise ProofInvalid(error.sentence) from error
        self._walked.append(trust)
