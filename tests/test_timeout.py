"""A test that hangs fails and is named, whatever swallows the word that its time is over."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HANGS = """
import asyncio, pytest

@pytest.mark.timeout(6)
def test_hangs():
    async def busy():
        while True:
            sum(range(100_000))
            await asyncio.sleep(0)

    async def wait():
        task = asyncio.ensure_future(busy())  # this is where the first word lands
        await asyncio.Event().wait()

    asyncio.run(wait())

def test_goes_on():
    pass
"""


def test_one_that_hangs_fails_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_timeout_set_timer\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_hangs.py").write_text(HANGS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "."],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "FAILED test_hangs.py::test_hangs - Failed: Timeout (>6.0s)" in done.stdout
    assert "PASSED test_hangs.py::test_goes_on" in done.stdout
