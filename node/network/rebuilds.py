"""Bodies rebuilt from what one holds and what one asks for; sans-I/O, time passed in.

A proposal comes as a sketch that names its transactions. Those that are here are put in their
places; the rest is asked of whoever sent the sketch, in one question, then of others who voted for
the block. What gossip is bringing already is given a moment. Ids do not cover signatures, so the
body's root is what decides: where it differs, or nobody delivers, the whole body is asked for, and
its ids do not matter any more.

Whatever is held is bounded: sketches of a validator's view, of a peer and in all, names in all, and
whom each is asked of. Where there is no room, the view that is nearest wins. Before an epoch begins
nobody knows who leads its views, so each validator has places of its own; once it has begun, only
those of leaders stay. What is whole at once takes a place as well: whoever signs many blocks of one
view has two of them looked at.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from consensus.messages import Propose
from node.network.handed import Handed, place_of
from node.network.sketches import (
    Contradictory,
    Outline,
    Parts,
    PartsWanted,
    Sketch,
    check_sketch,
    is_ascending,
)
from state.block import TRANSACTIONS_MAX, Body
from state.codec import encode
from state.errors import Malformed
from state.types import Hash

PER_VIEW_MAX: Final = 2
"""Blocks of one validator's view that are taken: more of them prove nothing new against it."""
PER_PEER_MAX: Final = 4
REBUILDS_MAX: Final = 64
NAMES_MAX: Final = 4 * TRANSACTIONS_MAX
"""Transactions that all of them name together."""
HELPERS_MAX: Final = 8
"""Peers that are remembered as having one block."""
SHOWN_MAX: Final = 64
"""Blocks without a sketch of which it is remembered who has them."""
PULL_MS: Final = 300
"""So long a peer that was asked has time before another one is."""
ASK_AGAIN_MS: Final = 1_200
"""So long it has before it is asked once more, where there is no other."""
ASK_ROUNDS_MAX: Final = 4
"""The time doubles so often with every round of questions that nobody answered."""
PATIENCE_MS: Final = 150
"""So long transactions that gossip has asked for are not asked for again."""


@dataclass(slots=True)
class _Rebuild:
    """One body that grows; `due_ms` is None while nobody is left to ask."""

    sketch: Sketch
    outline: Outline
    names: list[Hash]
    wires: list[bytes]
    missing: dict[Hash, int]
    source: bytes
    """Who sent the names: what it delivers must bear them."""
    holders: list[bytes]
    patient_until_ms: int
    due_ms: int | None
    rounds: int = 0
    is_whole: bool = False
    """Whether the names are of no use: asked for is the body as it is."""
    tried: set[bytes] = field(default_factory=set)
    asked: set[bytes] = field(default_factory=set)

    @property
    def round(self) -> tuple[int, int]:
        """The epoch and view of the proposal."""
        proposal = self.sketch.proposal
        return proposal.epoch, proposal.view


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A proposal as consensus knows it, who sent it, and its transactions."""

    source: bytes
    propose: Propose
    wires: tuple[bytes, ...]


class Rebuilds:
    """Every proposal that is being rebuilt.

    `find` returns a transaction that is here, `is_coming` tells whether gossip is bringing it, and
    `id_of` reads an id out of bytes, or raises Malformed.
    """

    def __init__(
        self,
        find: Callable[[Hash], bytes | None],
        is_coming: Callable[[Hash], bool],
        id_of: Callable[[bytes], Hash],
    ) -> None:
        self._find = find
        self._is_coming = is_coming
        self._id_of = id_of
        self._open: dict[Hash, _Rebuild] = {}
        self._handed = Handed()
        """What was whole, also at once."""
        self._shown: OrderedDict[Hash, list[bytes]] = OrderedDict()
        self.wholes = 0
        """Bodies that had to be asked for as they are."""

    def __len__(self) -> int:
        """Return how many proposals are being rebuilt."""
        return len(self._open)

    def __contains__(self, block_id: Hash) -> bool:
        """Tell whether a block is being rebuilt."""
        return block_id in self._open

    def is_asked(self, peer: bytes, block_id: Hash) -> bool:
        """Tell whether a peer was asked for what is missing of a block, and has not answered."""
        rebuild = self._open.get(block_id)
        return rebuild is not None and peer in rebuild.asked

    def was_handed(self, sketch: Sketch, now_ms: int) -> bool:
        """Tell whether a proposal was handed over, and it is too soon to do that again."""
        return self._handed.has(sketch, now_ms)

    @property
    def names_held(self) -> int:
        """How many transactions they name together."""
        return sum([len(one.names) for one in self._open.values()])

    # --- what comes ------------------------------------------------------------------------------

    def on_sketch(self, peer: bytes, sketch: Sketch, now_ms: int) -> Rebuilt | None:
        """Take in a sketch; return the proposal if nothing of it is missing.

        Raises Contradictory for what proves that the sender lies, and Malformed for what it sent
        along and is no transaction.
        """
        known = self._open.get(sketch.proposal.block_id)
        if known is not None:  # sent again: whoever did is there, and may be asked once more
            self._hold(known, peer, now_ms)
            return None
        check_sketch(sketch)
        if self._is_full(sketch):
            return None
        outline = sketch.outline
        if outline is None:
            return self._hand(peer, sketch, b"", (), now_ms)
        rebuild = self._begin(peer, sketch, outline, now_ms)
        if not rebuild.missing:
            whole = self._finish(rebuild, rebuild.wires, now_ms)
            if whole is not None:
                return whole
            if not rebuild.names:
                raise Contradictory("A body without transactions has another root.")
            rebuild.is_whole = True
        if self._make_room(peer, rebuild):
            self._open[sketch.proposal.block_id] = rebuild
        return None

    def on_parts(self, peer: bytes, parts: Parts, now_ms: int) -> Rebuilt | None:
        """Take in what was asked for; return the proposal if it is complete.

        Raises Contradictory or Malformed for what proves that the sender lies.
        """
        if not self.is_asked(peer, parts.block_id):
            return None
        rebuild = self._open[parts.block_id]
        rebuild.asked.discard(peer)
        rebuild.due_ms = now_ms
        if not parts.wires:  # it has nothing of this block
            return None
        if not parts.indices:
            whole = self._finish(rebuild, parts.wires, now_ms)
            if whole is None:
                raise Contradictory("A whole body has another root than its header.")
            return whole
        if not self._place(rebuild, peer, parts):
            return None
        if rebuild.missing:
            rebuild.tried.discard(peer)  # it delivers, and may be asked for the rest
            return None
        return self._settle(rebuild, now_ms)

    def on_transaction(self, tx_id: Hash, now_ms: int) -> list[Rebuilt]:
        """A transaction was admitted: put it where it was missing; return what is complete."""
        found: list[Rebuilt] = []
        for rebuild in [one for one in self._open.values() if tx_id in one.missing]:
            wire = self._find(tx_id)
            if wire is not None:
                rebuild.wires[rebuild.missing.pop(tx_id)] = wire
                if not rebuild.missing:
                    whole = self._settle(rebuild, now_ms)
                    found += [] if whole is None else [whole]
        return found

    def on_shown(self, peer: bytes, block_id: Hash, now_ms: int) -> None:
        """A peer voted for a block, so it holds it whole."""
        rebuild = self._open.get(block_id)
        if rebuild is not None:
            if peer not in rebuild.holders:
                self._hold(rebuild, peer, now_ms)
            return
        peers = self._shown.setdefault(block_id, [])
        if peer not in peers and len(peers) < HELPERS_MAX:
            peers.append(peer)
        if len(self._shown) > SHOWN_MAX:
            self._shown.popitem(last=False)

    def on_peer_down(self, peer: bytes, now_ms: int) -> None:
        """A peer is gone: ask others for what it was asked for."""
        for rebuild in self._open.values():
            if peer in rebuild.holders:
                rebuild.holders.remove(peer)
            if peer in rebuild.asked:
                rebuild.asked.discard(peer)
                rebuild.due_ms = now_ms

    def forget(self, below: tuple[int, int]) -> None:
        """Drop whatever is of an earlier epoch or view: its time has passed."""
        for block_id in [at for at, one in self._open.items() if one.round < below]:
            del self._open[block_id]
        self._handed.forget(below)

    def begin_epoch(self, epoch: int, leader: Callable[[int], int]) -> None:
        """An epoch has begun: drop what is of it and not of its view's leader."""
        self._handed.renew()
        for block_id, one in [*self._open.items()]:
            at_epoch, view, validator = place_of(one.sketch)
            if at_epoch == epoch and validator != leader(view):
                del self._open[block_id]

    # --- what is to be asked ---------------------------------------------------------------------

    def poll(self, now_ms: int) -> Iterator[tuple[bytes, PartsWanted]]:
        """Yield the questions that are due now, each with whom to ask."""
        for rebuild in self._open.values():
            if rebuild.due_ms is not None and rebuild.due_ms <= now_ms:
                question = self._ask(rebuild, now_ms)
                if question is not None:
                    yield question

    def next_ms(self) -> int | None:
        """Return when something is due next."""
        times = [one.due_ms for one in self._open.values() if one.due_ms is not None]
        return min(times, default=None)

    # --- inside ----------------------------------------------------------------------------------

    def _begin(self, peer: bytes, sketch: Sketch, outline: Outline, now_ms: int) -> _Rebuild:
        """Put everything that is here or was sent along into its place."""
        names = outline.names()
        wires = [b""] * len(names)
        missing: dict[Hash, int] = {}
        along = dict(zip(outline.indices, outline.wires, strict=True))
        for at, tx_id in enumerate(names):
            wire = self._find(tx_id)
            if wire is None and at in along:
                wire = along[at]
                if self._id_of(wire) != tx_id:
                    raise Contradictory("A transaction that was sent along has another id.")
            if wire is None:
                missing[tx_id] = at
            else:
                wires[at] = wire
        holders = [peer]
        for other in self._shown.pop(sketch.proposal.block_id, []):
            if other != peer:
                holders.append(other)
        return _Rebuild(
            sketch,
            outline,
            names,
            wires,
            missing,
            peer,
            holders,
            patient_until_ms=now_ms + PATIENCE_MS,
            due_ms=now_ms,
        )

    def _is_full(self, sketch: Sketch) -> bool:
        """Tell whether its validator has shown other blocks of this view, as many as are taken."""
        place = place_of(sketch)
        taken = {
            one.sketch.proposal for one in self._open.values() if place_of(one.sketch) == place
        }
        taken |= self._handed.at(place)
        return sketch.proposal not in taken and len(taken) >= PER_VIEW_MAX

    def _make_room(self, peer: bytes, newcomer: _Rebuild) -> bool:
        """Tell whether one more has a place; what is farther ahead gives way to what is nearer."""
        opened = list(self._open.values())
        if len([one for one in opened if one.source == peer]) >= PER_PEER_MAX:
            return False
        farthest = sorted(opened, key=lambda one: one.round)
        while len(self._open) >= REBUILDS_MAX or self.names_held + len(newcomer.names) > NAMES_MAX:
            last = farthest.pop() if farthest else None
            if last is None or last.round <= newcomer.round:
                return False
            del self._open[last.sketch.proposal.block_id]
        return True

    def _hold(self, rebuild: _Rebuild, peer: bytes, now_ms: int) -> None:
        """Note that a peer has a block, and that it may be asked."""
        rebuild.tried.discard(peer)
        if peer not in rebuild.holders:
            if len(rebuild.holders) > HELPERS_MAX:
                return
            rebuild.holders.append(peer)
        due_ms = now_ms if rebuild.due_ms is None else min(rebuild.due_ms, now_ms + PULL_MS)
        rebuild.due_ms = due_ms

    def _place(self, rebuild: _Rebuild, peer: bytes, parts: Parts) -> bool:
        """Put transactions into their places; tell whether they bear the names that stand there.

        Where the names are not the peer's own, they may be what is wrong.
        """
        is_source = peer == rebuild.source
        names = rebuild.names
        if len(parts.indices) != len(parts.wires) or not is_ascending(parts.indices, len(names)):
            raise Contradictory("These are not the transactions that were asked for.")
        for at, wire in zip(parts.indices, parts.wires, strict=True):
            try:
                is_named = self._id_of(wire) == names[at]
            except Malformed:
                if is_source:
                    raise
                is_named = False
            if not is_named:
                if is_source:
                    raise Contradictory("A transaction has another id than its sender named.")
                return False
            rebuild.wires[at] = wire
            rebuild.missing.pop(names[at], None)
        return True

    def _settle(self, rebuild: _Rebuild, now_ms: int) -> Rebuilt | None:
        """Nothing is missing: return the proposal, or ask for the body as it is."""
        whole = self._finish(rebuild, rebuild.wires, now_ms)
        if whole is None:
            self._ask_whole(rebuild)
            rebuild.due_ms = now_ms
        return whole

    def _finish(self, rebuild: _Rebuild, wires: Sequence[bytes], now_ms: int) -> Rebuilt | None:
        """Return the proposal if the header commits to this body, and hold it no longer."""
        outline, header = rebuild.outline, rebuild.sketch.header
        body = Body(tuple(wires), outline.late, outline.evidence)
        if body.root != header.tx_root:
            return None
        self._open.pop(rebuild.sketch.proposal.block_id, None)
        return self._hand(rebuild.source, rebuild.sketch, encode(body), body.transactions, now_ms)

    def _hand(
        self, source: bytes, sketch: Sketch, body: bytes, wires: tuple[bytes, ...], now_ms: int
    ) -> Rebuilt:
        """Return a proposal whole, and note that it was."""
        self._handed.add(sketch, now_ms)
        propose = Propose(sketch.proposal, sketch.vote, sketch.header, sketch.justify, body)
        return Rebuilt(source, propose, wires)

    def _ask_whole(self, rebuild: _Rebuild) -> None:
        """Ask everybody once more, now for the body as it is; gossip may still be faster."""
        rebuild.is_whole = True
        rebuild.tried.clear()

    def _ask(self, rebuild: _Rebuild, now_ms: int) -> tuple[bytes, PartsWanted] | None:
        """Return the next question about a body, None while there is nobody or nothing to ask."""
        block_id = rebuild.sketch.proposal.block_id
        is_patient = now_ms < rebuild.patient_until_ms
        indices = [
            at
            for tx_id, at in rebuild.missing.items()
            if not (is_patient and self._is_coming(tx_id))
        ]
        if not indices and not rebuild.is_whole:
            rebuild.due_ms = rebuild.patient_until_ms
            return None
        peer = self._next_holder(rebuild)
        if peer is None:
            rebuild.due_ms = None
            return None
        rebuild.tried.add(peer)
        rebuild.asked.add(peer)
        has_other = any(one not in rebuild.tried for one in rebuild.holders)
        rebuild.due_ms = now_ms + (PULL_MS if has_other else ASK_AGAIN_MS << rebuild.rounds)
        if rebuild.is_whole:
            self.wholes += 1
            return peer, PartsWanted(block_id, ())
        return peer, PartsWanted(block_id, tuple(sorted(indices)))

    def _next_holder(self, rebuild: _Rebuild) -> bytes | None:
        """Return whom to ask next, None while nobody is left.

        Who was asked for the body as it is and does not have it need not be asked again; who gave
        no answer may not have heard, or may be slow.
        """
        untried = [one for one in rebuild.holders if one not in rebuild.tried]
        if untried:
            return untried[0]
        silent = [one for one in rebuild.holders if one in rebuild.asked]
        if silent:
            rebuild.rounds = min(rebuild.rounds + 1, ASK_ROUNDS_MAX)
            rebuild.tried.difference_update(silent)
            return silent[0]
        if rebuild.is_whole:
            return None
        self._ask_whole(rebuild)
        return next(iter(rebuild.holders), None)
