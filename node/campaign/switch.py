"""The process that carries packets between namespaces, and how a campaign talks to it.

`python -m node.campaign.switch SEED DEVICE...` reads Conditions as JSON lines from standard input,
answers each with what it has carried, and ends with its input. The devices are descriptors of TUN
devices, by node.
"""

import asyncio
import os
import random
import selectors
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

import msgspec

from node.campaign.errors import NetworkLost
from node.campaign.fabric import Conditions, Fabric
from node.campaign.spaces import NETWORK_PREFIX, Space
from node.devnet.process import ROOMS_FOLDER, environment

PACKET_BYTES_MAX = 65_536
LINE_BYTES_MAX = 65_536
PACKETS_AT_ONCE = 64
ANSWER_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 5.0
STDIN = 0
SETTINGS = -1


class Carried(msgspec.Struct, frozen=True):
    """Packets since the start."""

    carried: int
    lost: int
    lost_by_cuts: int


class Switch:
    """A campaign's hold on the process: what it says happens to packets from then on."""

    def __init__(self, process: Process) -> None:
        self.conditions = Conditions()
        self._process = process
        self._turn = asyncio.Lock()

    async def set(self, conditions: Conditions) -> Carried:
        """Change what becomes of packets, and return what was carried; raises NetworkLost."""
        writer, reader = self._process.stdin, self._process.stdout
        assert writer is not None and reader is not None, "started with pipes"
        async with self._turn:
            try:
                writer.write(msgspec.json.encode(conditions) + b"\n")
                await writer.drain()
                line = await asyncio.wait_for(reader.readline(), ANSWER_SECONDS_MAX)
                answer = msgspec.json.decode(line, type=Carried)
            except (OSError, TimeoutError, msgspec.MsgspecError) as error:
                raise NetworkLost(
                    "The process between the nodes has ended or hangs; this campaign says nothing "
                    "about them. Run it again."
                ) from error
            self.conditions = conditions
        return answer

    async def cut(self, pairs: Sequence[tuple[int, int]]) -> Carried:
        """Let nothing pass between these, from the first to the second of each."""
        return await self.set(msgspec.structs.replace(self.conditions, cut=tuple(pairs)))

    async def stop(self) -> None:
        """End the process, by force when it does not end with its input."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS_MAX)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS_MAX)


async def start_switch(spaces: Sequence[Space], conditions: Conditions, seed: int) -> Switch:
    """Start carrying packets between namespaces; raises NetworkLost."""
    devices = [space.device for space in spaces]
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL"),
        *(sys.executable, "-m", "node.campaign.switch", str(seed), *map(str, devices)),
        stdin=PIPE,
        stdout=PIPE,
        cwd=ROOMS_FOLDER,
        env=environment(),
        pass_fds=devices,
        start_new_session=True,
    )
    async with AsyncExitStack() as on_failure:
        switch = Switch(process)
        on_failure.push_async_callback(switch.stop)
        await switch.set(conditions)
        on_failure.pop_all()
    return switch


def carry(fabric: Fabric, devices: Sequence[int]) -> None:
    """Carry packets until standard input ends."""
    os.set_blocking(STDIN, False)
    buffer = b""
    with selectors.EpollSelector() as selector:
        selector.register(STDIN, selectors.EVENT_READ, SETTINGS)
        for index, device in enumerate(devices):
            selector.register(device, selectors.EVENT_READ, index)
        while True:
            for key, _ in selector.select(fabric.wait_seconds(time.monotonic())):
                if key.data != SETTINGS:
                    _take(fabric, key.data, devices[key.data])
                    continue
                data = os.read(STDIN, LINE_BYTES_MAX)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    _set(fabric, line)
            for to, packet in fabric.arrivals(time.monotonic()):
                _give(fabric, devices[to], packet)


def _take(fabric: Fabric, index: int, device: int) -> None:
    for _ in range(PACKETS_AT_ONCE):
        try:
            packet = os.read(device, PACKET_BYTES_MAX)
        except BlockingIOError:
            return
        fabric.take(index, packet, time.monotonic())


def _give(fabric: Fabric, device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError:  # the receiving side is full: a network loses it, too
        fabric.lost += 1


def _set(fabric: Fabric, line: bytes) -> None:
    fabric.set(msgspec.json.decode(line, type=Conditions))
    answer = Carried(fabric.carried, fabric.lost, fabric.lost_by_cuts)
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Carry packets as the command line says."""
    seed, *devices = (int(word) for word in sys.argv[1:])
    prefix = socket.inet_aton(f"{NETWORK_PREFIX}0")[:3]
    carry(Fabric(prefix, len(devices), random.Random(seed)), devices)


if __name__ == "__main__":
    main()
