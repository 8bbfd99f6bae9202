"""How long a message is under way between two validators, apart from faults: the latency matrix."""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from node.sim.errors import WrongUsage, quoted
from node.sim.files import read_bounded
from node.sim.regions import REGIONS, one_way_ms
from node.sim.world import US_PER_MS

LAN_MS = 0.5
LATENCY_MS_MAX = 60_000
FILE_BYTES_MAX = 4 * 2**20

_MILLISECONDS = re.compile(r"[0-9]{1,9}\.?[0-9]{0,9}|\.[0-9]{1,9}")


class LatencyFile(msgspec.Struct):
    """A latency file: names of regions, and one-way delays in milliseconds between them."""

    regions: list[str]
    one_way_ms: list[list[float]]


@dataclass(frozen=True)
class Latency:
    """One-way delays in microseconds between validators; to itself a message takes no time."""

    matrix_us: tuple[tuple[int, ...], ...]
    constant_us: int | None
    """The one delay there is, or None where delays differ."""
    regions: tuple[str, ...]
    """Where each validator stands; empty where there are no regions."""

    @property
    def largest_us(self) -> int:
        """The longest delay between two validators."""
        return max(max(row) for row in self.matrix_us)


def constant(count: int, delay_us: int) -> Latency:
    """Return one delay between all validators."""
    rows = [[0 if i == j else delay_us for j in range(count)] for i in range(count)]
    return Latency(tuple(map(tuple, rows)), delay_us, ())


def over_regions(count: int, regions: list[str], delays_ms: list[list[float]]) -> Latency:
    """Deal validators round-robin over the regions, in their order."""
    places = [index % len(regions) for index in range(count)]
    rows = [
        [0 if i == j else round(delays_ms[places[i]][places[j]] * US_PER_MS) for j in range(count)]
        for i in range(count)
    ]
    return Latency(tuple(map(tuple, rows)), None, tuple(regions[place] for place in places))


def parse_latency(text: str, count: int) -> Latency:
    """Return what `--latency` says: milliseconds, lan, wan, or a file; raises WrongUsage."""
    if text == "lan":
        return constant(count, round(LAN_MS * US_PER_MS))
    if text == "wan":
        return over_regions(count, list(REGIONS), one_way_ms())
    if _MILLISECONDS.fullmatch(text):
        delay_us = round(float(text) * US_PER_MS)
        if not 0 < delay_us <= LATENCY_MS_MAX * US_PER_MS:
            raise WrongUsage(
                f"A latency of {text} ms is out of range; give more than 0 and at most "
                f"{LATENCY_MS_MAX} ms."
            )
        return constant(count, delay_us)
    return _from_file(Path(text), count)


def _from_file(path: Path, count: int) -> Latency:
    try:
        found = msgspec.json.decode(read_bounded(path, FILE_BYTES_MAX), type=LatencyFile)
    except OSError as error:
        raise WrongUsage(
            f"--latency {quoted(str(path))} is neither milliseconds, lan, wan, nor a file that can "
            f"be read ({error.strerror})."
        ) from error
    except msgspec.MsgspecError as error:
        raise WrongUsage(
            f"The latency file {path} is not {{regions, one_way_ms[][]}}: {error}."
        ) from error
    rows = found.one_way_ms
    square = bool(rows) and all(len(row) == len(rows) for row in rows)
    if not square or len(rows) != len(found.regions):
        raise WrongUsage(
            f"The latency file {path} needs a square matrix with one row for each of its "
            f"{len(found.regions)} regions."
        )
    if not all(0 <= delay <= LATENCY_MS_MAX for row in rows for delay in row):
        raise WrongUsage(f"Delays in {path} must lie within 0 and {LATENCY_MS_MAX} ms.")
    return over_regions(count, found.regions, rows)
