"""Reading messages, records and effects into the chronicle: what each of them tells."""

from consensus.effects import CommitBlock, Effect, Journal, StoreBlock, StoreLink
from consensus.journal import Record
from consensus.messages import Block, BlockReply, JustifyReply, Message, Propose
from node.sim.chronicle import Chronicle
from state.finality import (
    Finalization,
    Finalize,
    Notarization,
    Notarize,
    Nullification,
    Nullify,
    justify_hash,
)


def read_message(chronicle: Chronicle, message: Message | Record) -> bool:
    """Take in what a message tells; return False where a vote or certificate in it is worthless."""
    match message:
        case Notarize() | Nullify() | Finalize():
            return chronicle.add_vote(message)
        case Notarization() | Nullification() | Finalization():
            return chronicle.add_certificate(message)
        case Propose():
            return _read_proposal(chronicle, message)
        case BlockReply():
            for block in message.blocks:
                _read_block(chronicle, block)
        case JustifyReply():
            chronicle.add_justify(justify_hash(message.justify), message.justify)
    return True


def read_effect(chronicle: Chronicle, effect: Effect) -> bool:
    """Take in what an honest node keeps; return False where a certificate in it is worthless."""
    match effect:
        case Journal():
            return all([read_message(chronicle, record) for record in effect.records])
        case StoreBlock():
            _read_block(chronicle, effect.block)
        case StoreLink():
            chronicle.add_justify(effect.proposal.justify_hash, effect.justify)
        case CommitBlock():
            chronicle.add_header(effect.header)
            return effect.finalization is None or chronicle.add_certificate(effect.finalization)
    return True


def _read_proposal(chronicle: Chronicle, message: Propose) -> bool:
    if not chronicle.add_vote(Notarize(message.proposal, message.vote)):
        return False
    chronicle.add_header(message.header)
    if message.justify is not None:
        chronicle.add_justify(message.proposal.justify_hash, message.justify)
    return True


def _read_block(chronicle: Chronicle, block: Block) -> None:
    chronicle.add_header(block.header)
    chronicle.add_justify(block.header.justify_hash, block.justify)
