"""The module against a model in fractions that loops over everybody at every step.

The model knows no shares, no accumulators and no queues: it keeps what each account has with each
validator in parts, each with what it still answers for, and takes every slash part by part.
Rounding, the module's only difference, is bounded: a step rounds away less than one grain of any
delegation, and a reward is off by what a payment and the grains so rounded amount to.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest

from state.modules import bank, staking
from state.modules.staking import ClaimRewards, Delegate, Redelegate, Undelegate, queries
from state.modules.staking.records import DELEGATIONS, SLASHES, TOTALS
from state.modules.staking.slashing import OFFENCES_MAX

TERMS = {
    "epoch_blocks": 3,
    "evidence_blocks": 6,
    "unbonding_blocks": 12,
    "participation_blocks": 10**6,
    "unbonding_entries_max": 4,
    "redelegation_entries_max": 3,
}
BLOCKS = 70
ACCOUNTS = (0, 1, 2, 3, 5, 6, 7)
Source = tuple[int, int]
"""A validator that stake has left, and when."""


@dataclass
class Part:
    """Stake that answers for its validator and for those that it has left."""

    amount: Fraction
    sources: list[Source]
    due: int = 0


@dataclass
class Model:
    """Everybody's stake and rewards, in fractions."""

    commissions: tuple[int, ...]
    held: dict[tuple[int, int], list[Part]] = field(default_factory=lambda: defaultdict(list))
    waiting: list[tuple[int, Part]] = field(default_factory=list)
    earned: dict[tuple[int, int], Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    slashed: dict[int, Fraction] = field(default_factory=dict)
    offended: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """When the set of each proven offence's epoch was fixed, in the order of the proofs."""
    fees: int = 0
    """What waits while nobody earns."""

    def stake(self, validator: int) -> Fraction:
        found = [
            part.amount for key, parts in self.held.items() if key[1] == validator for part in parts
        ]
        return sum(found, Fraction(0))

    def backed(self, source: Source) -> bool:
        """Whether stake that left then gave weight to the votes of any offence proven by now."""
        validator, left_height = source
        return any(left_height > fixed for fixed in self.offended[validator])

    def cut(self, part: Part) -> bool:
        """Take what the sources' slashes take; whether there was anything to take."""
        due = [source for source in part.sources if self.backed(source)]
        for source in due:
            part.amount *= 1 - self.slashed[source[0]]
            part.sources.remove(source)
        return bool(due)

    def settle(self, by: int, validator: int) -> None:
        for part in self.held[by, validator]:
            if self.cut(part):
                part.due = 0
        self.merge(by, validator)

    def merge(self, by: int, validator: int) -> None:
        """Parts that answer for nobody else are one."""
        parts = self.held[by, validator]
        free = sum([part.amount for part in parts if not part.sources], Fraction(0))
        rest = sorted([part for part in parts if part.sources], key=lambda part: part.due)
        self.held[by, validator] = [Part(free, []), *rest]

    def take(self, by: int, validator: int, amount: int, height: int) -> list[Part]:
        left = Fraction(amount)
        own = [] if validator in self.slashed else [(validator, height)]
        taken = []
        parts = self.held[by, validator]
        for part in parts:
            last = part is parts[-1]
            piece = left if last else min(left, part.amount)
            part.amount -= piece
            left -= piece
            if piece:
                taken.append(Part(piece, [*own, *part.sources]))
        self.held[by, validator] = [p for p in parts if p.amount or not p.sources]
        return taken

    def slash(self, validator: int, bps: int, from_height: int) -> None:
        """What is bonded pays at the first proof alone, what has left for every offence once."""
        self.offended[validator].append(from_height)
        if validator in self.slashed:
            return
        fraction = self.slashed[validator] = Fraction(bps, 10_000)
        for key, parts in self.held.items():
            if key[1] == validator:
                for part in parts:
                    part.amount *= 1 - fraction

    def share(self, fees: int, earning: list[int]) -> None:
        total = sum([self.stake(validator) for validator in earning], Fraction(0))
        self.fees += fees
        if total == 0:
            return
        fees, self.fees = self.fees, 0
        for (by, validator), parts in self.held.items():
            if validator in earning:
                income = fees * sum([part.amount for part in parts], Fraction(0)) / total
                fee = income * self.commissions[validator] / 10_000
                self.earned[by, validator] += income - fee
                self.earned[validator, validator] += fee

    def mature(self, height: int) -> dict[int, Fraction]:
        """What is paid home at the end of this height; redelegations end too."""
        paid: dict[int, Fraction] = defaultdict(Fraction)
        for by, part in [item for item in self.waiting if item[1].due <= height]:
            self.cut(part)
            paid[by] += part.amount
        self.waiting = [item for item in self.waiting if item[1].due > height]
        for (by, validator), parts in list(self.held.items()):
            if any(part.sources and part.due <= height for part in parts):
                self.settle(by, validator)
                for part in self.held[by, validator]:
                    if part.due <= height:
                        part.sources = []
                self.merge(by, validator)
        return paid


def choose(chance: random.Random, network: Any) -> tuple[int, Any]:
    """A step that may be refused."""
    by = chance.choice(ACCOUNTS)
    there = sorted(network.delegations(by))
    first = chance.choice(there) if there and chance.random() < 0.8 else chance.randrange(4)
    second = chance.choice([n for n in range(4) if n != first])
    one, two = network.accounts[first], network.accounts[second]
    amount = chance.choice([1, 7, 50, chance.randint(1, 2_000)])
    holds = network.delegations(by).get(network.accounts.index(one), 0)
    some = chance.choice([holds, chance.randint(1, holds), amount]) if holds else amount
    kind = chance.choice([Delegate, Undelegate, Redelegate, Redelegate, ClaimRewards])
    if kind is Delegate:
        return by, Delegate(one, amount)
    if kind is ClaimRewards:
        return by, ClaimRewards(one)
    if kind is Undelegate:
        return by, Undelegate(one, max(1, some))
    return by, Redelegate(one, two, max(1, some))


def follow(model: Model, network: Any, by: int, message: Any, paid: int) -> None:
    """Do in the model what the module accepted."""
    height, number = network.height, network.accounts.index
    due = height + TERMS["unbonding_blocks"]
    validator = number(message.validator)
    if isinstance(message, ClaimRewards):
        model.settle(by, validator)
        model.earned[by, validator] -= paid
    elif isinstance(message, Delegate):
        model.settle(by, validator)
        model.held[by, validator].append(Part(Fraction(message.amount), []))
        model.merge(by, validator)
    elif isinstance(message, Undelegate):
        model.settle(by, validator)
        for part in model.take(by, validator, message.amount, height):
            part.due = due
            model.waiting.append((by, part))
    else:
        source = number(message.source)
        model.settle(by, source)
        (moved, *more) = model.take(by, source, message.amount, height)
        assert not more, "only free stake moves on"
        model.settle(by, validator)
        moved.due = due
        model.held[by, validator].append(moved)
        model.merge(by, validator)


def accuse(chance: random.Random, network: Any, model: Model) -> Any:
    """Proof against a validator that nothing was proven of, in an epoch of the window."""
    if len(model.slashed) >= 2 or chance.random() > 0.08 or network.height < 8:
        return None
    number = chance.choice([n for n in range(4) if n not in model.slashed])
    return prove(chance, network, number)


def accuse_again(chance: random.Random, network: Any, model: Model) -> Any:
    """Proof against a validator that is out, of an offence older or younger than the first."""
    few = [n for n in sorted(model.slashed) if len(model.offended[n]) < OFFENCES_MAX]
    if not few or chance.random() > 0.5:
        return None
    return prove(chance, network, chance.choice(few))


def prove(chance: random.Random, network: Any, number: int) -> Any:
    at = staking.epoch_of(network.height + 1, network.params.staking)
    epoch = chance.randint(max(0, at - 2), at)
    sat = [member.account for member in staking.members_of(network.state, epoch)]
    if network.accounts[number] not in sat:
        return None
    return number, epoch, network.double_vote(number, network.height + 1, epoch)


def compare(model: Model, network: Any, bound: int) -> None:
    """Every delegation, every reward and every unbonding, within so many grains."""
    numbers = {account: n for n, account in enumerate(network.accounts)}
    for by in ACCOUNTS:
        views = {
            numbers[view.validator]: view
            for view in queries.delegations(network.context(), network.accounts[by])
        }
        for validator in range(4):
            parts = [Part(p.amount, [*p.sources], p.due) for p in model.held[by, validator]]
            for part in parts:
                model.cut(part)
            expected = sum([part.amount for part in parts], Fraction(0))
            view = views.get(validator)
            has, rewards = (0, 0) if view is None else (view.stake, view.rewards)
            assert abs(has - expected) <= bound, (by, validator)
            assert abs(rewards - model.earned[by, validator]) <= bound, (by, validator)
        waiting = [Part(p.amount, [*p.sources], p.due) for who, p in model.waiting if who == by]
        for part in waiting:
            model.cut(part)
        coming = queries.unbondings(network.context(), network.accounts[by])
        assert (
            abs(
                sum([view.expected for view in coming])
                - sum([part.amount for part in waiting], Fraction(0))
            )
            <= 2 * len(coming) + 1
        )


@pytest.mark.parametrize("seed", range(40))
def test_random_lives_follow_the_model(make_network: Any, seed: int) -> None:
    live(make_network, random.Random(seed), accuse, slash_bps=500, fees_max=50_000)


@pytest.mark.parametrize("seed", range(20))
def test_offences_in_whatever_order_they_are_proven_follow_the_model(
    make_network: Any, seed: int
) -> None:
    """Half of the stake goes, so that whoever pays twice, or not at all, stands out of rounding.

    Fees are shared by the other test: half a grain of what is left here would be a large part.
    """

    def either(chance: random.Random, network: Any, model: Model) -> Any:
        return accuse(chance, network, model) or accuse_again(chance, network, model)

    live(make_network, random.Random(seed), either, slash_bps=5_000, fees_max=0)


def live(
    make_network: Any, chance: random.Random, accuse_one: Any, *, slash_bps: int, fees_max: int
) -> None:
    """Follow a random life block by block, and compare after each."""
    commissions = (0, 500, 3_333, 10_000)
    stakes = [chance.randint(100, 3_000) for _ in range(4)]
    network = make_network(stakes, commissions, slash_bps=(slash_bps,) * 5, **TERMS)
    model = Model(commissions)
    for n, stake in enumerate(stakes):
        model.held[n, n] = [Part(Fraction(stake), [])]
    accepted = 0
    for _ in range(BLOCKS):
        earning = [n for n in range(4) if network.validator(n).is_earning]
        accused = accuse_one(chance, network, model)
        by, message = choose(chance, network)
        before = [network.balance(n) for n in range(len(network.accounts))]
        fees = chance.choice([0, 0, chance.randint(min(1, fees_max), fees_max)])
        proof = () if accused is None else (accused[2],)
        (code,) = network.block((by, message), fees=fees, evidence=proof, proposer=4)
        if accused is not None:
            earning = [n for n in earning if n != accused[0]]
            model.slash(accused[0], slash_bps, max(0, accused[1] - 1) * TERMS["epoch_blocks"])
        home = network.balance(by) - before[by]
        if code == "ok":
            accepted += 1
            follow(model, network, by, message, home)
        model.share(fees, earning)
        paid = model.mature(network.height)
        for n in ACCOUNTS:
            gained = network.balance(n) - before[n]
            if n != by or isinstance(message, Undelegate) or code != "ok":
                assert abs(gained - paid[n]) <= 5, "what matured came home, to a grain a part"
        if code == "ok" and isinstance(message, ClaimRewards):
            model.earned[by, network.accounts.index(message.validator)] += round(paid[by])
        compare(model, network, network.height + 2)
    assert accepted > BLOCKS // 4
    everybody_leaves(network)


def everybody_leaves(network: Any) -> None:
    """At last all go home, and the pots are empty but for rewards rounded away."""
    for by in ACCOUNTS:
        for validator in range(4):
            while network.delegations(by).get(validator, 0):
                amount = network.delegations(by)[validator]
                codes = network.block((by, Undelegate(network.accounts[validator], amount)))
                if codes != ["ok"]:
                    assert codes == ["staking.too_many_unbondings"]
    network.advance_to(network.height + TERMS["unbonding_blocks"] + 1)
    for by in ACCOUNTS:
        for validator in range(4):
            network.block((by, ClaimRewards(network.accounts[validator])))
    # Only holdings of a single share, worth less than a grain since the slash, are left.
    rows = list(DELEGATIONS.scan(network.state))
    assert all(row.shares == 1 for _, row in rows)
    totals = TOTALS.require(network.state, 0)
    assert totals.earning == 0
    assert bank.balance_of(network.state, staking.BONDED) == totals.stake <= len(rows)
    assert bank.balance_of(network.state, staking.UNBONDING) == 0
    assert bank.balance_of(network.state, staking.REWARDS) <= 8 * network.height
    at_once = sum([row.burned for _, row in SLASHES.scan(network.state)])
    assert network.burned() >= at_once
