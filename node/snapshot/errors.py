"""What is expected to go wrong with snapshots.

NodeError (node/errors.py)
└── SnapshotError             snapshot.error
    ├── SnapshotRefused       snapshot.refused        it does not prove what it claims
    │   ├── NotTrusted        snapshot.not_trusted    it does not reach what its reader trusts
    │   ├── OtherHistory      snapshot.refused        it contradicts what its reader trusts
    │   └── FormUnknown       snapshot.form           it has the form of another version
    ├── SnapshotMissing       snapshot.missing        there is none where one was expected
    ├── SnapshotNotNow        snapshot.not_now        none can be made at this point
    └── SnapshotFailed        snapshot.failed         the disk or the file system refuses
"""

from typing import ClassVar

from node.errors import NodeError


class SnapshotError(NodeError):
    """A snapshot cannot be made or used."""

    code: ClassVar[str] = "snapshot.error"


class SnapshotRefused(SnapshotError):
    """A snapshot does not prove what it claims."""

    code: ClassVar[str] = "snapshot.refused"


class NotTrusted(SnapshotRefused):
    """A snapshot may be true, and yet not reach the block that its reader trusts."""

    code: ClassVar[str] = "snapshot.not_trusted"


class OtherHistory(SnapshotRefused):
    """A history is signed as it should be, and has another block than the trusted one.

    That says nothing about who passed it on: what is trusted may be mistyped.
    """


class FormUnknown(SnapshotRefused):
    """A snapshot may be true, and yet have a form that only another version reads."""

    code: ClassVar[str] = "snapshot.form"


class SnapshotMissing(SnapshotError):
    """There is no snapshot where one was expected."""

    code: ClassVar[str] = "snapshot.missing"


class SnapshotNotNow(SnapshotError):
    """The chain is not at a point where a snapshot can be made."""

    code: ClassVar[str] = "snapshot.not_now"


class SnapshotFailed(SnapshotError):
    """The disk or the file system refuses to hold a snapshot."""

    code: ClassVar[str] = "snapshot.failed"
