"""Punishing a validator of few delegators and of 100,000, and what presence costs a block.

Run as `python -m bench.staking`. A slash lowers what shares are worth, so it may not take longer
for more delegators: the bar is a ratio of 1.5 between the two. Beside it: counting a whole
certificate of 100 votes in the first block of a window and in a later one, and verifying late votes
of 100 against verifying their signatures alone.
"""

from collections.abc import Iterator

from nacl.signing import SigningKey

from bench.measure import interleave, ratio, report
from state import crypto
from state.codec import replace
from state.context import BlockContext
from state.crypto import Tag
from state.execute import apply_genesis
from state.finality import (
    Finalization,
    Notarization,
    Proposal,
    Vote,
    certificate_claims,
    vote_digest,
)
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules import bank, staking
from state.modules.staking.presence import watch
from state.modules.staking.records import DELEGATIONS, WATCH, Delegation
from state.modules.staking.shares import keep_validator, settled_validator
from state.modules.staking.slashing import Accused, punish
from state.params import Params
from state.tables import Base, State
from state.types import ZERO_HASH

MEMBERS = 100
DELEGATORS = 100_000
FUNDS = 10**13
BAR_RATIO = 1.5


class Nothing:
    """A reader of an empty database."""

    def get(self, key: bytes) -> bytes | None:
        """Nothing is stored."""
        return None

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Nothing is stored."""
        return iter(())


KEYS = [SigningKey(number.to_bytes(32, "big")) for number in range(1, MEMBERS + 1)]
ACCOUNTS = [number.to_bytes(20, "big") for number in range(1, MEMBERS + 1)]
GENESIS = Genesis(
    "bench",
    0,
    Params(),
    tuple([Allocation(account, 2 * FUNDS) for account in ACCOUNTS]),
    tuple(
        [
            GenesisValidator(bytes(key.verify_key), account, FUNDS)
            for key, account in zip(KEYS, ACCOUNTS, strict=True)
        ]
    ),
)


def context(state: State, height: int, **more: object) -> BlockContext:
    """Return a block over the state."""
    ctx = BlockContext(state, height, 0, GENESIS.params, GENESIS.hash, ACCOUNTS[1], ZERO_HASH)
    for name, value in more.items():
        setattr(ctx, name, value)
    return ctx


def crowded(base: State, count: int) -> State:
    """Return the state after so many accounts delegated a grain to the first validator."""
    state, account = State(base), ACCOUNTS[0]
    for number in range(count):
        row = Delegation(1, 0, bytes(16), 0)
        DELEGATIONS.put(state, (b"delegator" + number.to_bytes(11, "big"), account), row)
    validator = settled_validator(state, account)
    stake, shares = validator.stake + count, validator.shares + count
    keep_validator(state, account, replace(validator, stake=stake, shares=shares))
    bank.move(state, account, staking.BONDED, count)
    return state


def punished(state: State) -> None:
    """Punish the first validator, and forget it."""
    accused = Accused(staking.members_of(state, 0)[0], 0, 1, "E1")
    punish(context(State(state), 1), accused, ACCOUNTS[1])


def main() -> None:
    """Measure and print."""
    genesis = apply_genesis(Base(Nothing()), GENESIS)
    few, many = crowded(genesis, 10), crowded(genesis, DELEGATORS)
    subject = Proposal(0, 1, 0, ZERO_HASH, ZERO_HASH)

    def votes(tag: Tag) -> tuple[Vote, ...]:
        digest = vote_digest(tag, GENESIS.hash, subject)
        return tuple([Vote(at, key.sign(digest).signature) for at, key in enumerate(KEYS)])

    late = Finalization(subject, votes(Tag.FINALIZE))
    shown = (Notarization(subject, votes(Tag.NOTARIZE)),)
    claims = certificate_claims(GENESIS.hash, late, staking.members_of(genesis, 0))
    later = State(genesis)
    watch(context(later, 1, certificates=shown))
    assert WATCH.get(later, 0) is None

    seconds = interleave(
        {
            "few": lambda: punished(few),
            "many": lambda: punished(many),
            "first": lambda: watch(context(State(genesis), 1, certificates=shown)),
            "later": lambda: watch(context(State(later), 2, certificates=shown)),
            "late": lambda: staking.check_votes(genesis, 1, GENESIS.hash, late, ()),
            "known": lambda: staking.check_votes(genesis, 1, GENESIS.hash, late, (), set(claims)),
            "signatures": lambda: crypto.verify_many(claims),
        }
    )
    micros = {name: round(min(times) * 1e6, 1) for name, times in seconds.items()}
    grown = ratio(seconds["many"], seconds["few"])
    figures = {
        "delegators": DELEGATORS,
        "microseconds": micros,
        "many_to_few": grown,
        "late_to_signatures": ratio(seconds["late"], seconds["signatures"]),
    }
    report("staking", figures, grown <= BAR_RATIO)


if __name__ == "__main__":
    main()
