"""What every test shares: a Hypothesis profile under which a red test is red again.

Tests that start real nodes wait for each other when tests run side by side: they count on time.
"""

import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("house", derandomize=True, max_examples=100, deadline=None)
settings.load_profile("house")

TESTS = Path(__file__).parent
WITH_NODES = (
    *("node/campaign", "node/devnet", "node/hostile", "node/traffic", "node/test_crash.py"),
    *("node/cli/test_devnet.py", "node/cli/test_run.py", "node/demo/test_demo_run.py"),
    *("node/network/test_processes.py", "node/snapshot/test_wiped_disk.py"),
    *("node/test_loss.py", "node/test_turning.py"),
    *("node/sync/test_processes.py", "node/test_metrics.py", "test_bench.py", "test_soak.py"),
)
"""Files and folders whose tests start processes of nodes."""
GROUP = "nodes"


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, object, object]:
    """Tell a test again and again that its time is over.

    The first word may land in a background task, which swallows it, or before a thread that is
    joined. Ending the worker instead would not do: pytest-xdist hangs when it gives the test of a
    lost worker to another one, and what the worker had to say is lost with it.
    """
    found = yield
    if settings.method == "signal":
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, settings.timeout / 3)
    return found


@pytest.hookimpl(wrapper=True)  # the marks are read by what runs inside
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Let one worker have all tests that start nodes, one after the other."""
    with_nodes = [
        item for item in items if item.path.relative_to(TESTS).as_posix().startswith(WITH_NODES)
    ]
    for item in with_nodes:
        item.add_marker(pytest.mark.xdist_group(GROUP))
    yield
    if getattr(config.option, "loadgroup", False):  # in a worker that goes by groups
        lone = [item.nodeid for item in with_nodes if not item.nodeid.endswith(f"@{GROUP}")]
        assert not lone, f"this pytest-xdist does not group tests under this pytest: {lone[:3]}"
