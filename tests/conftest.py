"""What every test shares: a Hypothesis profile under which a red test is red again.

Tests that start real nodes wait for each other when tests run side by side: they count on time.
"""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", derandomize=True, max_examples=100, deadline=None)
settings.load_profile("house")

TESTS = Path(__file__).parent
WITH_NODES = (
    *("node/campaign", "node/devnet", "node/hostile", "node/traffic", "node/test_crash.py"),
    *("node/cli/test_devnet.py", "node/cli/test_run.py", "node/demo/test_demo_run.py"),
    *("node/network/test_processes.py", "node/snapshot/test_wiped_disk.py"),
    *("node/sync/test_processes.py", "node/test_metrics.py", "test_bench.py", "test_soak.py"),
)
"""Files and folders whose tests start processes of nodes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one worker have all tests that start nodes, one after the other."""
    for item in items:
        path = item.path.relative_to(TESTS).as_posix()
        if path.startswith(WITH_NODES):
            item.add_marker(pytest.mark.xdist_group("nodes"))
