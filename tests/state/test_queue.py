"""Due queues against a sorted list: order, budget, and what is carried over."""

from hypothesis import given
from hypothesis import strategies as st

from state.keys import U64_KEY, Fixed, KeyShape
from state.queue import Due, DueQueue
from state.tables import Base, State, Table


class Nothing:
    """A reader of an empty database."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        return []


def queue() -> tuple[DueQueue, State]:
    table: Table[tuple[int, bytes], Due] = Table(
        b"\x09\x01", "test.due", KeyShape(U64_KEY, Fixed(2)), Due
    )
    return DueQueue(table), State(Base(Nothing()))


def test_entries_come_by_height_then_id_and_only_when_due() -> None:
    due, state = queue()
    for height, entry in ((5, b"bb"), (3, b"zz"), (5, b"aa"), (9, b"cc")):
        due.push(state, height, entry)
    assert due.take(state, 2, limit=10) == []
    assert due.take(state, 5, limit=10) == [b"zz", b"aa", b"bb"]
    assert due.take(state, 8, limit=10) == []
    assert due.take(state, 9, limit=10) == [b"cc"]


def test_what_is_dropped_never_comes() -> None:
    due, state = queue()
    due.push(state, 5, b"aa")
    due.push(state, 5, b"bb")
    due.drop(state, 5, b"aa")
    assert due.take(state, 5, limit=10) == [b"bb"]


@given(
    st.lists(st.tuples(st.integers(1, 12), st.binary(min_size=2, max_size=2)), max_size=30),
    st.integers(1, 4),
)
def test_queue_equals_a_sorted_list(entries: list[tuple[int, bytes]], limit: int) -> None:
    due, state = queue()
    waiting: list[tuple[int, bytes]] = []
    for now in range(1, 13):
        for height, entry in entries:
            if height == now and (now + 2, entry) not in waiting:
                due.push(state, now + 2, entry)
                waiting.append((now + 2, entry))
        waiting.sort()
        expected = [item for item in waiting if item[0] <= now][:limit]
        assert due.take(state, now, limit=limit) == [entry for _, entry in expected]
        waiting = waiting[len(expected) :]
    served = []
    while found := due.take(state, 100, limit=limit):
        served += found
    assert served == [entry for _, entry in waiting]
