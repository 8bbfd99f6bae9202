"""What `make` says on a machine where something is missing, and what it installs as root."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("bash", "env", "mktemp", "rm", "tail", "cat", "sh")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

# A Python that is as complete as the words after it say.
PYTHON = """#!/bin/sh
case "$2" in
    *version_info*3,\\ 11*) exit {too_old} ;;
    *version_info*) echo {version} ;;
    *ensurepip*) exit {no_venv} ;;
    *Python.h*) exit {no_headers} ;;
esac
"""


def machine(folder: Path, *, compiler: bool, root: bool, **lacks: int) -> dict[str, str]:
    """The environment of a machine whose only commands are these."""
    binaries = folder / "bin"
    binaries.mkdir()
    for tool in TOOLS:
        found = next(
            path for path in (Path("/usr/bin") / tool, Path("/bin") / tool) if path.exists()
        )
        (binaries / tool).symlink_to(found)
    scripts = {"id": f"#!/bin/sh\necho {0 if root else 1000}\n"}
    missing = {"too_old": 0, "no_venv": 0, "no_headers": 0} | lacks
    scripts["python3"] = PYTHON.format(version=VERSION, **missing)
    scripts["apt-get"] = f'#!/bin/sh\necho "$@" >>{folder}/apt\n[ "$1" = update ] || exit 100\n'
    if compiler:
        scripts["gcc"] = "#!/bin/sh\ncat >/dev/null\n"
    for name, text in scripts.items():
        (binaries / name).write_text(text)
        (binaries / name).chmod(0o755)
    return {"PATH": str(binaries), "TMPDIR": str(folder)}


def setup(environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script for a venv in the folder; it must stop before it makes one."""
    done = subprocess.run(
        ["/bin/bash", str(ROOT / "tools" / "setup.sh"), str(folder / "venv")],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert not (folder / "venv").exists()
    return done


@pytest.mark.parametrize(
    ("lacks", "compiler", "package"),
    [
        ({"too_old": 1}, True, "python3"),
        ({"no_venv": 1}, True, f"python{VERSION}-venv"),
        ({}, False, "gcc"),
        ({"no_headers": 1}, True, f"python{VERSION}-dev"),
    ],
    ids=["python", "venv", "compiler", "headers"],
)
def test_what_is_missing_is_named_by_its_package(
    tmp_path: Path, lacks: dict[str, int], compiler: bool, package: str
) -> None:
    done = setup(machine(tmp_path, compiler=compiler, root=False, **lacks), tmp_path)
    assert done.stderr.splitlines()[-1].endswith(f"install it with: sudo apt-get install {package}")
    assert not (tmp_path / "apt").exists()


def test_root_installs_it_and_an_apt_that_fails_is_told(tmp_path: Path) -> None:
    done = setup(machine(tmp_path, compiler=False, root=True), tmp_path)
    asked = (tmp_path / "apt").read_text().splitlines()
    assert asked == ["update -qq", "install -qq --no-install-recommends gcc"]
    assert done.stderr.splitlines()[-1] == "setup: could not install gcc"


def test_the_stamp_follows_what_the_environment_is_built_from() -> None:
    """`make` would otherwise run yesterday's kernels."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    done = subprocess.run(
        ["make", "--print-data-base", "--dry-run", "--question", "help"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    stamp = next(line for line in done.stdout.splitlines() if line.startswith(".venv/.ready:"))
    for name in ("pyproject.toml", "setup.py", "tools/setup.sh", "cython_ext/_ed25519.pyx"):
        assert name in stamp
