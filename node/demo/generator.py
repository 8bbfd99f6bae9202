"""Demand made from a seed, for a demo without a trace file.

Two models over one compressed day: a wave with a quiet night and two peaks, bursts on top, and
the prompts each kind of model sees. Times are milliseconds; all draws are integers.
"""

import random
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from node.demo.seeds import generator_of
from node.demo.trace import Trace, TraceCall
from state.maths import mul_div_floor

UNITS_PER_SECOND = 1_000
SLOT_MS = 300_000
SLOTS_PER_HOUR = 12
CALLS_MIN = 2_000
CALLS_MAX = 2_600
BURSTS_MIN = 6
BURSTS_MAX = 12
BURST_FACTOR_MAX = 8
BURST_SLOTS_MAX = 3


@dataclass(frozen=True, slots=True)
class PromptKind:
    """One sort of call: how often it comes, and the ranges its token counts are drawn from."""

    share: int
    tokens_in: tuple[int, int]
    tokens_out: tuple[int, int]
    cached_percent_max: int


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What the demand for one model looks like."""

    name: str
    hourly: tuple[int, ...]
    kinds: tuple[PromptKind, ...]


CHAT = ModelProfile(
    name="chat",
    hourly=(
        5,
        4,
        3,
        3,
        4,
        6,
        10,
        16,
        22,
        26,
        28,
        27,
        24,
        26,
        28,
        27,
        25,
        24,
        26,
        29,
        27,
        20,
        13,
        8,
    ),
    kinds=(
        PromptKind(share=50, tokens_in=(100, 2_000), tokens_out=(200, 1_800), cached_percent_max=0),
        PromptKind(
            share=36, tokens_in=(2_000, 9_000), tokens_out=(300, 3_000), cached_percent_max=60
        ),
        PromptKind(
            share=14, tokens_in=(9_000, 32_000), tokens_out=(400, 3_600), cached_percent_max=90
        ),
    ),
)
CODE = ModelProfile(
    name="code",
    hourly=(2, 2, 1, 1, 2, 3, 6, 12, 24, 34, 38, 33, 22, 31, 39, 40, 34, 25, 15, 10, 8, 6, 4, 3),
    kinds=(
        PromptKind(share=30, tokens_in=(400, 4_000), tokens_out=(10, 400), cached_percent_max=0),
        PromptKind(
            share=52, tokens_in=(4_000, 15_000), tokens_out=(50, 900), cached_percent_max=70
        ),
        PromptKind(
            share=18, tokens_in=(15_000, 32_000), tokens_out=(100, 2_400), cached_percent_max=90
        ),
    ),
)
PROFILES = (CHAT, CODE)


def generated_traces(seed: int) -> list[Trace]:
    """The demand of every profile; equal seeds give equal traces."""
    return [generated_trace(profile, seed) for profile in PROFILES]


def generated_trace(profile: ModelProfile, seed: int) -> Trace:
    """One model's day of 2,000 to 2,600 calls."""
    generator = generator_of(seed, f"demand/{profile.name}", 0)
    calls_count = generator.randrange(CALLS_MIN, CALLS_MAX + 1)
    weights = slot_weights(profile, generator)
    bounds = list(accumulate(weights))
    times = sorted(
        drawn(bounds, generator) * SLOT_MS + generator.randrange(SLOT_MS)
        for _ in range(calls_count)
    )
    kind_bounds = list(accumulate(kind.share for kind in profile.kinds))
    calls = tuple(
        drawn_call(time - times[0], profile.kinds[drawn(kind_bounds, generator)], generator)
        for time in times
    )
    return Trace(profile.name, calls, UNITS_PER_SECOND)


def slot_weights(profile: ModelProfile, generator: random.Random) -> list[int]:
    """How likely a call falls into each five-minute slot: the day's wave, then bursts."""
    hourly = profile.hourly
    weights = []
    for hour, here in enumerate(hourly):
        there = hourly[(hour + 1) % len(hourly)]
        for slot in range(SLOTS_PER_HOUR):
            weights.append(here * (SLOTS_PER_HOUR - slot) + there * slot)
    for _ in range(generator.randrange(BURSTS_MIN, BURSTS_MAX + 1)):
        first = generator.randrange(len(weights))
        factor = generator.randrange(2, BURST_FACTOR_MAX + 1)
        for slot in range(first, first + generator.randrange(1, BURST_SLOTS_MAX + 1)):
            weights[slot % len(weights)] *= factor
    return weights


def drawn(bounds: list[int], generator: random.Random) -> int:
    """An index drawn in proportion to the weights whose running sums are `bounds`."""
    return bisect_right(bounds, generator.randrange(bounds[-1]))


def drawn_call(time: int, kind: PromptKind, generator: random.Random) -> TraceCall:
    """A call of this kind; its cached part is a share of the whole prompt."""
    prompt = generator.randrange(kind.tokens_in[0], kind.tokens_in[1] + 1)
    cached = mul_div_floor(prompt, generator.randrange(kind.cached_percent_max + 1), 100)
    tokens_out = generator.randrange(kind.tokens_out[0], kind.tokens_out[1] + 1)
    return TraceCall(time, prompt - cached, cached, tokens_out)
