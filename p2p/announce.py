"""Announcements: signed records that say which node a validator runs, and where it is.

Validators form a full mesh, and they find each other by these records, which everybody passes on.
A record carries two signatures, by the validator's key and by the node's, so that nobody claims
somebody else's node. Only keys that the caller knows as validators have a place, one each; the
newest sequence number wins, and a key that renews its record too often is not passed on. A record
is short, so that whoever is told of all of them is told in messages that their topic allows.
"""

from collections.abc import Callable
from typing import Annotated, Final

from msgspec import Meta

import cython_ext
from p2p.addresses import Address
from p2p.codec import Bytes32, Bytes64, Count, Struct, Tag, encode, hash_bytes
from p2p.handshake import NodeKey
from p2p.limits import TokenBucket
from p2p.scores import Verdict

ADDRESSES_MAX: Final = 4
RECORD_BYTES_MAX: Final = 448
"""A signed record with ADDRESSES_MAX addresses of the longest numbers takes 416."""
RENEWALS_PER_1000_S: Final = 50
"""How often a validator may renew its record in the long run: every 20 seconds."""
RENEWALS_BURST: Final = 5
ANNOUNCED_MAX: Final = 1_024
"""Records that are kept; more validators than this no epoch has."""

Sign = Callable[[bytes], bytes]


class Announcement(Struct):
    """Which node a validator runs, and where; `sequence` grows with every record it signs."""

    validator_key: Bytes32
    node_id: Bytes32
    addresses: Annotated[tuple[Address, ...], Meta(max_length=ADDRESSES_MAX)]
    sequence: Count


class Announce(Struct):
    """An announcement with the signatures of the validator and of its node."""

    announcement: Announcement
    validator_signature: Bytes64
    node_signature: Bytes64


def sign_announce(
    announcement: Announcement, genesis_hash: bytes, validator: Sign, node: NodeKey
) -> Announce:
    """Return the record signed; `validator` signs a digest with the validator's key."""
    body = genesis_hash + encode(announcement)
    return Announce(
        announcement,
        validator(hash_bytes(Tag.ANNOUNCE, body)),
        node.sign(hash_bytes(Tag.ANNOUNCE_NODE, body)),
    )


def is_signed(record: Announce, genesis_hash: bytes) -> bool:
    """Whether both signatures hold on this network."""
    one = record.announcement
    body = genesis_hash + encode(one)
    return all(
        cython_ext.verify(key, hash_bytes(tag, body), signature)
        for key, tag, signature in (
            (one.validator_key, Tag.ANNOUNCE, record.validator_signature),
            (one.node_id, Tag.ANNOUNCE_NODE, record.node_signature),
        )
    )


class Announcements:
    """The newest record of every validator; `is_validator` tells whose have a place now."""

    def __init__(self, genesis_hash: bytes, is_validator: Callable[[bytes], bool]) -> None:
        self._genesis_hash = genesis_hash
        self._is_validator = is_validator
        self._records: dict[bytes, Announce] = {}
        self._validators: dict[bytes, bytes] = {}
        self._renewals: dict[bytes, TokenBucket] = {}

    def receive(self, record: Announce, now_ms: int) -> Verdict:
        """Judge a record and keep it if it is the newest; pass it on only when it is USEFUL."""
        one = record.announcement
        known = self._records.get(one.validator_key)
        if record == known:
            return Verdict.DUPLICATE
        if not self._is_validator(one.validator_key):
            return Verdict.USELESS
        if len(encode(record)) > RECORD_BYTES_MAX:
            return Verdict.USELESS
        if known is not None and one.sequence <= known.announcement.sequence:
            return Verdict.DUPLICATE  # honest nodes pass on what they have: it may be older
        renewals = self._renewals.get(one.validator_key)
        if renewals is None:
            self.prune()
            if len(self._renewals) >= ANNOUNCED_MAX:
                return Verdict.USELESS
        elif renewals.available(now_ms) < 1_000:
            return Verdict.DUPLICATE  # whoever passes it on is not to blame
        if not is_signed(record, self._genesis_hash):
            return Verdict.INVALID
        if self._validators.get(one.node_id, one.validator_key) != one.validator_key:
            return Verdict.DUPLICATE  # a node speaks for the validator that named it first
        self._keep(record, now_ms)
        return Verdict.USEFUL

    def _keep(self, record: Announce, now_ms: int) -> None:
        one = record.announcement
        renewals = self._renewals.setdefault(
            one.validator_key, TokenBucket(RENEWALS_PER_1000_S, RENEWALS_BURST * 1_000, now_ms)
        )
        renewals.spend(1_000, now_ms)
        known = self._records.get(one.validator_key)
        if known is not None:
            del self._validators[known.announcement.node_id]
        self._records[one.validator_key] = record
        self._validators[one.node_id] = one.validator_key

    def prune(self) -> None:
        """Forget the records of keys that are validators no more."""
        for key in [key for key in self._renewals if not self._is_validator(key)]:
            del self._validators[self._records.pop(key).announcement.node_id]
            del self._renewals[key]

    def records(self) -> tuple[Announce, ...]:
        """Every record that is kept."""
        return tuple(self._records.values())

    def record_of(self, validator_key: bytes) -> Announce | None:
        """Return the newest record of a validator, if it has told."""
        return self._records.get(validator_key)

    def node_of(self, validator_key: bytes) -> bytes | None:
        """Return the node that a validator runs, if it has told."""
        known = self._records.get(validator_key)
        return known.announcement.node_id if known else None

    def validator_of(self, node_id: bytes) -> bytes | None:
        """Return the validator that a node runs, if there is one."""
        return self._validators.get(node_id)
