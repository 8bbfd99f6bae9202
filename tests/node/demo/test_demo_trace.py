"""Demand traces: both formats, exact times, cached tokens, and a typed error for all else."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.demo import errors
from node.demo import trace as trace_module
from node.demo.trace import LINE_BYTES_MAX, Trace, TraceCall, read_trace, read_traces, trace_of

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"


def read(text: str | bytes, *, skip_bad: bool = False) -> Trace:
    data = text.encode() if isinstance(text, str) else text
    return trace_of(io.BytesIO(data), "chat.csv", "chat", skip_bad=skip_bad)


def json_lines(*rows: dict[str, object]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def row(timestamp: int, tokens_in: int, tokens_out: int, *ids: int) -> dict[str, object]:
    return {
        "timestamp": timestamp,
        "input_length": tokens_in,
        "output_length": tokens_out,
        "hash_ids": list(ids),
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n", "\r\n", "\r\n\r\n"])
def test_csv_keeps_hundred_nanosecond_ticks(end: str, last: str) -> None:
    lines = [HEADER, "2023-11-16 23:59:59.9999999,374,44", "2023-11-17 00:00:00.0000001,0,7"]
    trace = read(end.join(lines) + last)
    assert trace.calls == (TraceCall(0, 374, 0, 44), TraceCall(2, 0, 0, 7))
    assert trace.units_per_second == 10**7


@pytest.mark.parametrize(
    ("stamp", "ticks"),
    [
        ("2024-02-29 00:00:01", 10**7),
        ("2024-02-29 00:00:00.5", 5 * 10**6),
        ("2024-02-29T00:00:00.000002", 20),
        ("2024-02-29 00:00:00.0000003Z", 3),
        ("2024-03-01 00:00:00.000000+00:00", 864 * 10**9),
    ],
)
def test_csv_times_may_be_written_shorter(stamp: str, ticks: int) -> None:
    assert read(f"{HEADER}\n2024-02-29 00:00:00,1,1\n{stamp},1,1").calls[1].time == ticks


def test_rows_are_sorted_by_time_and_equal_times_keep_their_order() -> None:
    rows = [row(7, 1, 0), row(5, 4, 0), row(7, 3, 0), row(5, 2, 0)]
    calls = read(json_lines(*rows)).calls
    assert [(call.time, call.tokens_in) for call in calls] == [(0, 4), (0, 2), (2, 1), (2, 3)]


def test_cached_tokens_are_the_blocks_that_earlier_calls_carried() -> None:
    rows = [
        row(30, 1_000, 1, 1, 2, 2, 9),  # third in time: 1, 2 were carried, 9 was not
        row(10, 2_000, 1, 1, 1),  # first: an id repeated inside one call is not earlier
        row(20, 700, 1, 1, 2),  # second: 1 was carried
        row(40, 600, 1, 1, 2, 9),  # three blocks carried, yet the input is 600
    ]
    calls = read(json_lines(*rows)).calls
    assert [(call.tokens_in, call.tokens_cached) for call in calls] == [
        (2_000, 0),
        (188, 512),
        (0, 1_000),
        (0, 600),
    ]


def test_json_lines_without_block_ids_have_no_cached_tokens() -> None:
    text = '{"timestamp": 3, "input_length": 4, "output_length": 5, "type": "text"}\r\n\r\n'
    trace = read(text)
    assert trace.calls == (TraceCall(0, 4, 0, 5),)
    assert trace.units_per_second == 1_000


def test_largest_token_count_is_accepted_and_one_more_is_not() -> None:
    assert read(f"{HEADER}\n2024-01-01 00:00:00,4294967295,0").calls[0].tokens_in == 2**32 - 1
    with pytest.raises(errors.BadRow, match="4294967296"):
        read(f"{HEADER}\n2024-01-01 00:00:00,4294967296,0")


BAD_CSV_ROWS = [
    "2024-01-01 00:00:00,1",
    "2024-01-01 00:00:00,1,2,3",
    "2024-01-01 00:00:00,-1,2",
    "2024-01-01 00:00:00,+1,2",
    "2024-01-01 00:00:00, 1,2",
    "2024-01-01 00:00:00,1.0,2",
    "2024-01-01 00:00:00,1e3,2",
    "2024-01-01 00:00:00,,2",
    "2024-01-01 00:00:00,0,0",
    "2024-01-01 24:00:00,1,2",
    "2023-02-29 00:00:00,1,2",
    "0000-01-01 00:00:00,1,2",
    "2024-01-01 00:00:00.12345678,1,2",
    "2024-01-01 00:00:00+01:00,1,2",
    "1704067200,1,2",
    "\u0661,1,2",
    "\0\0\0",
]


@pytest.mark.parametrize("bad", BAD_CSV_ROWS)
def test_broken_csv_row_is_named_by_line_or_skipped_and_counted(bad: str) -> None:
    text = f"{HEADER}\n2024-01-01 00:00:00,1,2\n\n{bad}\n2024-01-01 00:00:01,3,4\n"
    with pytest.raises(errors.BadRow) as caught:
        read(text)
    assert caught.value.line == 4
    assert str(caught.value).startswith("chat.csv line 4: ")
    assert "--skip-bad" in str(caught.value)
    trace = read(text, skip_bad=True)
    assert (len(trace.calls), trace.rows_skipped) == (2, 1)


BAD_JSON_ROWS = [
    "{",
    "[1, 2, 3]",
    '{"timestamp": 1, "input_length": 1}',
    '{"timestamp": -1, "input_length": 1, "output_length": 1}',
    '{"timestamp": 1.5, "input_length": 1, "output_length": 1}',
    '{"timestamp": "1", "input_length": 1, "output_length": 1}',
    '{"timestamp": 1, "input_length": true, "output_length": 1}',
    '{"timestamp": 1, "input_length": 4294967296, "output_length": 1}',
    '{"timestamp": 1, "input_length": 0, "output_length": 0}',
    '{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": ["a"]}',
    '{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": [1e400]}',
    '{"timestamp": 1, "input_length": 1, "output_length": 1} {}',
    '{"x": ' + "[" * 100_000,
]


@pytest.mark.parametrize("bad", BAD_JSON_ROWS)
def test_broken_json_line_is_named_by_line_or_skipped_and_counted(bad: str) -> None:
    text = json_lines(row(1, 1, 1)) + f"\n{bad}\n" + json_lines(row(2, 1, 1))
    with pytest.raises(errors.BadRow) as caught:
        read(text)
    assert caught.value.line == 2
    trace = read(text, skip_bad=True)
    assert (len(trace.calls), trace.rows_skipped) == (2, 1)


def test_line_over_the_bound_is_one_broken_row_however_long_it_is() -> None:
    row_text = "2024-01-01 00:00:00,1,2"
    text = f"{HEADER}\n{row_text}\n{'9' * (3 * LINE_BYTES_MAX)}\n{row_text}\n"
    with pytest.raises(errors.BadRow, match="longer than"):
        read(text)
    trace = read(text, skip_bad=True)
    assert (len(trace.calls), trace.rows_skipped) == (2, 1)


def test_more_rows_than_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "ROWS_MAX", 2)
    rows = [row(time, 1, 1) for time in range(3)]
    assert len(read(json_lines(*rows[:2])).calls) == 2
    with pytest.raises(errors.TraceTooLong, match="more than 2 rows"):
        read(json_lines(*rows), skip_bad=True)


@pytest.mark.parametrize("text", ["", "\n\r\n", HEADER, HEADER + "\r\n"])
def test_trace_without_rows_is_empty(text: str) -> None:
    with pytest.raises(errors.TraceEmpty, match="no rows"):
        read(text)


def test_trace_of_broken_rows_only_is_empty_even_when_they_are_skipped() -> None:
    with pytest.raises(errors.TraceEmpty, match="all 2 rows"):
        read(f"{HEADER}\nx\ny\n", skip_bad=True)


@pytest.mark.parametrize(
    "first", ["timestamp,gpu,provider", HEADER.lower(), "1,2,3", "\ufeffx", "PK\x03\x04\0"]
)
def test_unknown_first_line_is_a_bad_header_even_with_skip_bad(first: str) -> None:
    with pytest.raises(errors.BadHeader, match=r"line 1: .*TIMESTAMP,ContextTokens"):
        read(f"{first}\n2024-01-01 00:00:00,1,2", skip_bad=True)


def test_byte_order_mark_before_the_header_is_no_part_of_it() -> None:
    assert len(read(f"\ufeff{HEADER}\n2024-01-01 00:00:00,1,2").calls) == 1


def test_format_is_recognised_by_content_and_the_stem_names_the_model(tmp_path: Path) -> None:
    (tmp_path / "code.csv").write_text(json_lines(row(1, 2, 3)))
    (tmp_path / "conv.jsonl").write_text(f"{HEADER}\n2024-01-01 00:00:00,1,2")
    code, conv = read_traces([tmp_path / "code.csv", tmp_path / "conv.jsonl"])
    assert (code.name, code.units_per_second) == ("code", 1_000)
    assert (conv.name, conv.units_per_second) == ("conv", 10**7)


def test_two_files_with_one_stem_are_refused_before_any_is_read(tmp_path: Path) -> None:
    with pytest.raises(errors.DuplicateTrace, match="rename one") as caught:
        read_traces([tmp_path / "a" / "x.csv", tmp_path / "b" / "x.jsonl"])
    assert caught.value.code == "trace.duplicate_name"


def test_files_that_cannot_be_read_are_told_apart(tmp_path: Path) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text("")
    for path in (tmp_path / "none.csv", plain / "below.csv", Path("a\0b/c.csv")):
        with pytest.raises(errors.TraceNotFound):
            read_trace(path)
    with pytest.raises(errors.TraceUnreadable):
        read_trace(tmp_path)
    for name in ("n" * 65 + ".csv", "a\nb.csv", "\udc80.csv"):
        with pytest.raises(errors.BadTraceName):
            read_trace(tmp_path / name)


def test_error_codes_are_stable() -> None:
    codes = {error.code for error in errors.TraceError.__subclasses__()}
    assert codes == {
        "trace.not_found",
        "trace.unreadable",
        "trace.empty",
        "trace.too_long",
        "trace.bad_header",
        "trace.bad_row",
        "trace.bad_name",
        "trace.duplicate_name",
    }


@given(times=st.lists(st.integers(0, 10**6), min_size=1), buckets=st.integers(1, 50))
def test_buckets_cover_the_trace_in_order(times: list[int], buckets: int) -> None:
    trace = read(json_lines(*(row(time, 1, 0) for time in times)))
    found = [trace.bucket_of(call.time, buckets) for call in trace.calls]
    span = trace.time_last + 1
    assert found == sorted(found)
    assert found[0] == 0
    for call, bucket in zip(trace.calls, found, strict=True):
        assert bucket * span <= call.time * buckets < (bucket + 1) * span
        assert bucket < buckets


CSV_SCRAPS = st.sampled_from(
    [HEADER, "\n", "\r", ",", "2024-01-01 00:00:00", ".0000001", "0", "7", "-", " ", "\ufeff"]
)
JSON_SCRAPS = st.sampled_from(
    [*"{}[]:,10-\n", '"timestamp"', '"input_length"', '"output_length"', '"hash_ids"', "1e9"]
)
SCRAPS = st.lists(CSV_SCRAPS | JSON_SCRAPS | st.text(max_size=3)).map("".join)
OPENINGS = st.sampled_from(["", HEADER + "\n", '{"timestamp":1,"input_length":1,"output_length":'])


@given(opening=OPENINGS, rest=SCRAPS.map(str.encode) | st.binary(), skip_bad=st.booleans())
def test_any_bytes_give_a_trace_or_a_typed_error(opening: str, rest: bytes, skip_bad: bool) -> None:
    try:
        trace = read(opening.encode() + rest, skip_bad=skip_bad)
    except errors.TraceError as error:
        assert error.code.startswith("trace.")
        assert not isinstance(error, errors.BadRow) or not skip_bad
        assert str(error).isprintable()
        return
    assert trace.calls[0].time == 0
    for call in trace.calls:
        tokens = (call.tokens_in, call.tokens_cached, call.tokens_out)
        assert sum(tokens) >= 1
        assert all(0 <= count < 2**32 for count in tokens)
