"""One of four validators gone bad: its process is stopped, and somebody speaks with its keys.

Each function is one attack, for so long. Its peers know it as a validator and as persistent, so
nothing keeps it out; what it signs twice is proof against it, and the rest must cost little.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from consensus.messages import (
    Block,
    BlockReply,
    BlockRequest,
    BoundaryRequest,
    CertificateRequest,
    JustifyRequest,
    Propose,
    Status,
    encode,
)
from node.home import PASSPHRASE_FILE, VALIDATOR_KEY
from node.keystore import UnlockedKey, key_info, load_key, read_passphrase
from node.network.identity import load_node_key
from node.network.overlay import topic_of
from node.network.sketches import ID_BYTES, Outline, Sketch
from p2p.handshake import NodeKey
from p2p.topics import Topic
from state.block import TRANSACTIONS_MAX, Body
from state.codec import encode as encode_state
from state.codec import replace
from state.crypto import Tag
from state.finality import (
    Finalization,
    Finalize,
    Header,
    Justify,
    Notarize,
    Nullified,
    Nullify,
    Proposal,
    SignedVote,
    Vote,
    justify_hash,
    vote_digest,
)
from tests.node.hostile.peer import Refused, meeting
from tests.node.hostile.strangers import lasting
from tests.node.hostile.victim import Victim, network

HOST = "127.0.4.1"
FAR = 10**9
NO_EVIDENCE = Body((), None, ()).evidence_root
HOLLOW = tuple([Vote(at, bytes(64)) for at in range(4)])
"""Votes of all four that none of them has signed."""
BODY = bytes(15 * 2**20)
AHEAD = 8
"""Views ahead of the victim's for which something is signed."""


class Traitor:
    """A validator's keys, its number in the set, and what it can sign."""

    def __init__(self, home: Path, genesis_hash: bytes, index: int) -> None:
        passphrase = read_passphrase(home / PASSPHRASE_FILE)
        self.key: UnlockedKey = load_key(home, VALIDATOR_KEY, passphrase)
        self.node_key: NodeKey = load_node_key(home, passphrase)
        self.genesis_hash = genesis_hash
        self.index = index

    def vote(self, kind: Tag, subject: Proposal | Nullified) -> Vote:
        """A vote that holds."""
        return Vote(self.index, self.key.sign(vote_digest(kind, self.genesis_hash, subject)))

    def votes(self, epoch: int, view: int) -> list[SignedVote]:
        """Everything that contradicts itself in one view: E1 to E4."""
        first = Proposal(epoch, view, view - 1, os.urandom(32), os.urandom(32))
        second = Proposal(epoch, view, view - 1, os.urandom(32), os.urandom(32))
        gone = Nullified(epoch, view)
        return [
            *(Notarize(one, self.vote(Tag.NOTARIZE, one)) for one in (first, second)),
            *(Finalize(one, self.vote(Tag.FINALIZE, one)) for one in (first, second)),
            Nullify(gone, self.vote(Tag.NULLIFY, gone)),
        ]

    def proposal(self, epoch: int, view: int) -> Propose:
        """A proposal over nothing that is there, with a body of fifteen megabytes."""
        justify = Justify(None, ())
        roots = [os.urandom(32) for _ in range(8)]
        header = Header(view, epoch, view, view - 1, os.urandom(32), FAR, bytes(20), *roots)
        subject = Proposal(epoch, view, view - 1, header.id, justify_hash(justify))
        return Propose(subject, self.vote(Tag.NOTARIZE, subject), header, justify, BODY)

    def forgery(self, epoch: int, view: int) -> tuple[Notarize, BlockReply]:
        """A vote of its own, and a block under it that stands on what nobody has made final."""
        foul = Proposal(epoch, view - 1, 0, os.urandom(32), os.urandom(32))
        justify = Justify(Finalization(foul, HOLLOW), ())
        roots = [os.urandom(32) for _ in range(7)]
        header = Header(
            *(FAR, epoch, view, view - 1, foul.block_id, FAR, bytes(20)),
            *(*roots[:2], justify_hash(justify), *roots[2:]),
        )
        subject = Proposal(epoch, view, view - 1, header.id, justify_hash(justify))
        vote = Notarize(subject, self.vote(Tag.NOTARIZE, subject))
        return vote, BlockReply((Block(header, justify, b""),))


@asynccontextmanager
async def sold(homes: Sequence[Path]) -> AsyncIterator[tuple[Victim, Traitor]]:
    """Validators, the last of which is gone, and whoever has bought its keys."""
    async with network(homes) as group:
        fallen = group.nodes[-1]
        victim = Victim(group, [fallen])
        await victim.at_ease()
        members = await victim.call("chain.validators", epoch=0)
        keys = [one["public_key"] for one in members]
        os.kill(fallen.pid, signal.SIGKILL)
        await asyncio.wait_for(fallen._process.wait(), 30)
        index = keys.index(key_info(fallen.home, VALIDATOR_KEY).public_key.hex())
        yield victim, Traitor(fallen.home, group.genesis_hash, index)


async def signed_votes(victim: Victim, traitor: Traitor, seconds: float) -> None:
    """Votes that hold, for views near and far, each against the other."""
    await _speak(victim, traitor, seconds, huge=False)


async def huge_proposals(victim: Victim, traitor: Traitor, seconds: float) -> None:
    """Proposals of fifteen megabytes for every view."""
    await _speak(victim, traitor, seconds, huge=True)


async def _speak(victim: Victim, traitor: Traitor, seconds: float, *, huge: bool) -> None:
    goes_on = lasting(seconds)
    while goes_on():
        status = await victim.status()
        epoch, view = int(status["epoch"]), int(status["view"])
        with contextlib.suppress(Refused):
            async with meeting(victim, HOST, traitor.node_key) as peer:
                for at in (*range(view - 2, view + AHEAD), FAR, FAR + view):
                    if huge:
                        wire = encode(traitor.proposal(epoch, at))
                        await peer.tell(Topic.BLOCKS, wire)
                    for vote in [] if huge else traitor.votes(epoch, at):
                        await peer.tell(Topic.CONSENSUS, encode(vote))
                    if not goes_on():
                        return


async def hollow_sketches(victim: Victim, traitor: Traitor, seconds: float) -> None:
    """Proposals that name as many transactions as a block may hold, of which nobody has any."""
    names = os.urandom(TRANSACTIONS_MAX * ID_BYTES)
    await _outline(victim, traitor, seconds, Outline(names, (), (), None, ()))


async def lying_sketches(victim: Victim, traitor: Traitor, seconds: float) -> None:
    """Proposals that contradict themselves: whoever is their leader's node is dropped for it."""
    one, wires = os.urandom(ID_BYTES), (b"x", b"x")
    lies = (
        Outline(one * 2, (), (), None, ()),
        Outline(one + b"x", (), (), None, ()),
        Outline(one, (0, 0), wires, None, ()),
        Outline(one, (TRANSACTIONS_MAX - 1,), wires[:1], None, ()),
        Outline(one, (0,), wires, None, ()),
        Outline(one, (0,), wires[:1], None, ()),
    )
    dropped = [await _outline(victim, traitor, seconds / len(lies), lie) for lie in lies]
    assert any(dropped), "it leads every fourth view, and what it says then proves it"


async def _outline(victim: Victim, traitor: Traitor, seconds: float, outline: Outline) -> bool:
    """Propose this in the views to come; tell whether the victim has hung up."""
    goes_on = lasting(seconds)
    is_dropped = False
    while goes_on():
        status = await victim.status()
        epoch, view = int(status["epoch"]), int(status["view"])
        with contextlib.suppress(Refused):
            async with meeting(victim, HOST, traitor.node_key) as peer:
                for at in range(view, view + AHEAD):
                    whole = traitor.proposal(epoch, at)
                    header = replace(whole.header, evidence_root=NO_EVIDENCE)
                    subject = replace(whole.proposal, block_id=header.id)
                    vote = traitor.vote(Tag.NOTARIZE, subject)
                    sketch = Sketch(subject, vote, header, whole.justify, outline)
                    wire = encode_state(sketch)
                    await peer.tell(topic_of(sketch, len(wire)), wire)
                is_dropped = await peer.is_dropped(0.5) or is_dropped
    return is_dropped


async def asking_without_end(victim: Victim, traitor: Traitor, seconds: float) -> None:
    """Every kind of request and a lying status, as fast as the victim takes them."""
    goes_on = lasting(seconds)
    status = await victim.status()
    head, epoch = bytes.fromhex(status["block_id"]), int(status["epoch"])
    async with meeting(victim, HOST, traitor.node_key) as peer:
        view = 0
        while goes_on() and not peer.gone.is_set():
            view += 1
            for message in (
                *(BlockRequest(head, 32), BlockRequest(os.urandom(32), 32)),
                *(CertificateRequest(epoch, view), JustifyRequest(os.urandom(32))),
                *(BoundaryRequest(epoch + view), Status(epoch, FAR, epoch, FAR, FAR, head)),
            ):
                await peer.tell(Topic.CONSENSUS, encode(message))


async def forged_finality(victim: Victim, traitor: Traitor, seconds: float) -> None:
    """A leader's vote and at once its block, over a finalization that nobody has signed."""
    goes_on = lasting(seconds)
    while goes_on():
        status = await victim.status()
        epoch, view = int(status["epoch"]), int(status["view"])
        with contextlib.suppress(Refused, TimeoutError):
            async with meeting(victim, HOST, traitor.node_key) as peer, asyncio.timeout(5):
                for at in range(view, view + AHEAD):
                    vote, reply = traitor.forgery(epoch, at)
                    await peer.tell_together(Topic.CONSENSUS, encode(vote), encode(reply))


SignedAttack = Callable[[Victim, Traitor, float], Awaitable[None]]

SIGNED: Final[dict[str, SignedAttack]] = {
    attack.__name__: attack
    for attack in (
        *(asking_without_end, huge_proposals, hollow_sketches, lying_sketches),
        forged_finality,
        signed_votes,  # the last: a proof of these costs the traitor its place
    )
}
"""Every attack by a validator, by name."""
