"""HOME/run.json: while a node runs, its process id and the address of its RPC server."""

import json
import os
from pathlib import Path
from typing import Any

RUN_FILE = "run.json"


def write_run_file(home: Path, url: str) -> Path:
    """Tell whoever looks into the home where this process answers, and return the file."""
    path = home / RUN_FILE
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"pid": os.getpid(), "rpc": url}) + "\n")
    draft.replace(path)  # whoever waits for it never reads half of it
    return path


def read_run_file(home: Path) -> dict[str, Any] | None:
    """Return process id and RPC address of the node that runs in a home, or None."""
    try:
        found: dict[str, Any] = json.loads((home / RUN_FILE).read_text())
    except FileNotFoundError:
        return None
    return found
