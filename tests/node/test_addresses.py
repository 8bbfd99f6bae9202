"""The address form against the vectors of BIP-350, and against every way to mistype it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.addresses import (
    BadAddress,
    encode_bech32m,
    format_address,
    parse_address,
    split_bech32m,
)

VALID = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
    "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]
INVALID = [
    "\x201xj0phk",
    "\x7f1g6xzxy",
    "\x801vctc34",
    "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4",
    "qyrz8wqd2c9m",
    "1qyrz8wqd2c9m",
    "y1b0jsk6g",
    "lt1igcx5c0",
    "in1muywd",
    "mm1crxm3i",
    "au1s5cgom",
    "M1VUXWEZ",
    "16plkw9",
    "1p2gdwpf",
]
ZERO = "sah1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"


@pytest.mark.parametrize("text", VALID)
def test_accepts_what_bip_350_accepts(text: str) -> None:
    prefix, _ = split_bech32m(text)
    assert text.lower().startswith(prefix)


@pytest.mark.parametrize("text", INVALID)
def test_refuses_what_bip_350_refuses(text: str) -> None:
    with pytest.raises(BadAddress):
        split_bech32m(text)


def test_a_witness_program_of_bip_350() -> None:
    """The example of version 1 carries the program that the BIP lists beside it."""
    _, groups = split_bech32m("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0")
    number = 0
    for group in groups[1:]:
        number = number << 5 | group
    program = (number >> (5 * len(groups[1:]) - 256)).to_bytes(32, "big").hex()
    assert program == "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@given(st.binary(min_size=20, max_size=20))
def test_round_trip(address: bytes) -> None:
    text = format_address(address)
    assert text.startswith("sah1") and len(text) == 42
    assert parse_address(text) == address
    assert parse_address(text.upper()) == address


@given(st.binary(min_size=20, max_size=20), st.integers(4, 41), st.sampled_from("qpzry9x8g"))
def test_one_wrong_letter_never_passes(address: bytes, place: int, letter: str) -> None:
    text = format_address(address)
    changed = text[:place] + letter + text[place + 1 :]
    if changed != text:
        with pytest.raises(BadAddress):
            parse_address(changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sah1",
        ZERO,
        format_address(bytes(20))[:-1],
        encode_bech32m("sah", bytes(19)),
        encode_bech32m("tbc", bytes(20)),
        "Sah1" + format_address(bytes(20))[4:],
    ],
)
def test_refuses_other_texts(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_address(text)


def test_golden() -> None:
    assert format_address(bytes(range(20))) == "sah1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnp259ge"
