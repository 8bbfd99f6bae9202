"""Generated demand: repeatable, plausible, and of a size that keeps the demo quick."""

import hashlib

from node.demo.generator import CALLS_MAX, CALLS_MIN, PROFILES, SLOT_MS, generated_traces
from node.demo.seeds import generator_of

DAY_MS = 86_400_000


def test_equal_seeds_give_equal_demand_and_others_do_not() -> None:
    assert generated_traces(7) == generated_traces(7)
    assert generated_traces(7) != generated_traces(8)


def test_draws_of_a_seed_are_pinned() -> None:
    assert generator_of(1, "maker", 2).randrange(2**64) == 10130068147033784277
    text = repr([trace.calls for trace in generated_traces(1)]).encode()
    assert hashlib.blake2b(text, digest_size=8).hexdigest() == "3935b01f0fc4ea0a"


def test_every_seed_gives_a_lively_day_for_two_models() -> None:
    for seed in range(20):
        traces = generated_traces(seed)
        assert [trace.name for trace in traces] == [profile.name for profile in PROFILES]
        for trace in traces:
            times = [call.time for call in trace.calls]
            assert CALLS_MIN <= len(times) <= CALLS_MAX
            assert times == sorted(times)
            assert times[0] == 0
            assert DAY_MS * 3 // 4 < times[-1] < DAY_MS
            assert all(call.tokens_in >= 0 and call.tokens_out >= 1 for call in trace.calls)


def test_day_has_a_wave_bursts_and_a_mix_of_prompts() -> None:
    for trace in generated_traces(3):
        per_slot = [0] * (DAY_MS // SLOT_MS)
        for call in trace.calls:
            per_slot[call.time // SLOT_MS] += 1
        average = len(trace.calls) / len(per_slot)
        assert sum(per_slot[:72]) * 2 < sum(per_slot[108:180])
        assert max(per_slot) > 3 * average
        prompts = sorted(call.tokens_in + call.tokens_cached for call in trace.calls)
        assert prompts[0] < 1_000 < 4_000 < prompts[-1]
        assert any(call.tokens_cached for call in trace.calls)


def test_each_bucket_of_the_window_has_calls() -> None:
    for seed in range(20):
        for trace in generated_traces(seed):
            assert {trace.bucket_of(call.time, 12) for call in trace.calls} == set(range(12))
