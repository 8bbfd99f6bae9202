"""The check that runs before anything else: these rooms are ours, and assertions are on.

The rooms are plain top-level packages, and other projects publish packages of the same names: one
found earlier on the path, or installed over ours, would be imported in silence.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("cython_ext", "state", "consensus", "p2p", "node")


class WrongInstallation(Exception):
    """This Python process would not run the node that was installed; the sentence says why."""


def check_installation() -> None:
    """Find every room and refuse to go on unless all lie side by side and assertions run.

    Nothing is imported, so that no command waits for rooms that it does not need. Raises
    WrongInstallation.
    """
    require_assertions(sys.flags.optimize)
    here = Path(__file__).resolve().parent
    for room in ROOMS:
        spec = find_spec(room)
        require_ours(room, None if spec is None else spec.origin, here)


def require_assertions(optimize: int) -> None:
    """Refuse `python -O`: the invariants of the state machine are assertions."""
    if optimize:
        raise WrongInstallation(
            "Python runs with -O (or PYTHONOPTIMIZE), which removes the assertions that guard the "
            "state; start it without."
        )


def require_ours(room: str, found: str | None, here: Path) -> None:
    """Refuse a room whose __init__.py does not lie beside the folder `here`."""
    expected = here.parent / room / "__init__.py"
    if found is None or Path(found).resolve() != expected:
        raise WrongInstallation(
            f"the package `{room}` would be imported from "
            f"{found or 'a folder without __init__.py'}, not from {expected}: another project's "
            "package is in the way; install sahara-node "
            "into a virtual environment of its own, and start it outside folders of that name."
        )
