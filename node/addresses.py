"""Addresses as people see them: `sah1...`, the bech32m form of BIP-350.

The data are the address's bytes alone, without a version symbol in front.
"""

from functools import lru_cache

from state.errors import Rejected
from state.types import Address

PREFIX = "sah"
ADDRESS_BYTES = 20
TEXT_LENGTH_MAX = 90
"""BIP-173: the checksum's guarantees end there."""

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUE_OF = {letter: value for value, letter in enumerate(_ALPHABET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32M = 0x2BC830A3
_CHECKSUM_LENGTH = 6


class BadAddress(Rejected):
    """A text that is no address of this network family."""

    code = "address.malformed"


@lru_cache(maxsize=65_536)
def format_address(address: Address) -> str:
    """Return the `sah1...` form of 20 bytes."""
    assert len(address) == ADDRESS_BYTES, "an address has 20 bytes"
    return encode_bech32m(PREFIX, address)


@lru_cache(maxsize=65_536)
def parse_address(text: str) -> Address:
    """Return the 20 bytes that `text` stands for; raises BadAddress."""
    prefix, data = decode_bech32m(text)
    if prefix != PREFIX or len(data) != ADDRESS_BYTES:
        raise BadAddress(
            f"'{text}' is an address of something else; expected {PREFIX}1 and 20 bytes."
        )
    return data


def encode_bech32m(prefix: str, data: bytes) -> str:
    """Return `prefix`, the separator 1, the data in groups of five bits, and the checksum."""
    groups = _regroup(data, 8, 5, pad=True)
    return f"{prefix}1{''.join(_ALPHABET[group] for group in groups + _checksum(prefix, groups))}"


def decode_bech32m(text: str) -> tuple[str, bytes]:
    """Return prefix and data; raises BadAddress for anything that BIP-350 refuses."""
    prefix, groups = split_bech32m(text)
    return prefix, bytes(_regroup(bytes(groups), 5, 8, pad=False))


def split_bech32m(text: str) -> tuple[str, list[int]]:
    """Return prefix and five-bit groups without the checksum; raises BadAddress."""
    shown = text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX] + "..."
    lowered = text.lower()
    prefix, separator, tail = lowered.rpartition("1")
    if len(text) > TEXT_LENGTH_MAX or text not in (lowered, text.upper()):
        raise BadAddress(f"'{shown}' is too long or mixes cases; copy the address whole.")
    if not separator or not prefix or len(tail) < _CHECKSUM_LENGTH:
        raise BadAddress(f"'{shown}' has no prefix or checksum; an address starts with {PREFIX}1.")
    if any(not 33 <= ord(letter) <= 126 for letter in prefix):
        raise BadAddress(f"{shown!r} holds letters outside printable ASCII.")
    groups = [_VALUE_OF.get(letter, -1) for letter in tail]
    if -1 in groups:
        raise BadAddress(f"'{shown}' holds a letter that no address has: 1, b, i and o are none.")
    if _polymod(_expand(prefix) + groups) != _BECH32M:
        raise BadAddress(f"The checksum of '{shown}' does not hold; a letter was mistyped.")
    return prefix, groups[:-_CHECKSUM_LENGTH]


def _polymod(groups: list[int]) -> int:
    check = 1
    for group in groups:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ group
        for bit, value in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= value
    return check


def _expand(prefix: str) -> list[int]:
    codes = [ord(letter) for letter in prefix]
    return [code >> 5 for code in codes] + [0] + [code & 31 for code in codes]


def _checksum(prefix: str, groups: list[int]) -> list[int]:
    polymod = _polymod(_expand(prefix) + groups + [0] * _CHECKSUM_LENGTH) ^ _BECH32M
    return [polymod >> 5 * (5 - place) & 31 for place in range(_CHECKSUM_LENGTH)]


def _regroup(data: bytes, width: int, wanted: int, *, pad: bool) -> list[int]:
    held = bits = 0
    groups: list[int] = []
    for item in data:
        held = held << width | item
        bits += width
        while bits >= wanted:
            bits -= wanted
            groups.append(held >> bits & (1 << wanted) - 1)
    rest = held & (1 << bits) - 1
    if pad and bits:
        groups.append(rest << wanted - bits)
    if not pad and (bits >= width or rest):
        raise BadAddress("The address ends in bits that belong to no byte; copy it whole.")
    return groups
