"""Requests over the socket of a devnet's folder, and what strangers get there."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from node.devnet.control import SOCKET_FILE, Answer, Request, ask, serve
from node.devnet.errors import DevnetNotRunning, DevnetSilent, NoSuchNode, RequestRefused


async def act(request: Request) -> Answer:
    if request.node == 9:
        raise NoSuchNode("There is no node 9.")
    return Answer(f"did {request.action}", node=request.node, pid=7)


def raw(folder: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(folder / SOCKET_FILE))
        with suppress(BrokenPipeError):  # what is too long is refused before all of it was sent
            connection.sendall(data)
        return connection.makefile("rb").readline()


async def test_a_request_is_answered_however_long_the_path_is(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("folder" * 30)
    folder.mkdir(parents=True)
    (folder / SOCKET_FILE).touch()  # left by a supervisor that was killed
    async with await serve(folder, act):
        answer = await asyncio.to_thread(ask, folder, Request("kill", 2))
        assert answer == Answer("did kill", node=2, pid=7)
        assert (folder / SOCKET_FILE).stat().st_mode & 0o777 == 0o600
        with pytest.raises(RequestRefused, match="no node 9") as caught:
            await asyncio.to_thread(ask, folder, Request("kill", 9))
        assert caught.value.reason == "devnet.no_such_node"


async def test_what_is_no_request_is_refused_and_the_next_one_is_answered(tmp_path: Path) -> None:
    async with await serve(tmp_path, act):
        for data in (b"\n", b"{}\n", b'{"action":1}\n', b'{"action":"a","x":1}\n', b"x" * 2**18):
            answer = await asyncio.to_thread(raw, tmp_path, data)
            assert msgspec.json.decode(answer, type=Answer).code == "devnet.bad_request"
        assert (await asyncio.to_thread(ask, tmp_path, Request("add"))).sentence == "did add"


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(DevnetNotRunning):
        ask(tmp_path, Request("stop"))
    with pytest.raises(DevnetNotRunning):
        ask(tmp_path / "none", Request("stop"))


async def test_one_who_closes_without_an_answer_is_silent(tmp_path: Path) -> None:
    async def close(_: Request) -> Answer:
        raise ConnectionResetError

    async with await serve(tmp_path, close):
        with pytest.raises(DevnetSilent):
            await asyncio.to_thread(ask, tmp_path, Request("stop"))
