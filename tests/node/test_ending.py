"""What ends a node's process: told by a signal or a closed stdin, or by the first failure."""

import asyncio
import os
import signal

import pytest

from node import ending
from node.ending import SIGNALS, end, until_told


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_it_and_is_given_back(number: signal.Signals) -> None:
    with until_told(stop_with_stdin=False) as ended:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            assert await ended is None
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == [
        signal.SIG_DFL,
        signal.default_int_handler,
    ]


async def test_the_end_of_a_watched_stdin_ends_it_and_words_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(ending, "STDIN", reading)
    with until_told(stop_with_stdin=True) as ended:
        os.write(writing, b"word")
        await asyncio.sleep(0.05)
        assert not ended.done()
        os.close(writing)
        async with asyncio.timeout(10):
            assert await ended is None
    assert not asyncio.get_running_loop().remove_reader(reading)
    os.close(reading)


async def test_the_first_failure_is_what_ended_it() -> None:
    first, later = ValueError("first"), ValueError("later")
    with until_told(stop_with_stdin=False) as ended:
        end(ended, {"message": "said too", "exception": first})
        end(ended, {"exception": later})
        assert await ended is first
    with until_told(stop_with_stdin=False) as ended:
        end(ended, {"message": "nothing but a word"})
        assert str(await ended) == "nothing but a word"
