"""Namespaces, the switch between them, and doors into them: real packets, without any node.

Whoever may not make namespaces is told so; that is then what is tested.
"""

import asyncio
import contextlib
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import pytest

from node.campaign import spaces
from node.campaign import switch as module
from node.campaign.door import Door
from node.campaign.errors import NamespacesRefused, NetworkLost
from node.campaign.fabric import Conditions
from node.campaign.spaces import Space, address_of, make_space, make_spaces, socket_in, why_not
from node.campaign.switch import Switch, start_switch

PORT = 4180
ECHO = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    while True:
        connection, _ = server.accept()
        while data := connection.recv(1024):
            connection.sendall(data)
"""
MAY_MAKE_THEM = why_not() is None


def own_space() -> int:
    return Path(spaces.OWN_SPACE).stat().st_ino


@contextlib.asynccontextmanager
async def echo_in(space: Space, host: str) -> AsyncIterator[None]:
    """Give a process that listens inside a namespace and says everything again."""
    line = [*space.entered(), sys.executable, "-S", "-c", ECHO, host, str(PORT)]
    process = await asyncio.create_subprocess_exec(*line)
    try:
        yield
    finally:
        process.kill()
        await asyncio.wait_for(process.wait(), 10)


@contextlib.asynccontextmanager
async def joined(conditions: Conditions) -> AsyncIterator[tuple[list[Space], Switch]]:
    made = make_spaces(2)
    switch = await start_switch(made, conditions, 1)
    try:
        yield made, switch
    finally:
        await switch.stop()
        for space in made:
            space.close()


async def dial(
    space: Space, address: str, seconds: float = 5.0
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from inside a namespace once somebody listens."""
    end = time.monotonic() + seconds
    while True:
        dialling = socket_in(space)
        try:
            await asyncio.get_running_loop().sock_connect(dialling, (address, PORT))
        except OSError:
            dialling.close()
            assert time.monotonic() < end, "nobody listens"
            await asyncio.sleep(0.02)
        else:
            return await asyncio.open_connection(sock=dialling)


async def said_again(
    line: tuple[asyncio.StreamReader, asyncio.StreamWriter], text: bytes, seconds: float = 5.0
) -> bool:
    line[1].write(text)
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(line[0].readexactly(len(text)), seconds) == text
    return False


async def test_what_a_namespace_sends_waits_and_is_cut(tmp_path: Path) -> None:
    if not MAY_MAKE_THEM:
        with pytest.raises(NamespacesRefused, match="as root"):
            make_space(0)
        return
    async with joined(Conditions(delay_ms=40)) as (made, switch), echo_in(made[1], address_of(1)):
        line = await dial(made[0], address_of(1))
        began = time.monotonic()
        assert await said_again(line, b"hello")
        assert time.monotonic() - began >= 0.08, "there and back"
        await switch.cut([(1, 0)])
        assert not await said_again(line, b"lost?", 0.5)
        await switch.cut([])
        assert await asyncio.wait_for(line[0].readexactly(5), 10.0) == b"lost?", "TCP says it again"
        assert (await switch.set(Conditions())).lost_by_cuts > 0
        line[1].close()


async def test_a_door_leads_to_a_port_of_a_namespaces_loopback() -> None:
    if not MAY_MAKE_THEM:
        assert "root" in (why_not() or "")
        return
    space = make_space(0)
    try:
        async with echo_in(space, "127.0.0.1"):
            (await dial(space, "127.0.0.1"))[1].close()
            door = Door(space, PORT)
            url = await door.start()
            line = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            assert await said_again(line, b"knock")
            await door.stop()
            assert await line[0].read() == b""
            line[1].close()
    finally:
        space.close()


async def test_a_process_inside_dies_with_its_starter_and_nothing_is_left() -> None:
    if not MAY_MAKE_THEM:
        assert "root" in (why_not() or "")
        return
    here = own_space()
    script = (
        "import subprocess, sys, os\nfrom node.campaign.spaces import make_space\n"
        "space = make_space(0)\nline = [*space.entered(), 'sleep', '60']\n"
        "child = subprocess.Popen(line)\nprint(child.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    starter = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(spaces.__file__).parents[2],
    )
    said, _ = await asyncio.wait_for(starter.communicate(), 30.0)
    child = Path("/proc") / said.decode().strip() / "stat"
    end = time.monotonic() + 10.0
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end, "it outlives its starter"
        await asyncio.sleep(0.02)
    assert own_space() == here, "and this process stayed where it was"


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        NamespacesRefused, match=r"nsenter and setpriv .*apt-get install util-linux"
    ):
        make_spaces(1)


async def test_a_switch_that_is_gone_is_said_to_be() -> None:
    if not MAY_MAKE_THEM:
        assert "root" in (why_not() or "")
        return
    async with joined(Conditions()) as (_, switch):
        switch._process.kill()
        with pytest.raises(NetworkLost):
            await switch.set(Conditions(delay_ms=1))


async def test_a_switch_that_does_not_answer_at_first_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes: list[Process] = []

    async def fail(self: Switch, conditions: Conditions) -> NoReturn:
        processes.append(self._process)
        raise NetworkLost("It hangs.")

    monkeypatch.setattr(Switch, "set", fail)
    with pytest.raises(NetworkLost):
        await start_switch([], Conditions(), 1)
    assert processes[0].returncode is not None


async def test_a_switch_that_does_not_end_is_ended_by_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS_MAX", 0.2)
    line = [sys.executable, "-S", "-E", "-c", "import time; time.sleep(60)"]
    process = await asyncio.create_subprocess_exec(*line, stdin=PIPE, stdout=PIPE)
    async with asyncio.timeout(10):
        await Switch(process).stop()
    assert process.returncode == -signal.SIGKILL
