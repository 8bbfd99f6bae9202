"""Processes told apart: an id that went to somebody else is never signalled."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from node.devnet.identity import ProcessIdentity, identity_of


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_process_is_known_while_it_lives_and_not_once_it_waits_to_be_reaped(
    sleeper: subprocess.Popen[bytes],
) -> None:
    found = identity_of(sleeper.pid)
    assert found is not None
    assert found.lives
    assert found.rss_mb
    assert not found.wait(0.0)
    assert found.signal(signal.SIGKILL)
    assert found.wait(5.0)
    assert (found.lives, found.rss_mb, found.signal(signal.SIGTERM)) == (False, None, False)
    assert sleeper.wait(30) == -signal.SIGKILL
    assert identity_of(sleeper.pid) is None


def test_another_process_of_the_same_id_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    found = identity_of(sleeper.pid)
    assert found is not None
    before = ProcessIdentity(found.pid, found.started.partition(":")[0] + ":1")
    other_boot = ProcessIdentity(found.pid, "x:" + found.started.partition(":")[2])
    for stranger in (before, other_boot):
        assert not stranger.lives
        assert not stranger.signal(signal.SIGKILL)
        assert stranger.wait(0.0)
    assert sleeper.poll() is None


def test_this_process_is_itself() -> None:
    assert identity_of(os.getpid()) == identity_of(os.getpid())
