"""A node among its peers, as settings: where it listens, whom it keeps, how many it takes.

A peer is written NODE_ID@HOST:PORT, its node id being 64 hexadecimal digits: the Ed25519 key that
it proves to hold when it is dialled. Lists are texts with commas between, alike in the flag, the
variable and the file.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from node.errors import ConfigInvalid

LIST_PATTERN = r"^[!-~ ]{0,4096}(?!\n)$"
"""Texts with commas between; the flag, the variable and the file write a list alike."""

PEERS_PATTERN = r"^[!-~ ]{0,65536}(?!\n)$"
PEERS_MAX = 256
"""Peers that one list may name: a validator set has at most 200 members."""

_NODE_ID = re.compile(r"[0-9a-f]{64}")
_PLACE = re.compile(r"(?P<host>\[[0-9a-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253}):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node can be reached; the host is a name or an address, IPv6 without brackets."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that the operator knows."""

    node_id: bytes
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Settings of the network; `check_network` holds what their types cannot say."""

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
            description="HOST:PORT under which others reach this node, told to them; empty: none.",
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

    @property
    def external_place(self) -> Place | None:
        """The place of p2p_external_address."""
        text = self.p2p_external_address
        return _place("p2p_external_address", text) if text else None

    @property
    def persistent_peers(self) -> tuple[Peer, ...]:
        """The peers of p2p_persistent_peers."""
        return tuple(
            _peer("p2p_persistent_peers", text)
            for text in _some("p2p_persistent_peers", self.p2p_persistent_peers)
        )

    @property
    def private_ids(self) -> frozenset[bytes]:
        """The node ids of p2p_private_peers."""
        return _ids("p2p_private_peers", self.p2p_private_peers)

    @property
    def unconditional_ids(self) -> frozenset[bytes]:
        """The node ids of p2p_unconditional_peers."""
        return _ids("p2p_unconditional_peers", self.p2p_unconditional_peers)

    def check_network(self) -> None:
        """Read every list and hold the relations between settings; raises ConfigInvalid."""
        peers = self.persistent_peers
        if len({peer.node_id for peer in peers}) < len(peers):
            raise ConfigInvalid("p2p_persistent_peers names a node id twice; leave one out.")
        if self.external_place and not self.external_place.port:
            raise ConfigInvalid("p2p_external_address has port 0; name the port others dial.")
        _ = self.private_ids, self.unconditional_ids
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


def _peer(name: str, text: str) -> Peer:
    node_id, separator, place = text.partition("@")
    if not separator:
        raise ConfigInvalid(f"'{text[:80]}' in {name} is no peer; write NODE_ID@HOST:PORT.")
    found = _place(name, place)
    if not found.port:
        raise ConfigInvalid(f"'{text[:80]}' in {name} has port 0; name the port it listens on.")
    return Peer(_node_id(name, node_id), found)


def _place(name: str, text: str) -> Place:
    match = _PLACE.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise ConfigInvalid(f"'{text[:80]}' in {name} is no HOST:PORT; write box.example:4181.")
    return Place(match["host"].strip("[]"), int(match["port"]))
