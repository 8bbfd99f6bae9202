"""Presence: a whole window unseen is jail, one vote in it is none, and late votes are checked."""

from typing import Any

import pytest

from state.block import Body
from state.codec import replace
from state.crypto import Tag
from state.errors import InvalidBlock
from state.execute import BlockInput, apply_block, block_input
from state.finality import Finalization, Header, Justify, Vote, certificate_claims
from state.modules import staking
from state.modules.staking import Delegate, SubmitEvidence
from state.modules.staking.records import WATCH, Standing

WINDOW = 8
OTHERS = (0, 2, 3)


def standing(network: Any, number: int) -> Standing:
    found: Standing = network.validator(number).standing
    return found


def block(network: Any, voters: tuple[int, ...] = OTHERS, kind: Tag = Tag.NOTARIZE) -> None:
    network.block(certificates=(network.certificate(kind, voters),))


@pytest.mark.parametrize("seen_at", [None, 0, 1, 2, 7, 8, 9])
def test_the_window_is_exact_at_both_ends(network: Any, seen_at: int | None) -> None:
    """Heights 1 to 8 are a window: a vote in block 1 or 8 counts, one in block 9 is too late."""
    for height in range(1, WINDOW + 2):
        block(network, (0, 1, 2, 3) if height == seen_at else OTHERS)
        expected = Standing.ACTIVE
        if height >= WINDOW and seen_at not in (1, 2, 7, 8):
            expected = Standing.JAILED
        assert standing(network, 1) == expected, height
    assert all(standing(network, number) == Standing.ACTIVE for number in OTHERS)


def test_windows_stand_side_by_side(network: Any) -> None:
    """Seen at 1 and never again: the first window lets it pass, the second jails it."""
    block(network, (0, 1, 2, 3))
    for height in range(2, 2 * WINDOW):
        block(network)
        assert standing(network, 1) == Standing.ACTIVE, height
    block(network)
    assert standing(network, 1) == Standing.JAILED
    (event,) = network.events
    assert (event.validator, event.release_height) == (network.accounts[1], 16 + 3)


@pytest.mark.parametrize("kind", [Tag.NOTARIZE, Tag.NULLIFY, Tag.FINALIZE])
def test_every_kind_of_certificate_counts(network: Any, kind: Tag) -> None:
    for height in range(1, WINDOW + 1):
        block(network, (0, 1, 2) if height == 5 else OTHERS, kind if height == 5 else Tag.NOTARIZE)
    assert standing(network, 1) == Standing.ACTIVE


def test_late_votes_count(network: Any) -> None:
    for height in range(1, WINDOW + 1):
        late = network.certificate(Tag.FINALIZE, (0, 1, 2, 3)) if height == 3 else None
        network.block(certificates=(network.certificate(Tag.NOTARIZE, OTHERS),), late=late)
    assert standing(network, 1) == Standing.ACTIVE


def test_certificates_count_by_the_set_of_their_own_epoch(network: Any) -> None:
    """Across a boundary the parent's finalization is by the set before, where indices differ."""
    network.accept(1, staking.Undelegate(network.accounts[1], 1_000))
    network.advance_to(15)
    assert len(staking.members_of(network.state, 3)) == 3
    old = network.certificate(Tag.FINALIZE, (0, 2, 3), epoch=1)
    network.block(certificates=(old,))
    network.block(certificates=(old,))
    watch = WATCH.get(network.state, 0)
    assert watch is not None and watch.unseen == ()


def test_nobody_is_judged_where_blocks_carry_no_certificates(network: Any) -> None:
    network.advance_to(3 * WINDOW)
    assert all(standing(network, number) == Standing.ACTIVE for number in range(4))


@pytest.mark.parametrize(("stake", "jailed"), [(1_499, True), (1_500, False)])
def test_less_than_a_third_is_jailed_at_once(make_network: Any, stake: int, jailed: bool) -> None:
    network = make_network((1_000, stake, 1_000, 1_000), participation_blocks=4)
    for _ in range(4):
        block(network)
    assert (standing(network, 1) == Standing.JAILED) == jailed


def test_who_was_no_member_throughout_is_not_judged(network: Any) -> None:
    """Six joins in epoch 2, at height 11, and is unseen to the end of the window at 16."""
    network.accept(6, network.create(6))
    network.advance_to(8)
    while network.height < 16:
        block(network)
        assert network.accounts[6] not in WATCH.require(network.state, 0).unseen
    assert standing(network, 6) == Standing.ACTIVE
    assert standing(network, 1) == Standing.JAILED
    while network.height < 24:
        block(network)
    assert standing(network, 6) == Standing.JAILED


def test_who_leaves_the_set_in_a_window_is_not_judged(network: Any) -> None:
    network.accept(1, staking.Undelegate(network.accounts[1], 1_000))
    network.accept(5, Delegate(network.accounts[1], 100))
    network.advance_to(8)
    while network.height < 16:  # its last set, that of epoch 1, ends at height 10
        assert (network.accounts[1] in WATCH.require(network.state, 0).unseen) == (
            8 < network.height < 10
        )
        block(network)
    assert standing(network, 1) == Standing.ACTIVE


def test_jailed_and_slashed_validators_are_not_watched(network: Any) -> None:
    network.accept(5, SubmitEvidence(0, network.public_key(1), network.double_vote(1)))
    for _ in range(2 * WINDOW):
        block(network)
    assert standing(network, 1) == Standing.TOMBSTONED


def test_the_row_is_written_only_while_somebody_is_unseen(network: Any) -> None:
    """An idle chain whose validators take part changes nothing by it in most of its blocks."""
    key = WATCH.key(0)
    writes = []
    for height in range(1, 3 * WINDOW + 1):
        before = network.state.rows.get(key)
        block(network, (0, 1, 2) if height % 2 else (1, 2, 3))
        if network.state.rows.get(key) is not before:
            writes.append(height)
    assert writes == [1, 2, 9, 10, 17, 18]
    assert network.events == []


def test_fresh_sets_hold_nobody_who_was_jailed_in_their_block(make_network: Any) -> None:
    network = make_network(participation_blocks=5)
    for _ in range(5):
        block(network)
    assert standing(network, 1) == Standing.JAILED
    assert len(staking.members_of(network.state, 2)) == 3


# --- late votes


def late_votes(network: Any) -> dict[str, Finalization]:
    good: Finalization = network.certificate(Tag.FINALIZE, (0, 1, 2))
    first, second, third = good.votes
    other = network.certificate(Tag.NOTARIZE, (0, 1, 2))
    far = network.subject(1, epoch=2)
    return {
        "no quorum": replace(good, votes=(first, second)),
        "a wrong signature": replace(good, votes=(first, second, Vote(2, second.signature))),
        "not ascending": replace(good, votes=(second, first, third)),
        "a vote twice": replace(good, votes=(first, second, second)),
        "no member": replace(good, votes=(first, second, Vote(9, third.signature))),
        "notarize votes": Finalization(other.subject, other.votes),
        "an epoch that has not begun": replace(
            network.certificate(Tag.FINALIZE, (0, 1, 2), epoch=1), votes=good.votes
        ),
        "an unknown epoch": Finalization(far, good.votes),
    }


@pytest.mark.parametrize(
    "name",
    [
        "no quorum",
        "a wrong signature",
        "not ascending",
        "a vote twice",
        "no member",
        "notarize votes",
        "an epoch that has not begun",
        "an unknown epoch",
    ],
)
def test_wrong_late_votes_make_a_block_invalid(network: Any, name: str) -> None:
    with pytest.raises(InvalidBlock, match="late votes"):
        network.block(late=late_votes(network)[name])


def test_late_votes_are_of_this_epoch_or_the_one_before(network: Any) -> None:
    of_zero, of_one = (network.certificate(Tag.FINALIZE, OTHERS, epoch=epoch) for epoch in (0, 1))
    with pytest.raises(InvalidBlock):
        network.block(late=of_one)
    network.advance_to(5)
    network.block(late=of_one)
    network.advance_to(9)
    network.block(late=of_zero)
    with pytest.raises(InvalidBlock):
        network.block(late=of_zero)
    network.block(late=of_one)


def test_an_old_finalization_covers_for_nobody_beyond_the_next_epoch(make_network: Any) -> None:
    """Shown once a window it keeps the absent free to the end of epoch 1, here height 40."""
    network = make_network(epoch_blocks=20, evidence_blocks=100, unbonding_blocks=200)
    old = network.certificate(Tag.FINALIZE, (0, 1, 2, 3))
    others = network.certificate(Tag.NOTARIZE, OTHERS)
    for height in range(1, 6 * WINDOW):
        is_shown = height % WINDOW == 4
        if is_shown and height > 40:
            with pytest.raises(InvalidBlock, match="another epoch"):
                network.block(certificates=(others,), late=old)
            is_shown = False
        network.block(certificates=(others,), late=old if is_shown else None)
        assert standing(network, 1) == Standing.ACTIVE, height
    block(network)
    assert standing(network, 1) == Standing.JAILED


def test_known_late_votes_are_not_verified_again(network: Any) -> None:
    wrong = late_votes(network)["a wrong signature"]
    claims = certificate_claims(network.genesis.hash, wrong, staking.members_of(network.state, 0))
    args = (network.state, 1, network.genesis.hash, wrong, ())
    staking.check_votes(*args, known=set(claims))
    with pytest.raises(InvalidBlock):
        staking.check_votes(*args, known=set(claims[:2]))


def test_a_whole_block_carries_its_certificates_to_the_watch(network: Any) -> None:
    """From header, justification and body to the row: what block_input gathers is counted."""
    late = network.certificate(Tag.FINALIZE, (0, 1, 2))
    parent = network.certificate(Tag.NOTARIZE, (0, 1, 2))
    skipped = network.certificate(Tag.NULLIFY, (0, 1, 2), view=2)
    head = Header(1, 0, 3, 1, bytes(32), 1, network.accounts[0], *[bytes(32)] * 8)
    body = Body((), late)
    given = block_input(head, Justify(parent, (skipped,)), body, [])
    assert (given.certificates, given.late) == ((parent, skipped), late)

    def unseen(one: BlockInput) -> tuple[bytes, ...]:
        done = apply_block(network.state, one, network.genesis.hash, every_invariant=True)
        return WATCH.require(done.state, 0).unseen

    assert unseen(given) == (network.accounts[3],)
    for voters in ((1, 2, 3),):
        more = Body((), network.certificate(Tag.FINALIZE, voters))
        both = block_input(head, Justify(parent, ()), more, [])
        done = apply_block(network.state, both, network.genesis.hash, every_invariant=True)
        row = WATCH.get(done.state, 0)
        assert row is None or row.unseen == ()
