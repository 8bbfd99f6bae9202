"""What `/metrics` shows after blocks became final."""

from pathlib import Path

from prometheus_client import generate_latest

from node.metrics import NodeMetrics
from state.block import Status


class StepClock:
    """A quarter of a second passes with every look."""

    def __init__(self) -> None:
        self._now_ns = 0

    def now_ns(self) -> int:
        self._now_ns += 250_000_000
        return self._now_ns

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms()


def test_what_is_counted_and_timed(tmp_path: Path) -> None:
    metrics = NodeMetrics(StepClock())
    metrics.watch_storage(tmp_path)
    metrics.block_final(1, [])
    metrics.block_final(2, [Status.OK, Status.OK, Status.FAILED])
    metrics.mempool(3, 400)
    with metrics.timed("execute"):
        (tmp_path / "file").write_bytes(bytes(77))
    lines = {*generate_latest(metrics.registry).decode().splitlines()}
    assert lines >= {
        "sahara_height 2.0",
        "sahara_blocks_total 2.0",
        'sahara_transactions_total{status="ok"} 2.0',
        'sahara_transactions_total{status="failed"} 1.0',
        'sahara_transactions_total{status="refused"} 0.0',
        "sahara_mempool_transactions 3.0",
        "sahara_mempool_bytes 400.0",
        "sahara_block_seconds_count 1.0",
        "sahara_block_seconds_sum 0.25",
        'sahara_stage_seconds_sum{stage="execute"} 0.25',
        "sahara_storage_bytes 77.0",
    }
