"""Network namespaces without names: each node alone in one, with a TUN device as its only way out.

A namespace lasts as long as somebody holds it open, and so does its device: nothing has to be
cleaned up, however the campaign ends. What a node sends comes out of the device's descriptor, and
whatever holds that is the network: packets can be delayed, lost and cut off as they are between
machines, and TCP meets it all. Needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN), and util-linux to start
processes inside.
"""

import ctypes
import fcntl
import os
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from node.campaign.errors import NamespacesRefused

NETWORK_PREFIX = "192.0.2."
"""TEST-NET-1 of RFC 5737: addresses that no machine has."""

MASK = "255.255.255.0"
SPACES_MAX = 100
DEVICE = b"sahara0"
LOOPBACK_DEVICE = b"lo"
DEVICE_FILE = "/dev/net/tun"
OWN_SPACE = "/proc/thread-self/ns/net"
PROGRAMS = ("nsenter", "setpriv")

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
IFF_UP, IFF_RUNNING = 0x0001, 0x0040
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Space:
    """One namespace: descriptors of itself and of its device, and its address."""

    namespace: int
    device: int
    address: str

    def close(self) -> None:
        """Let go of both; the system removes what nobody uses any more."""
        os.close(self.device)
        os.close(self.namespace)

    def entered(self) -> list[str]:
        """The words before a command that run it in here, killed when its starter dies."""
        held = f"/proc/{os.getpid()}/fd/{self.namespace}"
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={held}"]


def address_of(index: int) -> str:
    """Return the address of a node among the others."""
    assert 0 <= index < SPACES_MAX, "as many as a network has nodes"
    return f"{NETWORK_PREFIX}{index + 1}"


def why_not() -> str | None:
    """Say what is missing for namespaces, None when nothing is."""
    try:
        make_spaces(1)[0].close()
    except NamespacesRefused as error:
        return error.sentence
    return None


def make_spaces(count: int) -> list[Space]:
    """Make namespaces with the addresses of so many nodes; raises NamespacesRefused."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise NamespacesRefused(
            f"{' and '.join(missing)} cannot be found, which start nodes in namespaces; install "
            "them (Debian: apt-get install util-linux), or use --loopback."
        )
    with ExitStack() as on_error:
        spaces = []
        for index in range(count):
            spaces.append(make_space(index))
            on_error.callback(spaces[-1].close)
        on_error.pop_all()
    return spaces


def make_space(index: int) -> Space:
    """Make one namespace, its device up at the address of a node; raises NamespacesRefused."""
    with ExitStack() as on_error, _left():
        try:
            _call(_libc.unshare(CLONE_NEWNET), "unshare")
            namespace = os.open(OWN_SPACE, os.O_RDONLY | os.O_CLOEXEC)
            on_error.callback(os.close, namespace)
            device = os.open(DEVICE_FILE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            on_error.callback(os.close, device)
            _raise_device(device, address_of(index))
        except OSError as error:
            raise NamespacesRefused(
                f"No network namespace can be made here ({error.filename or 'a device'}: "
                f"{error.strerror}); run the campaign as root on a Linux with /dev/net/tun, or on "
                "loopback with --loopback, where nodes cannot be cut off from each other."
            ) from error
        on_error.pop_all()
    return Space(namespace, device, address_of(index))


def socket_in(space: Space) -> socket.socket:
    """Return a TCP socket that lives in a namespace, whoever uses it."""
    with _left():
        _call(_libc.setns(space.namespace, CLONE_NEWNET), "setns")
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


@contextmanager
def _left() -> Iterator[None]:
    """Come back into the namespace of before, whatever a block has done to this thread's."""
    before = os.open(OWN_SPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _call(_libc.setns(before, CLONE_NEWNET), "setns")
        os.close(before)


def _raise_device(device: int, address: str) -> None:
    """Bring loopback and the new device of this thread's namespace up."""
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE, IFF_TUN | IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, MASK)):
            told = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(probe, request, struct.pack("16s16s", DEVICE, told))
        for name in (LOOPBACK_DEVICE, DEVICE):
            fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH14x", name, IFF_UP | IFF_RUNNING))


def _call(returned: int, name: str) -> None:
    if returned != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
