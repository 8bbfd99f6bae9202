"""Many seeds: run after run, over several processes, with progress, and one summary."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

import msgspec

from node.sim.report import Report, Sweep, summarize
from node.sim.scenario import Options
from node.sim.swarm import draw_options

Progress = Callable[[int, int], None]
"""Hears how many runs of how many are done."""


def run_sweep(
    options: Options, count: int, jobs: int, progress: Progress, *, swarm: bool = False
) -> Sweep:
    """Run `count` seeds from the options' own upwards; reports come in the order of seeds.

    In a swarm every seed draws all other options itself.
    """
    started = time.monotonic()
    seeds = [options.seed + index for index in range(count)]
    found: dict[int, Report] = {}
    for report in _reports(options, seeds, jobs, swarm):
        found[report.seed] = report
        progress(len(found), count)
    runs = [found[seed] for seed in seeds]
    return Sweep(runs, summarize(runs, time.monotonic() - started))


def _reports(options: Options, seeds: list[int], jobs: int, swarm: bool) -> Iterator[Report]:
    if jobs == 1:
        yield from (run_seed(options, seed, swarm) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(run_seed, options, seed, swarm) for seed in seeds]
        yield from (future.result() for future in as_completed(futures))


def run_seed(options: Options, seed: int, swarm: bool = False) -> Report:
    """Run one seed of a sweep; its report leaves out the marks of the trace, to stay small."""
    from node.sim.simulation import simulate

    given = draw_options(seed) if swarm else msgspec.structs.replace(options, seed=seed)
    report = simulate(given)
    return msgspec.structs.replace(report, trace_marks=[])
