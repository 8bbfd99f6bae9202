"""Files that are given to the simulator, read no further than they may be long."""

import errno
import os
from pathlib import Path


def read_bounded(path: Path, bytes_max: int) -> bytes:
    """Return what a file holds; raises OSError, also for a file that is longer or has no end."""
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data


def is_writable(path: Path) -> bool:
    """Tell whether a file can be written there, by opening it; nothing stays of the attempt."""
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError:
        return False
    if not existed:
        path.unlink()
    return True
