"""A node among its peers, as settings: where it listens, whom it keeps, how many it takes.

A peer is written NODE_ID@HOST:PORT, its node id being 64 hexadecimal digits: the Ed25519 key that
it proves to hold when it is dialled. Lists are texts with commas between, alike in the flag, the
variable and the file.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from node.errors import ConfigInvalid
from p2p.addresses import Address, BadAddress, Target, parse_target
from p2p.settings import NetworkSettings

LIST_PATTERN = r"^[!-~ ]{0,4096}(?!\n)$"
"""Texts with commas between; the flag, the variable and the file write a list alike."""

PEERS_PATTERN = r"^[!-~ ]{0,65536}(?!\n)$"
PEERS_MAX = 256
"""Peers that one list may name: a validator set has at most 200 members."""

_NODE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSettings:
    """Settings of peers; `check_network` holds what their types cannot say."""

    p2p_host: Annotated[
        str,
        Meta(min_length=1, max_length=255, description="The address that other nodes connect to."),
    ] = "127.0.0.1"
    p2p_port: Annotated[
        int, Meta(ge=0, le=65_535, description="The port for other nodes; 0 takes a free one.")
    ] = 4181
    p2p_external_address: Annotated[
        str,
        Meta(
            max_length=262,
            description="ADDRESS:PORT under which others reach this node; empty: untold.",
        ),
    ] = ""
    p2p_persistent_peers: Annotated[
        str,
        Meta(
            pattern=PEERS_PATTERN,
            description="NODE_ID@HOST:PORT of peers that are always dialled again.",
        ),
    ] = ""
    p2p_private_peers: Annotated[
        str,
        Meta(
            pattern=PEERS_PATTERN,
            description="Node ids that are never told to others, with commas between.",
        ),
    ] = ""
    p2p_unconditional_peers: Annotated[
        str,
        Meta(
            pattern=PEERS_PATTERN,
            description="Node ids that no limit of connections holds off, with commas between.",
        ),
    ] = ""
    p2p_inbound_max: Annotated[
        int, Meta(ge=0, le=1_000, description="Connections that others may hold to this node.")
    ] = 40
    p2p_inbound_per_address_max: Annotated[
        int, Meta(ge=1, le=1_000, description="Of these, from one address.")
    ] = 4
    p2p_outbound_max: Annotated[
        int, Meta(ge=0, le=200, description="Peers that this node looks for by itself.")
    ] = 10

    p2p_allow_private_hosts: Annotated[
        bool, Meta(description="Keep and tell addresses of private networks, for networks inside.")
    ] = False

    @property
    def external_address(self) -> Address | None:
        """The address of p2p_external_address: a number, since peers look up no names."""
        text = self.p2p_external_address
        if not text:
            return None
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            number = int(port)
            if str(ipaddress.ip_address(host)) != host or not 0 < number < 2**16:
                raise ValueError
        except ValueError as error:
            raise ConfigInvalid(
                f"'{text[:80]}' in p2p_external_address is no ADDRESS:PORT; write "
                "203.0.113.7:4181 or [2001:db8::7]:4181, names are not looked up."
            ) from error
        return Address(host, number)

    @property
    def persistent_peers(self) -> tuple[Target, ...]:
        """The peers of p2p_persistent_peers."""
        name = "p2p_persistent_peers"
        try:
            return tuple([parse_target(text) for text in _some(name, self.p2p_persistent_peers)])
        except BadAddress as error:
            raise ConfigInvalid(f"{name}: {error}") from error

    @property
    def private_ids(self) -> frozenset[bytes]:
        """The node ids of p2p_private_peers."""
        return _ids("p2p_private_peers", self.p2p_private_peers)

    @property
    def unconditional_ids(self) -> frozenset[bytes]:
        """The node ids of p2p_unconditional_peers."""
        return _ids("p2p_unconditional_peers", self.p2p_unconditional_peers)

    def network_settings(self, *, joins_mesh: bool) -> NetworkSettings:
        """Return what the network is started with; validators join the mesh of all validators."""
        return NetworkSettings(
            listen_host=self.p2p_host,
            listen_port=self.p2p_port,
            persistent=self.persistent_peers,
            unconditional=self.unconditional_ids,
            private=self.private_ids,
            joins_mesh=joins_mesh,
            allow_private_hosts=self.p2p_allow_private_hosts,
            inbound_max=self.p2p_inbound_max,
            outbound_max=self.p2p_outbound_max,
            per_address_max=self.p2p_inbound_per_address_max,
        )

    def check_network(self) -> None:
        """Read every list and hold the relations between settings; raises ConfigInvalid."""
        peers = self.persistent_peers
        if len({peer.node_id for peer in peers}) < len(peers):
            raise ConfigInvalid("p2p_persistent_peers names a node id twice; leave one out.")
        _ = self.external_address, self.private_ids, self.unconditional_ids
        if 0 < self.p2p_inbound_max < self.p2p_inbound_per_address_max:
            raise ConfigInvalid(
                f"p2p_inbound_per_address_max is {self.p2p_inbound_per_address_max} and "
                f"p2p_inbound_max {self.p2p_inbound_max}; one address cannot have more than all."
            )


def listed(text: str) -> tuple[str, ...]:
    """Return the parts of a list that is written with commas between."""
    return tuple(each for each in (part.strip() for part in text.split(",")) if each)


def _some(name: str, text: str) -> tuple[str, ...]:
    found = listed(text)
    if len(found) > PEERS_MAX:
        raise ConfigInvalid(f"{name} names {len(found)} peers; {PEERS_MAX} are the most.")
    return found


def _ids(name: str, text: str) -> frozenset[bytes]:
    return frozenset(_node_id(name, part) for part in _some(name, text))


def _node_id(name: str, text: str) -> bytes:
    if not _NODE_ID.fullmatch(text):
        raise ConfigInvalid(
            f"'{text[:80]}' in {name} is no node id; one has 64 lower-case hexadecimal digits."
        )
    return bytes.fromhex(text)
