"""The engine: one of four validators signs and sends whatever it likes, and nothing gives way.

The input is a row of steps, each a MessagePack list: a number that says who sends to whom, how much
time passes before it, and a message; what no time passes before comes in one batch with the message
ahead of it. Whatever in it carries the hostile validator's number is
signed with its key, and what names others holds only if they really said so, so that what arrives
is what such a validator can make. Of the three honest ones none may halt, raise, be accused, or
believe what nobody has signed, and in the end they go on finalizing.
"""

import random
from contextlib import suppress
from typing import Any, Final

import msgpack

from consensus.inputs import Received
from consensus.messages import Propose, decode, encode
from fuzz.mutation import mutated
from fuzz.seeds import golden
from state import codec
from state.crypto import Tag
from state.errors import Malformed
from state.finality import (
    Finalization,
    Finalize,
    Justify,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
    Vote,
    justify_hash,
    kind_of,
    vote_digest,
)
from tests.consensus.believed import unsigned
from tests.consensus.network import GENESIS, Forge, Network, key_of, sign

HOSTILE: Final = 3
STEPS_MAX: Final = 24
WAIT_MS_MAX: Final = 3_000
START_MS: Final = 300
BLOCKS: Final = 2
PROGRESS_MS: Final = 120_000
KINDS: Final = {
    Notarization: Tag.NOTARIZE,
    Nullification: Tag.NULLIFY,
    Finalization: Tag.FINALIZE,
}


def seeds() -> list[bytes]:
    """Each golden message alone, and what a run of an honest network says, as a row of steps."""
    vectors = golden("consensus.txt")
    alone = [data for name, data in vectors.items() if name.startswith("message")]
    said = [encode(message) for message in _overheard()]
    rows = [*[[one] for one in alone], said[:STEPS_MAX], said[-STEPS_MAX:]]
    return [
        b"".join([msgpack.packb([HOSTILE, wait_ms, one], use_bin_type=True) for one in row])
        for row in rows
        for wait_ms in (20, 0)[: len(row)]
    ]


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change one step of the row, or the row itself."""
    steps = _steps(data)
    if not steps:
        return mutated(data, size_max, chance)
    at = chance.randrange(len(steps))
    who, wait_ms, message = steps[at]
    match chance.randrange(8):
        case 0:
            steps.insert(at, steps[chance.randrange(len(steps))])
        case 1:
            del steps[at]
        case 2:
            steps[at] = [chance.randrange(6), wait_ms, message]
        case 3:
            steps[at] = [who, chance.choice((0, 0, 0, 1, 100, 600, 2_500)), message]
        case _:
            steps[at] = [who, wait_ms, mutated(message, size_max, chance)]
    return b"".join([msgpack.packb(step, use_bin_type=True) for step in steps])[:size_max]


def check(data: bytes) -> None:
    """Let the steps happen to node 0 among its honest peers."""
    net = _three()
    net.run(START_MS)
    for batch in _batches(_steps(data)):
        who, wait_ms, _ = batch[0]
        net.run(wait_ms % WAIT_MS_MAX)
        said = tuple([(_peer(one), message) for one, message in _readable(batch, net)])
        for node in net.nodes[: 1 + who % 3]:
            node.feed(Received(net.now, said))
        for node in net.nodes[:HOSTILE]:
            assert node.halted is None, node.halted
            assert not unsigned(node), "it believes what nobody has signed"
    goal = max(node.height for node in net.nodes[:HOSTILE]) + BLOCKS
    net.run_to(goal, PROGRESS_MS)
    for node in net.nodes[:HOSTILE]:
        accused = [one for one in node.evidence if _who(one) != HOSTILE]
        assert not accused, "an honest validator is accused"


def _batches(steps: list[list[Any]]) -> list[list[list[Any]]]:
    found: list[list[list[Any]]] = []
    for step in steps:
        if found and step[1] == 0:
            found[-1].append(step)
        else:
            found.append([step])
    return found


def _readable(batch: list[list[Any]], net: Network) -> list[tuple[int, Any]]:
    """Return who sends and what, of those messages that can be read at all."""
    found: list[tuple[int, Any]] = []
    for who, _, wire in batch:
        with suppress(Malformed):
            found.append((who, _signed(decode(wire), net, mended=who % 2 == 0)))
    return found


def _peer(who: int) -> bytes:
    return key_of(HOSTILE) if who % 5 == HOSTILE else b"s" * 31 + bytes([who % 256])


def _who(evidence: Any) -> int:
    vote = getattr(evidence, "first", None) or evidence.vote
    return int(vote.vote.validator)


def _signed(message: Any, net: Network, *, mended: bool) -> Any:
    """Make a message what the hostile validator can send: nobody else's signature is forged."""
    match message:
        case Notarize() | Nullify() | Finalize():
            kind = kind_of(message)
            return codec.replace(message, vote=_vote(kind, message.subject, message.vote, net))
        case Propose():
            found = _mended(message) if mended else message
            vote = _vote(Tag.NOTARIZE, found.proposal, found.vote, net)
            return codec.replace(_true(found, net), vote=vote)
    return _true(message, net)


def _mended(message: Propose) -> Propose:
    """Return the proposal with its hashes put right: what is wrong with it lies deeper."""
    header, justify = message.header, message.justify
    if justify is not None:
        header = codec.replace(header, justify_hash=justify_hash(justify))
    proposal = codec.replace(message.proposal, block_id=header.id, justify_hash=header.justify_hash)
    return codec.replace(message, proposal=proposal, header=header)


def _true(value: Any, net: Network) -> Any:
    """Return a value whose certificates hold only votes that were cast in this run."""
    match value:
        case Notarization() | Nullification() | Finalization():
            kind = KINDS[type(value)]
            votes = tuple([_vote(kind, value.subject, vote, net) for vote in value.votes])
            return codec.replace(value, votes=votes)
        case tuple():
            return tuple([_true(item, net) for item in value])
        case codec.Struct():
            changes = {name: _true(getattr(value, name), net) for name in value.__struct_fields__}
            return codec.replace(value, **changes)
    return value


def _vote(kind: Tag, subject: Any, vote: Vote, net: Network) -> Vote:
    """Return the vote with the signature that its validator gave or gives, else with none."""
    at = vote.validator
    if at == HOSTILE:
        return Vote(at, sign(key_of(at), vote_digest(kind, GENESIS, subject)))
    cast = net.nodes[at].disk.votes if at < HOSTILE else {}
    known, signature = cast.get((subject.epoch, subject.view, kind), (None, b""))
    return Vote(at, signature if known == subject else bytes(64))


def _steps(data: bytes) -> list[list[Any]]:
    reader = msgpack.Unpacker(max_buffer_size=2**20, strict_map_key=False)
    found: list[list[Any]] = []
    try:
        reader.feed(data)
        for step in reader:
            match step:
                case [int(who), int(wait_ms), bytes(wire)] if len(found) < STEPS_MAX:
                    found.append([abs(who), abs(wait_ms), wire])
    except (ValueError, TypeError, msgpack.UnpackException):
        return found
    return found


def _overheard() -> list[Any]:
    """What three of four say in their first views, and what the fourth could propose in them."""
    net = _three()
    said: list[Any] = []

    def listen(sender: int, receiver: int, message: Any) -> bool:
        if (sender, receiver) == (1, 0):
            said.append(message)
        return True

    net.filter = listen
    net.run(PROGRESS_MS // 40)
    rig = Forge(net)
    view = next(
        at for at in range(net.nodes[0].core.epoch.view, 2**10) if rig.leader(at) == HOSTILE
    )
    return [*said, rig.propose(view, net.nodes[0].disk.chain[-1], Justify(None, ()))]


def _three() -> Network:
    """A network of four whose hostile validator is played by the input."""
    net = Network(4)
    net.nodes[HOSTILE].crash()
    for node in net.nodes[:HOSTILE]:
        node.start()
    return net
