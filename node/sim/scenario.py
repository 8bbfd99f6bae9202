"""What the options of a simulation mean: stakes, who is Byzantine, and what the network does."""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Annotated

import msgspec
from msgspec import Meta

from node.sim.byzantine import KINDS
from node.sim.errors import WrongUsage, quoted
from node.sim.latency import Latency, parse_latency
from node.sim.partitions import Cut, parse_partition
from state.finality import VALIDATORS_MAX

_BYZANTINE = re.compile(
    r"(?P<kind>[a-z-]{1,32}):(?P<count>[0-9]{1,9}(?:\.[0-9]{1,9})?)(?P<percent>%?)"
)

Probability = Annotated[float, Meta(ge=0, le=1)]

EQUAL_STAKE = 1_000_000
ZIPF_LARGEST = 100_000_000
STAKE_MAX = 2**62
STAKE_DIGITS_MAX = 19
BANDWIDTH_MBIT = (0.001, 1_000_000)
"""The narrowest and the widest links; 0 is without a limit."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every option that decides what happens in a run, with the simulator's defaults."""

    validators: Annotated[int, Meta(ge=1, le=VALIDATORS_MAX)] = 4
    stakes: str = "equal"
    views: Annotated[int, Meta(ge=1, le=10_000_000)] = 100
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 1
    latency: str = "10"
    jitter: Annotated[float, Meta(ge=0, le=60_000)] = 0.0
    loss: Probability = 0.0
    duplicate: Probability = 0.0
    reorder: bool = False
    bandwidth: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    partition: str = "none"
    crash: Probability = 0.0
    power_cut: Probability = 0.0
    disk_faults: Probability = 0.0
    disk_loss: Probability = 0.0
    churn: Probability = 0.0
    byzantine: str = ""
    app: str = "none"
    cpu_cost: bool = False
    real_signatures: bool = False
    epoch_length: Annotated[int, Meta(ge=2, le=100_000_000)] = 1_000_000
    delta_ms: Annotated[int, Meta(ge=0, le=600_000)] = 0
    """The timeout bound Δ; 0 chooses 200 ms, or five times the longest delay if that is more."""


@dataclass(frozen=True)
class Scenario:
    """Options made concrete: all that a run needs to know before its first event."""

    options: Options
    stakes: tuple[int, ...]
    byzantine: dict[int, str]
    """Kind by validator index."""
    endpoints: tuple[int, ...]
    """The validator behind each endpoint; the second copies of twins come last."""
    latency: Latency
    cuts: tuple[Cut, ...]
    delta_ms: int

    @cached_property
    def honest(self) -> tuple[int, ...]:
        """The validators that follow the protocol."""
        return tuple(v for v in range(len(self.stakes)) if v not in self.byzantine)

    @property
    def byzantine_stake(self) -> int:
        """The stake of those that do not."""
        return sum(self.stakes[validator] for validator in self.byzantine)

    @property
    def is_within_bound(self) -> bool:
        """Whether less than a third of the stake is Byzantine, so that nothing may break."""
        return 3 * self.byzantine_stake < sum(self.stakes)


def make_scenario(options: Options) -> Scenario:
    """Return what the options mean; raises WrongUsage."""
    stakes = parse_stakes(options.stakes, options.validators)
    byzantine = parse_byzantine(options.byzantine, stakes, options.seed)
    if len(byzantine) == len(stakes):
        raise WrongUsage("All validators are Byzantine; leave at least one that is honest.")
    twins = [validator for validator, kind in sorted(byzantine.items()) if kind == "twins"]
    endpoints = (*range(options.validators), *twins)
    latency = parse_latency(options.latency, options.validators)
    cuts = (
        ()
        if options.partition in ("none", "random")
        else tuple(parse_partition(options.partition, len(endpoints)))
    )
    if options.app not in ("none", "full"):
        raise WrongUsage(f"--app {options.app} is neither none nor full.")
    if options.app == "full" and options.churn:
        raise WrongUsage("--churn changes the sets of --app none only; leave one of them out.")
    narrowest, _ = BANDWIDTH_MBIT
    if 0 < options.bandwidth < narrowest:
        raise WrongUsage(
            f"--bandwidth {options.bandwidth:g} is too narrow; give at least {narrowest} Mbit/s, "
            "or 0 for links without a limit."
        )
    delta_ms = options.delta_ms or max(200, math.ceil(5 * latency.largest_us / 1_000))
    return Scenario(options, stakes, byzantine, endpoints, latency, cuts, delta_ms)


def parse_stakes(text: str, count: int) -> tuple[int, ...]:
    """Return what `--stakes` says: equal, zipf, or one number a validator; raises WrongUsage."""
    if text == "equal":
        return (EQUAL_STAKE,) * count
    if text == "zipf":
        return tuple(ZIPF_LARGEST // rank for rank in range(1, count + 1))
    parts = text.split(",")
    if len(parts) != count and len(parts) > 1:
        raise WrongUsage(f"--stakes names {len(parts)} stakes for {count} validators.")
    if not all(part.isascii() and part.strip().isdigit() for part in parts):
        raise WrongUsage(
            f"--stakes {quoted(text)!r} is neither equal, zipf, nor numbers such as 3,2,1."
        )
    if len(parts) != count:
        raise WrongUsage(f"--stakes names {len(parts)} stakes for {count} validators.")
    if any(len(part.strip()) > STAKE_DIGITS_MAX for part in parts):
        raise WrongUsage("Stakes are at least 1, and together at most 2^62.")
    stakes = tuple(int(part) for part in parts)
    if min(stakes) < 1 or sum(stakes) > STAKE_MAX:
        raise WrongUsage("Stakes are at least 1, and together at most 2^62.")
    return stakes


def parse_byzantine(text: str, stakes: tuple[int, ...], seed: int) -> dict[int, str]:
    """Return the kind of every Byzantine validator that `--byzantine` asks for.

    Validators are put into an order that follows from the seed, and dealt out from its beginning:
    a count takes that many, a percentage takes whoever keeps the kind's stake strictly below it.
    Raises WrongUsage.
    """
    waiting = list(range(len(stakes)))
    Random(f"{seed}:byzantine").shuffle(waiting)
    kinds: dict[int, str] = {}
    named: set[str] = set()
    for part in text.split(",") if text else ():
        found = _BYZANTINE.fullmatch(part)
        if found is None or found["kind"] not in KINDS:
            raise WrongUsage(
                f"--byzantine {quoted(part)!r} is not KIND:COUNT or KIND:PERCENT%; kinds are "
                f"{', '.join(sorted(KINDS))}."
            )
        if found["kind"] in named:
            raise WrongUsage(f"--byzantine names {found['kind']} twice; add its shares up.")
        named.add(found["kind"])
        if float(found["count"]) == 0:
            raise WrongUsage(f"--byzantine {quoted(part)!r} asks for nobody; leave it out.")
        if found["percent"]:
            if float(found["count"]) > 100:
                raise WrongUsage(f"--byzantine {part} is more than all of the stake.")
            chosen = _below_share(waiting, stakes, float(found["count"]))
        else:
            chosen = waiting[: _count(found["count"], len(waiting), part)]
        kinds |= dict.fromkeys(chosen, found["kind"])
        waiting = [validator for validator in waiting if validator not in kinds]
    return kinds


def _below_share(waiting: list[int], stakes: tuple[int, ...], percent: float) -> list[int]:
    """Take validators in order as long as their stake stays strictly below the share."""
    chosen: list[int] = []
    stake = 0
    for validator in waiting:
        if (stake + stakes[validator]) * 100 < percent * sum(stakes):
            stake += stakes[validator]
            chosen.append(validator)
    return chosen


def _count(text: str, available: int, part: str) -> int:
    if not text.isdigit() or int(text) > available:
        raise WrongUsage(f"--byzantine {part} asks for more validators than there are left.")
    return int(text)
