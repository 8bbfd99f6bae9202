"""The secure channel: frames sealed in order by ChaCha20-Poly1305, under keys that move on.

A frame's nonce is the number of frames its key has sealed before, so a frame that is replayed,
reordered, dropped or changed fails to open, and the channel is over. Each direction has a key of
its own, replaced by a one-way step after so many frames or bytes; both sides count the same, so
nothing is said about it, and a key that leaks opens nothing that was sent under earlier ones.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from p2p.errors import FrameForged

SEAL_BYTES: Final = 16
"""What sealing adds to a frame."""
REKEY_FRAMES: Final = 2**16
REKEY_BYTES: Final = 2**30


class _Direction:
    """One key, how often it was used, and its successors."""

    __slots__ = ("_cipher", "_key", "_sealed_bytes", "_sealed_frames")

    def __init__(self, key: bytes) -> None:
        self._take(key)

    def _take(self, key: bytes) -> None:
        self._key = key
        self._cipher = ChaCha20Poly1305(key)
        self._sealed_frames = 0
        self._sealed_bytes = 0

    def _count(self, size: int) -> None:
        """Count a frame of `size` sealed bytes, and move to the next key when it is time."""
        self._sealed_frames += 1
        self._sealed_bytes += size
        if self._sealed_frames >= REKEY_FRAMES or self._sealed_bytes >= REKEY_BYTES:
            self._take(HKDFExpand(SHA256(), 32, b"p2p/rekey").derive(self._key))

    def seal(self, frame: bytes) -> bytes:
        """Return the frame sealed under the next nonce."""
        sealed = self._cipher.encrypt(self._sealed_frames.to_bytes(12, "little"), frame, None)
        self._count(len(sealed))
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """Return the frame inside; raises FrameForged."""
        try:
            frame = self._cipher.decrypt(self._sealed_frames.to_bytes(12, "little"), sealed, None)
        except InvalidTag as error:
            raise FrameForged(
                f"Frame {self._sealed_frames} under this key does not open: it was changed, "
                "replayed, reordered, or one before it was lost; connect again."
            ) from error
        self._count(len(sealed))
        return frame


class Channel:
    """Both directions of a connection; after an error it opens nothing more."""

    __slots__ = ("_is_broken", "_receiving", "_sending")

    def __init__(self, send_key: bytes, receive_key: bytes) -> None:
        self._sending = _Direction(send_key)
        self._receiving = _Direction(receive_key)
        self._is_broken = False

    def seal(self, frame: bytes) -> bytes:
        """Return the next frame to send, sealed."""
        return self._sending.seal(frame)

    def open(self, sealed: bytes) -> bytes:
        """Return the next frame received; raises FrameForged, and from then on always."""
        if self._is_broken:
            raise FrameForged("The channel is over since a frame did not open; connect again.")
        try:
            return self._receiving.open(sealed)
        except FrameForged:
            self._is_broken = True
            raise
