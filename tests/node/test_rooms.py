"""A foreign package of a room's name, and `python -O`, are refused in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from node import rooms

CHECK = "from node.rooms import check_installation; check_installation(); print('ours')"
ROOT = Path(rooms.__file__).resolve().parents[1]


def run(*arguments: str, path: str = str(ROOT), cwd: Path = ROOT) -> tuple[int, str]:
    """Exit code and output of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-P", *arguments, "-c", CHECK],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_our_own_rooms_pass() -> None:
    rooms.check_installation()
    assert run() == (0, "ours\n")


@pytest.mark.parametrize("room", [room for room in rooms.ROOMS if room != "node"])
def test_a_foreign_package_is_refused(room: str, tmp_path: Path) -> None:
    foreign = tmp_path / room
    foreign.mkdir()
    (foreign / "__init__.py").write_text("")
    code, output = run(path=f"{tmp_path}{os.pathsep}{ROOT}", cwd=tmp_path)
    assert code != 0
    assert f"WrongInstallation: the package `{room}` would be imported from {foreign}" in output


def test_a_folder_that_is_no_package_is_refused() -> None:
    with pytest.raises(rooms.WrongInstallation, match="without __init__"):
        rooms.require_ours("state", None, ROOT / "node")


def test_python_without_assertions_is_refused() -> None:
    code, output = run("-O")
    assert code != 0
    assert "WrongInstallation: Python runs with -O" in output
    with pytest.raises(rooms.WrongInstallation, match="start it without"):
        rooms.require_assertions(2)
