"""What ends a node's process: told by a signal or a closed stdin, or by the first failure."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from node import ending
from node.ending import SIGNALS, Told, end, hearing, until_told


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_it_and_is_given_back(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    told = Told()
    with hearing(told), until_told(told, stop_with_stdin=False) as ended:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            assert await ended is None
    assert [signal.getsignal(each) for each in SIGNALS] == before


async def test_the_end_of_a_watched_stdin_ends_it_and_words_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(ending, "STDIN", reading)
    with until_told(Told(), stop_with_stdin=True) as ended:
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
    with until_told(Told(), stop_with_stdin=False) as ended:
        end(ended, {"message": "said too", "exception": first})
        end(ended, {"exception": later})
        assert await ended is first
    with until_told(Told(), stop_with_stdin=False) as ended:
        end(ended, {"message": "nothing but a word"})
        assert str(await ended) == "nothing but a word"


async def test_who_was_told_stays_told() -> None:
    """Whatever ended it first, and whoever waits next."""
    told = Told()
    with hearing(told), until_told(told, stop_with_stdin=False) as ended:
        end(ended, {})
        assert not told.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
    assert told.is_set()
    with until_told(told, stop_with_stdin=False) as ended:
        assert ended.done()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_signals_wake_a_loop_and_are_heard_after_it(
    run: Callable[..., Any], number: signal.Signals
) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    told, late = Told(), Told()

    async def wait(by: Told, sender: threading.Timer | None) -> None:
        with until_told(by, stop_with_stdin=False) as ended:
            if sender is None:
                end(ended, {})
            else:
                sender.start()  # while the loop sleeps
            async with asyncio.timeout(10):
                await ended

    sender = threading.Timer(0.1, os.kill, (os.getpid(), number))
    with hearing(told):
        run(wait(told, sender))
    sender.join(10)
    assert told.is_set()
    with hearing(late):
        run(wait(late, None))
        assert not late.is_set()
        os.kill(os.getpid(), number)
        assert late.is_set()
    assert [signal.getsignal(each) for each in SIGNALS] == before
