"""Which processes a devnet has, for whoever asks from another terminal.

The supervisor writes the file whole at every change, and leaves it when it ends: identities tell
what of it still runs.
"""

from pathlib import Path
from shlex import quote
from typing import Annotated

import msgspec
from msgspec import Meta

from node.devnet.errors import DevnetMissing
from node.devnet.identity import ProcessIdentity

STATE_FILE = "devnet.json"


class NodeEntry(msgspec.Struct, frozen=True):
    """One node as its supervisor knows it."""

    index: Annotated[int, Meta(ge=0)]
    home: str
    rpc: str
    p2p: str
    phase: str
    restarts: int
    """How often it was started again after it had ended by itself."""
    process: ProcessIdentity | None


class DevnetState(msgspec.Struct, frozen=True):
    """The processes of one devnet."""

    supervisor: ProcessIdentity
    genesis_hash: str
    nodes: tuple[NodeEntry, ...]
    traffic: ProcessIdentity | None = None
    """The process that makes traffic, if one does."""

    @property
    def processes(self) -> list[ProcessIdentity]:
        """Everything that the supervisor has started and not seen end."""
        found = [node.process for node in self.nodes] + [self.traffic]
        return [process for process in found if process is not None]


def write_state(folder: Path, state: DevnetState) -> None:
    """Replace the file; whoever reads never sees half of it."""
    draft = folder / f".{STATE_FILE}"
    draft.write_bytes(msgspec.json.encode(state) + b"\n")
    draft.replace(folder / STATE_FILE)


def read_state(folder: Path) -> DevnetState:
    """Return what the supervisor wrote last; raises DevnetMissing."""
    try:
        return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=DevnetState)
    except (OSError, msgspec.MsgspecError) as error:
        raise DevnetMissing(
            f"No devnet was run in {folder}; run one with: "
            f"sahara devnet --home {quote(str(folder))}"
        ) from error
