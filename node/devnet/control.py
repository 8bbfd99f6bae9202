"""Requests to a running devnet from other terminals, over a socket in its folder.

One line of JSON asks, one line answers. The socket is reached through the folder's descriptor,
since the path of a socket may not be longer than about a hundred bytes.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

import msgspec

from node.devnet.errors import BadRequest, DevnetNotRunning, DevnetSilent, RequestRefused
from state.errors import SaharaError

SOCKET_FILE = "devnet.sock"
LINE_BYTES_MAX = 2**16
ANSWER_SECONDS_MAX = 20.0
ASK_SECONDS_MAX = 5.0


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a devnet is asked to do, and to which node."""

    action: str
    node: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """What came of it: a refusal when there is a code."""

    sentence: str
    code: str = ""
    node: int | None = None
    pid: int | None = None


Act = Callable[[Request], Awaitable[Answer]]


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """Give a short path of the socket in a folder."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_FILE}"
    finally:
        os.close(descriptor)


async def serve(folder: Path, act: Act) -> asyncio.Server:
    """Take requests for the devnet in `folder`; whoever calls holds its lock."""
    (folder / SOCKET_FILE).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    with _address(folder) as path:
        listener.bind(path)
    (folder / SOCKET_FILE).chmod(0o600)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, TimeoutError):
                await _answer(act, reader, writer)
        finally:
            writer.close()

    return await asyncio.start_unix_server(take, sock=listener, limit=LINE_BYTES_MAX)


async def _answer(act: Act, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        line = await asyncio.wait_for(reader.readline(), ASK_SECONDS_MAX)
        answer = await act(msgspec.json.decode(line, type=Request))
    except (ValueError, msgspec.MsgspecError) as error:
        answer = Answer(f"This is no request: {error}.", BadRequest.code)
    except SaharaError as error:
        answer = Answer(error.sentence, error.code)
    writer.write(msgspec.json.encode(answer) + b"\n")
    await writer.drain()


def ask(folder: Path, request: Request) -> Answer:
    """Ask the devnet in `folder`; raises DevnetNotRunning, DevnetSilent, RequestRefused."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS_MAX)
        try:
            with _address(folder) as path:
                connection.connect(path)
        except OSError as error:
            raise not_running(folder) from error
        try:
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline(LINE_BYTES_MAX)
            answer = msgspec.json.decode(line, type=Answer)
        except (OSError, msgspec.MsgspecError) as error:
            raise DevnetSilent(
                f"The devnet in {folder} did not answer; look at its terminal, or end it with: "
                f"sahara devnet stop --home {quote(str(folder))}"
            ) from error
    if answer.code:
        raise RequestRefused(answer.code, answer.sentence)
    return answer


def not_running(folder: Path) -> DevnetNotRunning:
    """The error for a devnet that nobody runs."""
    return DevnetNotRunning(
        f"No devnet runs in {folder}; start it with: sahara devnet --home {quote(str(folder))}"
    )
