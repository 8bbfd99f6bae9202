"""Sync: peers claim and answer what they like, in any order, and one that is honest is enough.

The input is a row of steps, each a MessagePack list: which peer, how much time passes before, what
it does, and bytes. A hostile peer claims a height, or leaves; or it spoils its next answer, by
mutated bytes of the honest one, by bytes of the input, by silence, or by another kind of answer.
The syncing node halts never, names no honest peer, asks within its bounds, and ends on the honest
chain. Then the same answers come to a node that fetches a snapshot.
"""

import asyncio
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgpack

from fuzz.mutation import mutated
from node.snapshot.errors import SnapshotError
from node.snapshot.fetch import Alone, Fetch, TooSlow
from node.snapshot.make import make_snapshot
from node.snapshot.progress import StateSync
from node.snapshot.serving import snapshot_handlers
from node.snapshot.sources import Sources
from node.storage.finality_store import FinalityView
from node.sync.archive import chain_handlers
from node.sync.core import ANSWER_MS
from node.sync.leg import CLOSE_HEIGHTS
from node.sync.messages import ServedRequest, SyncRequest, decode_request
from node.sync.ranges import ASKS_MAX
from node.sync.sources import ASKS_PER_PEER_MAX
from p2p.errors import RequestFailed
from p2p.scores import Verdict
from p2p.topics import Topic
from state.codec import encode
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain, same
from tests.node.sync.lab import Lab, Peer

HOSTILE: Final = (b"h1", b"h2", b"h3")
HONEST: Final = b"honest"
HEIGHTS: Final = 2 * EPOCH_BLOCKS + 2
STEPS_MAX: Final = 24
WAIT_MS_MAX: Final = 8_000
SYNC_MS_MAX: Final = 600_000
ASKS_ALL_MAX: Final = 3 * ASKS_MAX
CHAIN: Final = Chain().grow(HEIGHTS)
SHELF: Final = Path(tempfile.mkdtemp(prefix="fuzz-shelf-"))
SNAPSHOT: Final = next(one for one in make_snapshot(CHAIN.rows, GENESIS, SHELF) if one is not None)
CROWN_ID: Final = SNAPSHOT.manifest(GENESIS.hash).crown.id
HANDLERS: Final = {
    **chain_handlers(CHAIN.store),
    **snapshot_handlers(FinalityView(CHAIN.rows), SHELF, GENESIS.hash),
}

Step = tuple[int, int, int, bytes]
CLAIM, SILENCE, BYTES, MUTATED, OTHER, LEAVE = range(6)


def seeds() -> list[bytes]:
    """Rows of each thing that a hostile peer may do, alone and in turn."""
    claim = msgpack.packb([2**40, 2**62])
    alone = [[(0, 50, kind, claim)] * 6 for kind in range(6)]
    mixed = [(at, 100 * at, at % 6, bytes([at])) for at in range(STEPS_MAX)]
    answers = [encode(handler(request)) for request, handler in _questions()]
    said = [(at, 20, BYTES, answer) for at, answer in enumerate(answers)]
    return [_packed(row) for row in (*alone, mixed, said)]


def _questions() -> list[tuple[ServedRequest, Callable[[Any], Any]]]:
    """One question of each kind that has an answer here."""
    asked = Lab(Peer(HONEST, CHAIN))
    asked.sync()
    kinds = {type(one): one for one in asked.peers[HONEST].asked}
    return [(request, HANDLERS[kind]) for kind, request in kinds.items()]


def _packed(steps: Any) -> bytes:
    return b"".join([msgpack.packb(list(step), use_bin_type=True) for step in steps])


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change one step of the row, or the row itself."""
    steps = _steps(data)
    if not steps:
        return mutated(data, size_max, chance)
    at = chance.randrange(len(steps))
    who, wait_ms, kind, data = steps[at]
    match chance.randrange(6):
        case 0:
            steps.insert(at, steps[chance.randrange(len(steps))])
        case 1:
            del steps[at]
        case 2:
            steps[at] = (chance.randrange(3), wait_ms, kind, data)
        case 3:
            steps[at] = (who, chance.choice((0, 1, 99, 1_001, 6_001)), kind, data)
        case 4:
            steps[at] = (who, wait_ms, chance.randrange(6), data)
        case _:
            steps[at] = (who, wait_ms, kind, mutated(data, size_max, chance))
    return _packed(steps)[:size_max]


def _steps(data: bytes) -> list[Step]:
    reader = msgpack.Unpacker(max_buffer_size=2**20, strict_map_key=False)
    found: list[Step] = []
    try:
        reader.feed(data)
        for step in reader:
            match step:
                case [int(who), int(wait_ms), int(kind), bytes(said)] if len(found) < STEPS_MAX:
                    found.append((who % 3, wait_ms % WAIT_MS_MAX, kind % 6, said))
    except (ValueError, TypeError, msgpack.UnpackException):
        return found
    return found


def check(data: bytes) -> None:
    """Let the steps happen to a node that syncs, and to one that fetches a snapshot."""
    steps = _steps(data)
    _sync(steps)
    asyncio.run(_fetch(steps))


def _spoiled(kind: int, said: bytes, honest: bytes | None) -> bytes | None:
    """Return what a hostile peer makes of an honest answer."""
    if kind == BYTES:
        return said
    if kind == MUTATED and honest is not None:
        return mutated(honest, 2**20, random.Random(said))
    return None if kind in (SILENCE, LEAVE) else honest


def _sync(steps: list[Step]) -> None:
    plans: dict[bytes, list[tuple[int, bytes]]] = {name: [] for name in HOSTILE}
    lab = Lab(*[_liar(name, plans) for name in HOSTILE], Peer(HONEST, CHAIN, delay_ms=90))
    for who, wait_ms, kind, said in steps:
        until_ms = lab.now_ms + wait_ms
        lab.run(partial(_is_past, lab, until_ms), SYNC_MS_MAX)
        _bounded(lab)
        name = HOSTILE[who]
        if kind == CLAIM:
            _claim(lab, name, said)
        elif kind == LEAVE:
            lab.core.gone(name)
        else:
            plans[name].append((kind, said))
    goal = HEIGHTS - CLOSE_HEIGHTS
    lab.run(lambda: lab.height >= goal, SYNC_MS_MAX)
    _bounded(lab)
    assert HONEST not in lab.accused
    same(lab.store, CHAIN.store)


def _is_past(lab: Lab, until_ms: int) -> bool:
    return lab.now_ms >= until_ms


def _bounded(lab: Lab) -> None:
    asked = [one.peer for one in lab.core._asked.values()]
    assert len(asked) <= ASKS_ALL_MAX
    assert asked.count(HONEST) <= ASKS_PER_PEER_MAX
    assert len(lab.core._legs) <= 2
    assert len(lab.accused) == len({*lab.accused}), "nobody is accused twice"


def _liar(name: bytes, plans: dict[bytes, list[tuple[int, bytes]]]) -> Peer:
    def change(request: SyncRequest, answer: Any) -> Any:
        if not plans[name]:
            return answer
        kind, said = plans[name].pop(0)
        if kind == OTHER:
            return CHAIN_ANSWERS[len(said) % len(CHAIN_ANSWERS)]
        return _spoiled(kind, said, None if answer is None else encode(answer))

    return Peer(name, CHAIN, delay_ms=10, change=change)


def _claim(lab: Lab, name: bytes, said: bytes) -> None:
    if name in lab.peers:
        height = int.from_bytes(said[:8], "big") % 2**63
        lab.peers[name].claim = (height % 2**40, height)


class _Peers:
    """The network of a node that fetches a snapshot: what each peer answers, in no time."""

    def __init__(self, steps: list[Step]) -> None:
        self._plans: dict[bytes, list[tuple[int, bytes]]] = {name: [] for name in HOSTILE}
        for who, _, kind, said in steps:
            self._plans[HOSTILE[who]].append((kind, said))
        self.judged: list[bytes] = []

    def peers(self) -> list[Any]:
        """Everybody who was not found out."""
        return [_Name(name) for name in (*HOSTILE, HONEST) if name not in self.judged]

    async def request(self, peer_id: bytes, topic: Topic, data: bytes, timeout_ms: int) -> bytes:
        """Return an answer, honest or not."""
        assert topic is Topic.SYNC and timeout_ms >= ANSWER_MS
        asked = decode_request(data)
        found = HANDLERS[type(asked)](asked)
        answer = None if found is None else encode(found)
        plan = self._plans.get(peer_id)
        if plan:
            kind, said = plan.pop(0)
            if kind == OTHER:
                answer = encode(CHAIN_ANSWERS[len(said) % len(CHAIN_ANSWERS)])
            else:
                answer = _spoiled(kind, said, answer)
        if answer is None:
            raise RequestFailed("Nothing came.")
        return answer

    def judge(self, peer_id: bytes, verdict: Verdict) -> None:
        """Note who is reported."""
        assert verdict is Verdict.INVALID
        self.judged.append(peer_id)


class _Name:
    """A connected peer."""

    is_outbound = False

    def __init__(self, peer_id: bytes) -> None:
        self.peer_id = peer_id


async def _fetch(steps: list[Step]) -> None:
    network: Any = _Peers(steps)
    sources = Sources(network)
    with tempfile.TemporaryDirectory(prefix="fuzz-fetch-") as folder:
        fetch = Fetch(sources, GENESIS, None, Path(folder), 10**6, StateSync())
        found = None
        while found is None:
            for peer_id in sources.unasked:
                await sources.ask_offers(peer_id)
            offers = sources.ranked(0)
            assert offers, "what the honest one offers is given up by nobody's doing"
            giver = None
            try:
                giver, manifest = await fetch.manifest(offers)
                found = await fetch.run(giver, manifest)
            except SnapshotError as error:
                assert error.sentence.endswith("."), error
                assert giver != HONEST, error
                if giver is not None:
                    is_over = not isinstance(error, Alone | TooSlow)
                    sources.strike(giver, manifest.crown.id, is_over=is_over)
                sources.begin_anew()
        assert found.manifest(GENESIS.hash).crown.id == CROWN_ID
        assert HONEST not in network.judged


CHAIN_ANSWERS: Final = [handler(request) for request, handler in _questions()]
"""An honest answer of each kind, to no question in particular."""
