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
from consensus.messages import Block, BlockReply, Propose, decode, encode
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
EPOCH_BLOCKS: Final = 4
MENDED, IN_TURN, APART = 32, 64, 128
"""Bits of who sends: a proposal is made to hold together, to come in its turn, or to come
as its leader's vote and at once its block."""
PARTS: Final = 8
PROGRESS_MS: Final = 120_000
KINDS: Final = {
    Notarization: Tag.NOTARIZE,
    Nullification: Tag.NULLIFY,
    Finalization: Tag.FINALIZE,
}


def seeds() -> list[bytes]:
    """Each golden message alone, and what a run of an honest network says, as a row of steps."""
    vectors = golden("consensus.txt")
    alone = [(0, data) for name, data in vectors.items() if name.startswith("message")]
    said = [(at_ms, encode(message)) for at_ms, message in _overheard()]
    windows = [said[at : at + STEPS_MAX] for at in range(0, len(said), STEPS_MAX)]
    rows = [*[[one] for one in alone], *windows, said[-STEPS_MAX:]]
    return [
        _row([wire for _, wire in row], row[-1][0], who, wait_ms)
        for row in rows
        for who, wait_ms in ((HOSTILE, 20), (MENDED + IN_TURN + APART + 4, 0))[: len(row)]
    ]


def _row(wires: list[bytes], first_ms: int, who: int, wait_ms: int) -> bytes:
    """Return steps of which the first comes when what all of them say was true."""
    waits = [min(max(0, first_ms), WAIT_MS_MAX - 1), *[wait_ms] * (len(wires) - 1)]
    steps = [[who, wait, wire] for wait, wire in zip(waits, wires, strict=True)]
    return b"".join([msgpack.packb(step, use_bin_type=True) for step in steps])


def mutate(data: bytes, size_max: int, chance: random.Random) -> bytes:
    """Change one step of the row, or the row itself."""
    steps = _steps(data)
    if not steps:
        return mutated(data, size_max, chance)
    at = chance.randrange(len(steps))
    who, wait_ms, message = steps[at]
    match chance.randrange(10):
        case 8 | 9:
            steps[at] = [who, wait_ms, _crossed(message, steps, chance)]
        case 0:
            steps.insert(at, steps[chance.randrange(len(steps))])
        case 1:
            del steps[at]
        case 2:
            steps[at] = [chance.randrange(256), wait_ms, message]
        case 3:
            steps[at] = [who, chance.choice((0, 0, 0, 1, 100, 600, 2_500)), message]
        case _:
            steps[at] = [who, wait_ms, mutated(message, size_max, chance)]
    return b"".join([msgpack.packb(step, use_bin_type=True) for step in steps])[:size_max]


def _crossed(wire: bytes, steps: list[list[Any]], chance: random.Random) -> bytes:
    """Let a message stand on a certificate out of any other: each is true, and not together."""
    found: list[Any] = []
    for _, _, other in steps:
        with suppress(Malformed):
            found += _certificates(decode(other))
    parents = [one for one in found if not isinstance(one, Nullification)]
    with suppress(Malformed):
        message = decode(wire)
        if isinstance(message, Propose) and parents:
            own = message.justify or Justify(None, ())
            justify = codec.replace(own, parent=chance.choice(parents))
            if chance.randrange(2):
                justify = codec.replace(justify, nullifications=())
            return encode(codec.replace(message, justify=justify))
    return wire


def _certificates(value: Any) -> list[Any]:
    """Return every certificate in a message."""
    match value:
        case Notarization() | Nullification() | Finalization():
            return [value]
        case tuple():
            return [one for item in value for one in _certificates(item)]
        case codec.Struct():
            return [
                one
                for name in value.__struct_fields__
                for one in _certificates(getattr(value, name))
            ]
    return []


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
            message = _signed(decode(wire), net, who)
            if isinstance(message, Propose) and message.justify is not None and who & APART:
                found.append((who, Notarize(message.proposal, message.vote)))
                message = BlockReply((Block(message.header, message.justify, message.body),))
            found.append((who, message))
    return found


def _peer(who: int) -> bytes:
    return key_of(HOSTILE) if who % 5 == HOSTILE else b"s" * 31 + bytes([who % 256])


def _who(evidence: Any) -> int:
    vote = getattr(evidence, "first", None) or evidence.vote
    return int(vote.vote.validator)


def _signed(message: Any, net: Network, who: int) -> Any:
    """Make a message what the hostile validator can send: nobody else's signature is forged."""
    match message:
        case Notarize() | Nullify() | Finalize():
            kind = kind_of(message)
            return codec.replace(message, vote=_vote(kind, message.subject, message.vote, net))
        case Propose():
            found = _true(message, net)
            found = _in_turn(found, net) if who & IN_TURN else found
            found = _mended(found) if who & MENDED else found
            return codec.replace(found, vote=_vote(Tag.NOTARIZE, found.proposal, found.vote, net))
    return _true(message, net)


def _in_turn(message: Propose, net: Network) -> Propose:
    """Return the proposal as one for the next view that the hostile validator leads."""
    core, tip = net.nodes[0].core, net.nodes[0].disk.chain[-1]
    number = core.epoch.number
    view = next(
        at for at in range(core.epoch.view, 2**60) if core.epoch.validators.leader(at) == HOSTILE
    )
    header = codec.replace(
        message.header,
        epoch=number,
        view=view,
        parent_view=view - 1,
        height=tip.header.height + 1,
        parent_id=tip.block_id,
    )
    proposal = codec.replace(message.proposal, epoch=number, view=view, parent_view=view - 1)
    vote = codec.replace(message.vote, validator=HOSTILE)
    return codec.replace(message, proposal=proposal, header=header, vote=vote)


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


def _overheard() -> list[tuple[int, Any]]:
    """What three of four say in their first views, when, and what the fourth could propose."""
    net = _three()
    said: list[tuple[int, Any]] = []
    began = net.now + START_MS

    def listen(sender: int, receiver: int, message: Any) -> bool:
        if (sender, receiver) == (1, 0):
            said.append((net.now - began, message))
        return True

    net.filter = listen
    for _ in range(PARTS):
        net.run(PROGRESS_MS // 40 // PARTS)
        said.append((net.now - began, _proposal(net)))
    return said


def _proposal(net: Network) -> Any:
    """What the hostile validator could propose when it leads next, but for what it stands on."""
    rig, core, tip = Forge(net), net.nodes[0].core, net.nodes[0].disk.chain[-1]
    view = next(at for at in range(core.epoch.view, 2**10) if rig.leader(at) == HOSTILE)
    changes = {"epoch": core.epoch.number, "parent_view": view - 1}
    message = rig.propose(view, tip, Justify(tip.finalization, ()), **changes)
    return codec.replace(message, proposal=codec.replace(message.proposal, epoch=changes["epoch"]))


def _three() -> Network:
    """A network of four whose hostile validator is played by the input."""
    net = Network(4, epoch_blocks=EPOCH_BLOCKS)
    net.nodes[HOSTILE].crash()
    for node in net.nodes[:HOSTILE]:
        node.start()
    return net
