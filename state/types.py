"""Names and bounds of the integers and byte strings that rest in state or travel in transactions.

Bounds are checked where values enter (codec decode) and where they rest (table writes); between
the two, products are unbounded Python integers (markets.md 0a.16).
"""

from typing import Annotated

from msgspec import Meta

INT_MAX = 2**63 - 1
"""The largest integer at rest: 0..INT_MAX unsigned, -INT_MAX..INT_MAX signed."""

GRAINS_PER_SAHARA = 10**9
PPM = 10**6
BPS = 10**4

Amount = Annotated[int, Meta(ge=0, le=INT_MAX, extra={"json": "decimal"})]
"""Base units of a denomination; grains for the native coin. A decimal string over JSON."""

PositiveAmount = Annotated[int, Meta(ge=1, le=INT_MAX, extra={"json": "decimal"})]
"""An amount that is asked for; msgspec takes each bound once, so it cannot refine Amount."""

SignedAmount = Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX, extra={"json": "decimal"})]
"""A profit, loss or quote in base units, of either sign. A decimal string over JSON."""

Height = Annotated[int, Meta(ge=0, le=INT_MAX)]
TimestampMs = Annotated[int, Meta(ge=0, le=INT_MAX)]
Nonce = Annotated[int, Meta(ge=1, le=INT_MAX)]
Weight = Annotated[int, Meta(ge=0, le=INT_MAX)]
Count = Annotated[int, Meta(ge=0, le=INT_MAX)]
Bps = Annotated[int, Meta(ge=0, le=BPS)]
Ppm = Annotated[int, Meta(ge=0, le=PPM)]
U8 = Annotated[int, Meta(ge=0, le=2**8 - 1)]
U16 = Annotated[int, Meta(ge=0, le=2**16 - 1)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Address = Annotated[bytes, Meta(min_length=20, max_length=20, extra={"json": "address"})]
"""What an account is known by; bech32m `sah1...` over JSON, as other byte strings are hex."""

PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
U128 = Annotated[bytes, Meta(min_length=16, max_length=16, extra={"json": "uint"})]
"""An accumulator too wide for INT_MAX: 16 bytes, big-endian."""

Denom = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9/._-]+(?!\n)$")]
Name = Annotated[str, Meta(min_length=1, max_length=64)]

NATIVE = "sahara"
"""The denomination of the native coin; its base unit is the grain."""

ZERO_HASH = bytes(32)
ZERO_ADDRESS = bytes(20)
