"""Checks of answers: each thing that no honest peer gives is found, and by which sentence."""

from collections.abc import Callable
from typing import Any

import pytest

from consensus.links import normal_proposal
from consensus.messages import Block
from consensus.validators import Validators
from node.sync import checks
from node.sync.checks import (
    ProvenBlock,
    Quorum,
    check_blocks,
    check_bodies,
    check_final,
    check_headers,
    check_link,
    is_sound,
)
from node.sync.errors import Unfit
from node.sync.messages import BlocksAnswer, FinalAnswer, HeadersAnswer, LinkAnswer
from state.block import Body
from state.codec import encode, replace
from state.crypto import Tag
from state.errors import InvalidBlock
from state.finality import Finalization, Header, Proposal, set_hash
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, Chain


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain().grow(EPOCH_BLOCKS + 3)


@pytest.fixture
def quorum(chain: Chain) -> Quorum:
    members = chain.store.finality.members(0)
    assert members is not None
    return Quorum(GENESIS.hash, EPOCH_BLOCKS, 0, members)


def final_over(chain: Chain, header: Header, proposal: Proposal) -> FinalAnswer:
    """A finalization by everybody, of whatever proposal."""
    members = chain.store.finality.members(0)
    assert members is not None
    return FinalAnswer(header, Finalization(proposal, chain.sign(Tag.FINALIZE, proposal, members)))


def blocks_at(chain: Chain, height: int, count: int) -> tuple[Block, ...]:
    return chain.store.blocks_upwards(height, count, 2**20)


def ids_at(chain: Chain, height: int, count: int) -> list[bytes]:
    return [chain.store.header(at).block_id for at in range(height, height + count)]


def test_a_finalization_by_a_quorum_of_exactly_this_header(chain: Chain, quorum: Quorum) -> None:
    header = chain.store.header(5).header
    proposal = normal_proposal(header, header.id)
    good = final_over(chain, header, proposal)
    assert check_final(encode(good), quorum) == good
    other = chain.store.header(6).header
    misfit = replace(proposal, parent_view=proposal.parent_view - 1)
    foreign = replace(header, validators_hash=bytes(32))
    bad = {
        "not of this header": FinalAnswer(other, good.finalization),
        "contradicts the header": final_over(chain, header, misfit),
        "another validator set": final_over(chain, foreign, normal_proposal(foreign, foreign.id)),
        "no quorum": FinalAnswer(
            header, replace(good.finalization, votes=good.finalization.votes[:2])
        ),
        "of another kind": HeadersAnswer((header,)),
    }
    for sentence, answer in bad.items():
        with pytest.raises(Unfit, match=sentence):
            check_final(encode(answer), quorum)
    boundary = chain.store.finality.boundary(1)
    assert boundary is not None and boundary.finalization is not None
    last = FinalAnswer(boundary.header, boundary.finalization)
    with pytest.raises(Unfit, match="another epoch"):
        check_final(encode(last), replace_epoch(quorum, 1))
    with pytest.raises(Unfit, match="These bytes are no"):
        check_final(b"\xc1", quorum)


def replace_epoch(quorum: Quorum, epoch: int) -> Quorum:
    return Quorum(quorum.genesis_hash, quorum.epoch_blocks, epoch, quorum.members)


def test_headers_each_under_the_id_that_its_child_names(chain: Chain) -> None:
    headers = tuple([chain.store.header(height).header for height in (6, 5, 4)])
    data = encode(HeadersAnswer(headers))
    assert check_headers(data, headers[0].id, 3) == headers
    changed = (headers[0], replace(headers[1], time_ms=1), headers[2])
    for answer, block_id, count in (
        (headers, headers[0].id, 2),
        (headers, headers[1].id, 3),
        (changed, headers[0].id, 3),
        ((headers[0], headers[2]), headers[0].id, 3),
    ):
        with pytest.raises(Unfit):
            check_headers(encode(HeadersAnswer(answer)), block_id, count)


Spoil = Callable[[Any, Any], BlocksAnswer]
SPOILED: dict[str, Spoil] = {
    "more than was asked": lambda blocks, final: BlocksAnswer((*blocks, blocks[0]), final),
    "not the one that is final": lambda blocks, final: BlocksAnswer(blocks[1:], final),
    "justification is not": lambda blocks, final: BlocksAnswer(
        (replace(blocks[0], justify=blocks[1].justify), *blocks[1:]), final
    ),
    "body is not": lambda blocks, final: BlocksAnswer(
        (replace(blocks[0], body=encode(Body(()))), *blocks[1:]), final
    ),
    "of none of the blocks": lambda blocks, final: BlocksAnswer(blocks[:1], final),
    "no quorum": lambda blocks, final: BlocksAnswer(blocks, replace(final, votes=final.votes[:1])),
}


@pytest.mark.parametrize("sentence", SPOILED)
def test_blocks_whose_every_part_their_headers_commit_to(
    sentence: str, chain: Chain, quorum: Quorum
) -> None:
    blocks, ids = blocks_at(chain, 1, 3), ids_at(chain, 1, 3)
    final = chain.store.header(2).finalization
    good = check_blocks(encode(BlocksAnswer(blocks, final)), ids, quorum)
    assert [one.finalization for one in good] == [None, final, None]
    assert [one.block for one in good] == list(blocks)
    with pytest.raises(Unfit, match=sentence):
        check_blocks(encode(SPOILED[sentence](blocks, final)), ids, quorum)


def test_a_range_longer_than_ranges_are_is_unfit(
    chain: Chain, quorum: Quorum, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, ids = blocks_at(chain, 1, 3), ids_at(chain, 1, 3)
    monkeypatch.setattr(checks, "RANGE_BYTES_MAX", 100)
    with pytest.raises(Unfit, match="more bytes"):
        check_blocks(encode(BlocksAnswer(blocks, None)), ids, quorum)
    assert check_blocks(encode(BlocksAnswer(blocks[:1], None)), ids, quorum), "one always may"


def test_a_link_under_its_hash(chain: Chain) -> None:
    (block,) = blocks_at(chain, 2, 1)
    proposal = normal_proposal(block.header, block.header.id)
    assert check_link(encode(LinkAnswer(block.justify)), proposal) == block.justify
    (other,) = blocks_at(chain, 3, 1)
    with pytest.raises(Unfit):
        check_link(encode(LinkAnswer(other.justify)), proposal)


def test_a_body_that_breaks_a_static_rule_is_nobodys_lie(chain: Chain) -> None:
    (block,) = blocks_at(chain, 1, 1)
    proven = ProvenBlock(block.header.id, block, None)
    (found,) = check_bodies(chain.application.bodies, [proven])
    assert found.checked is not None and len(found.checked.transactions) == 1
    wire = found.checked.body.transactions[0]
    at = wire.index(found.checked.transactions[0].signatures[0].signature)
    forged = Body((wire[:at] + bytes(64) + wire[at + 64 :],), found.checked.body.late)
    header = replace(block.header, tx_root=forged.root)
    bad = ProvenBlock(header.id, Block(header, block.justify, encode(forged)), None)
    with pytest.raises(InvalidBlock, match="signature"):
        check_bodies(chain.application.bodies, [bad])


@pytest.mark.parametrize(
    "field", ["state_root", "outcomes_root", "validators_hash", "next_validators_hash", "proposer"]
)
def test_what_stands_on_the_tip(field: str) -> None:
    chain = Chain().grow(1)
    tip, info = chain.application.tip(), chain.application.epoch_info()
    chain.grow(1)
    (block,) = blocks_at(chain, 2, 1)
    validators = Validators(info.validators, info.boundary.block_id)
    next_hash = set_hash(info.next_validators)
    good = ProvenBlock(block.header.id, block, None)
    assert is_sound(tip, good, validators, next_hash, EPOCH_BLOCKS, lambda *_: True)
    wrong = {field: bytes(20 if field == "proposer" else 32)}
    header = replace(block.header, **wrong)
    bad = ProvenBlock(header.id, Block(header, block.justify, block.body), None)
    assert not is_sound(tip, bad, validators, next_hash, EPOCH_BLOCKS, lambda *_: True)
    assert not is_sound(tip, good, validators, next_hash, EPOCH_BLOCKS, lambda *_: False)
