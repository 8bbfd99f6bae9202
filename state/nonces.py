"""Sliding-window nonces: which transaction numbers of an account are still usable.

As in IPsec anti-replay (RFC 4303, section 3.4.3): the state is the highest nonce seen and a map of
the WINDOW nonces up to it. A client may send concurrently and out of order, and a lost transaction
blocks nothing (architecture 3).
"""

from typing import Annotated

from msgspec import Meta

from state.codec import Struct
from state.types import Height

WINDOW = 256
_MASK = (1 << WINDOW) - 1


class NonceWindow(Struct):
    """The nonces that an account has used; bit i of `used` stands for nonce `high - i`."""

    high: Height
    used: Annotated[bytes, Meta(min_length=32, max_length=32)]


FRESH = NonceWindow(0, bytes(32))


def is_usable(window: NonceWindow, nonce: int) -> bool:
    """Tell whether `nonce` (at least 1) lies in the window and was not used."""
    high = window.high
    if nonce > high:
        return nonce <= high + WINDOW
    if nonce < 1 or nonce <= high - WINDOW:
        return False
    return not (int.from_bytes(window.used, "big") >> (high - nonce)) & 1


def use(window: NonceWindow, nonce: int) -> NonceWindow:
    """Return the window after `nonce`, which must be usable, was used."""
    assert is_usable(window, nonce), "callers check is_usable first"
    used = int.from_bytes(window.used, "big")
    if nonce > window.high:
        moved = ((used << (nonce - window.high)) | 1) & _MASK
        return NonceWindow(nonce, moved.to_bytes(32, "big"))
    return NonceWindow(window.high, (used | 1 << (window.high - nonce)).to_bytes(32, "big"))
