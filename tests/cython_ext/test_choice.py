"""Which twin serves: the compiled kernels, unless the variable asks for the pure ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cython_ext

ROOT = Path(cython_ext.__file__).resolve().parents[1]
EXPORTS = (
    *("verify", "verify_many", "tagged_hash", "tagged_hash_many"),
    *("merkle_root", "merkle_path", "merkle_verify", "sum_root", "sum_path", "sum_verify"),
)
WITHOUT = "import sys; sys.modules['cython_ext._hashing'] = None; import cython_ext"
NODE_MODULES = """
import importlib, pkgutil, sys
import cython_ext, node, p2p
for package in (node, p2p):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
print("node.keystore" in sys.modules, "nacl.bindings" in sys.modules)
"""
OTHER_SERIES = "import nacl; nacl.__version__ = '1.7.0'; import cython_ext"


def run(code: str, variable: str | None = None) -> tuple[int, str]:
    """Exit code and output of a fresh interpreter with SAHARA_PURE_PYTHON set so."""
    environment = {key: value for key, value in os.environ.items() if "SAHARA" not in key}
    if variable is not None:
        environment["SAHARA_PURE_PYTHON"] = variable
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.mark.parametrize(
    ("variable", "chosen"), [(None, "compiled"), ("", "compiled"), ("0", "compiled"), ("1", "pure")]
)
def test_the_variable_chooses(variable: str | None, chosen: str) -> None:
    told = "import cython_ext as c; print(c.IMPLEMENTATION, c.sum_root.__module__)"
    suffix = "_py" if chosen == "pure" else ""
    assert run(told, variable) == (0, f"{chosen} cython_ext._sumtree{suffix}")


@pytest.mark.parametrize("name", EXPORTS)
def test_every_kernel_is_exported(name: str) -> None:
    assert callable(getattr(cython_ext, name))


def test_a_missing_kernel_is_an_error_that_says_what_to_do() -> None:
    code, output = run(WITHOUT)
    last = output.splitlines()[-1]
    assert code != 0
    assert last.startswith("ImportError: the compiled kernels did not load")
    assert "`pip install .`" in last
    assert "SAHARA_PURE_PYTHON=1" in last
    assert run(WITHOUT, "1") == (0, "")


def test_another_series_of_pynacl_is_refused() -> None:
    code, output = run(OTHER_SERIES)
    assert code != 0
    assert "PyNaCl 1.7.0 is installed; install PyNaCl 1.6.x" in output.splitlines()[-1]


def test_nothing_in_the_node_starts_what_slows_hashing_down() -> None:
    assert run(NODE_MODULES) == (0, "True False")
