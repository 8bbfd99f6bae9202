"""Where nodes are: addresses, the subnets they belong to, and which of them strangers may name."""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from p2p.codec import Bytes32, Struct
from p2p.errors import LocalError

HOST_CHARACTERS_MAX: Final = 253
Host = Annotated[str, Meta(min_length=1, max_length=HOST_CHARACTERS_MAX)]
Port = Annotated[int, Meta(ge=1, le=65_535)]


class BadAddress(LocalError):
    """A peer's address in the settings is not written as node id, host and port."""

    code: ClassVar[str] = "p2p.bad_address"


class Address(Struct):
    """A host and a port; hosts are numbers everywhere but in an operator's own settings."""

    host: Host
    port: Port

    def __str__(self) -> str:
        """Return host:port, with brackets around IPv6."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class PeerAddress(Struct):
    """An address, and the node that is said to be there."""

    node_id: Bytes32
    address: Address


@dataclass(frozen=True, slots=True)
class Target:
    """A peer of the operator's own list: where it is, and who."""

    node_id: bytes
    address: Address


def parse_target(text: str) -> Target:
    """Return the peer that `NODE_ID_HEX@HOST:PORT` names; raises BadAddress."""
    name, found, place = text.partition("@")
    host, colon, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        node_id, number = bytes.fromhex(name), int(port)
    except ValueError:
        node_id, number = b"", 0
    if not (found and colon and host) or len(node_id) != 32 or not 0 < number < 2**16:
        raise BadAddress(
            f"{text!r} names no peer; write NODE_ID@HOST:PORT with the node id as 64 hex digits."
        )
    return Target(node_id, Address(host, number))


@lru_cache(maxsize=8_192)
def group_of(host: str) -> str:
    """Return the subnet of a host: /16 of IPv4, /32 of IPv6, the name itself for names.

    Whoever rents one subnet has all its addresses, so they count as one neighbour.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, ipaddress.IPv4Address):
        return str(ipaddress.ip_network((address, 16), strict=False))
    return str(ipaddress.ip_network((address, 32), strict=False))


@lru_cache(maxsize=8_192)
def holder_of(host: str) -> str:
    """Return who counts as one stranger before it has a name: an IPv4 address, a /64 of IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


def is_tellable(address: Address, *, allow_private: bool) -> bool:
    """Whether an address that a stranger names may be kept: a number, and routable unless allowed.

    Without this, whoever tells addresses could make nodes knock on doors of private networks. A
    number with a scope is none: it means something on one machine alone, and may be of any length.
    """
    try:
        host = ipaddress.ip_address(address.host)
    except ValueError:
        return False
    if isinstance(host, ipaddress.IPv6Address) and host.scope_id is not None:
        return False
    if host.is_unspecified or host.is_multicast or str(host) != address.host:
        return False
    return allow_private or host.is_global
