"""What can be wrong with what peers give to who syncs.

SyncError                      NodeError (node/errors.py)
└── Unfit                      sync.unfit    an answer that no honest peer gives: provable
"""

from typing import ClassVar

from node.errors import NodeError


class SyncError(NodeError):
    """Something that was given does not serve."""

    code: ClassVar[str] = "sync.error"


class Unfit(SyncError):
    """An answer is not what was asked for, or does not fit what was proven before."""

    code: ClassVar[str] = "sync.unfit"
