"""What Prometheus is told of consensus: where it stands, how long finality takes, who is missing.

What is counted comes with final blocks alone, so every node that follows the chain counts the same.
"""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consensus.core import Core
from node.clock import Clock
from state.finality import Finalization, Header, Justify, ValidatorSet

FINALITY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
MODES: Final = ("votes", "follows", "behind", "lost", "syncs")


class Watched(Protocol):
    """Whoever runs an engine."""

    @property
    def engine(self) -> Core | None:
        """What the engine knows; None while it does not run."""
        ...

    @property
    def round(self) -> tuple[int, int]:
        """The epoch and the view of the engine; of the head while it does not run."""
        ...


class Nowhere:
    """A node that has no chain yet, nor an engine."""

    engine: Final = None
    round: Final = (0, 0)


def mode_of(core: Core) -> str:
    """Return how a node takes part: it votes, follows without a vote, lags, or lost its votes."""
    if core.is_lost:
        return "lost"
    if core.is_behind or core.awaits_epoch:
        return "behind"
    return "follows" if core.epoch.me is None else "votes"


def mode_now(engine: Core | None, *, is_syncing: bool) -> str:
    """Return the same also while no engine runs: it syncs then, or is not there yet (empty)."""
    if is_syncing:
        return "syncs"
    return "" if engine is None else mode_of(engine)


class ConsensusMetrics:
    """Counts what final blocks tell."""

    def __init__(self, clock: Clock, registry: CollectorRegistry) -> None:
        self._clock = clock
        self._finality = Histogram(
            "sahara_consensus_finality_seconds",
            "From a block's time, when it was proposed, until it became final here.",
            buckets=FINALITY_SECONDS,
            registry=registry,
        )
        self._nullified = Counter(
            "sahara_consensus_nullified_views",
            "Views that final blocks have skipped.",
            registry=registry,
        )
        self._missed = Counter(
            "sahara_consensus_missed_votes",
            "Blocks whose finality a validator had not voted for by the time of a later block.",
            ["validator"],
            registry=registry,
        )
        self._registry = registry
        self.members: Callable[[int], ValidatorSet | None] = lambda _: None
        """The validators of an epoch."""

    def committed(
        self, header: Header, justify: Justify, late: Finalization | None, *, is_behind: bool
    ) -> None:
        """Note a block that has become final; one that is only caught up with says no seconds."""
        if not is_behind:
            passed_ms = max(0, self._clock.wall_ms() - header.time_ms)
            self._finality.observe(passed_ms / 1_000)
        self._nullified.inc(len(justify.nullifications))
        members = None if late is None else self.members(late.subject.epoch)
        if late is not None and members is not None:
            came = {vote.validator for vote in late.votes}
            for place, member in enumerate(members):
                missed = self._missed.labels(member.public_key.hex())
                missed.inc(place not in came)

    def watch(
        self,
        engine: Watched,
        is_syncing: Callable[[], bool],
        members: Callable[[int], ValidatorSet | None],
    ) -> None:
        """Show where an engine stands whenever somebody looks, and whether it waits for a sync."""
        self.members = members
        self._registry.register(StandingCollector(engine, is_syncing))


class StandingCollector(Collector):
    """Epoch, view and mode of an engine, as they are when somebody looks."""

    def __init__(self, engine: Watched, is_syncing: Callable[[], bool]) -> None:
        self._watched = engine
        self._is_syncing = is_syncing

    def collect(self) -> Iterator[Metric]:
        """Yield every family; of the modes one is 1, and none right before the start.

        Round and mode are always there: an engine that stands still while blocks or a snapshot come
        from others is at the head's round, and syncs.
        """
        core = self._watched.engine
        epoch, view = self._watched.round
        yield GaugeMetricFamily("sahara_consensus_epoch", "Epoch of the engine.", value=epoch)
        yield GaugeMetricFamily("sahara_consensus_view", "View of the engine.", value=view)
        modes = GaugeMetricFamily(
            "sahara_consensus_mode", "1 for how the node takes part now.", labels=["mode"]
        )
        now = mode_now(core, is_syncing=self._is_syncing())
        for mode in MODES:
            modes.add_metric([mode], mode == now)
        yield modes
