"""What of an effect goes into the trace hash: enough to tell it from any other of its kind."""

from typing import assert_never

from consensus.effects import (
    Blame,
    BuildBlock,
    CommitBlock,
    Effect,
    EvidenceFound,
    ExecuteBlock,
    Halt,
    Journal,
    RaiseFloor,
    Send,
    ServeBlocks,
    ServeBoundary,
    ServeJustify,
    SetTimer,
    SignVote,
    StoreBlock,
    StoreLink,
)
from consensus.journal import encode_record
from state.codec import encode

DIGEST_BYTES = 32


def effect_digest(effect: Effect) -> bytes:
    """Return bytes that name an effect and its content, at most 64."""
    return _NAMES[type(effect)] + _content(effect)[:DIGEST_BYTES]


def _content(effect: Effect) -> bytes:
    match effect:
        case SetTimer() | RaiseFloor() | BuildBlock() | ServeBoundary():
            return _numbers(effect)
        case ExecuteBlock() | CommitBlock() | StoreBlock() | ServeBlocks():
            return effect.block_id
        case SignVote():
            return effect.kind.value[:4] + encode(effect.subject)[:28]
        case Journal():
            return b"".join([encode_record(record)[-8:] for record in effect.records[:4]])
        case StoreLink() | ServeJustify():
            return _justify_hash(effect)
        case EvidenceFound():
            return encode(effect.evidence)[-32:]
        case Halt():
            return effect.reason.encode()
        case Blame():
            return effect.peer
        case Send():
            return b""
        case _:
            assert_never(effect)


def _justify_hash(effect: StoreLink | ServeJustify) -> bytes:
    if isinstance(effect, StoreLink):
        return effect.proposal.justify_hash
    return effect.justify_hash


def _numbers(effect: SetTimer | RaiseFloor | BuildBlock | ServeBoundary) -> bytes:
    match effect:
        case SetTimer():
            return effect.at_ms.to_bytes(8, "big")
        case RaiseFloor():
            return encode((effect.epoch, effect.view))
        case BuildBlock():
            return effect.view.to_bytes(8, "big") + effect.parent_id[:24]
        case ServeBoundary():
            return effect.epoch.to_bytes(8, "big")


_NAMES = {
    kind: kind.__name__.encode()[:16]
    for kind in (
        *(Send, SetTimer, BuildBlock, ExecuteBlock, SignVote, Journal, StoreBlock, StoreLink),
        *(CommitBlock, RaiseFloor, EvidenceFound, Blame),
        *(ServeBlocks, ServeBoundary, ServeJustify, Halt),
    )
}
