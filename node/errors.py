"""Errors that the node expects of the machine it runs on, each with a stable code and a sentence.

SaharaError (state/errors.py)
└── NodeError                 the machine or its operator; the node says what to do, and stops
    ├── ConfigInvalid         a setting
    ├── ConsensusHalted       the chain contradicts itself, or this node's own execution
    └── StorageError          the database
        ├── StorageMissing    there is none where one was expected
        ├── StorageExists     there is one where none may be
        ├── StorageLocked     another process has it open
        ├── StorageCorrupt    it does not hold what was written
        └── StorageFailed     the disk or the file system refuses
"""

from typing import ClassVar

from state.errors import SaharaError


class NodeError(SaharaError):
    """What the node cannot mend by itself."""

    code: ClassVar[str] = "node.error"


class ConfigInvalid(NodeError):
    """A setting is unknown, of a wrong type, or does not fit another one."""

    code: ClassVar[str] = "config.invalid"


class ConsensusHalted(NodeError):
    """What is final contradicts itself, or this node's own execution."""

    code: ClassVar[str] = "consensus.halted"


class StorageError(NodeError):
    """The database cannot serve."""

    code: ClassVar[str] = "storage.error"


class StorageMissing(StorageError):
    """There is no database where one was expected."""

    code: ClassVar[str] = "storage.missing"


class StorageExists(StorageError):
    """There is something where a new database was to be made."""

    code: ClassVar[str] = "storage.exists"


class StorageLocked(StorageError):
    """Another process has the database open."""

    code: ClassVar[str] = "storage.locked"


class StorageCorrupt(StorageError):
    """The database does not hold what was written to it."""

    code: ClassVar[str] = "storage.corrupt"


class StorageFailed(StorageError):
    """The disk or the file system refuses."""

    code: ClassVar[str] = "storage.failed"
