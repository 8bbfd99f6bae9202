"""The settings of one node's network: where it listens, whom it trusts with a seat, how many."""

from dataclasses import dataclass
from typing import Final

from p2p.addresses import Target

INBOUND_MAX: Final = 40
OUTBOUND_MAX: Final = 10
PER_ADDRESS_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What an operator may choose; the defaults suit a full node on the open internet."""

    listen_host: str | None = None
    """Where to take connections; None takes none."""
    listen_port: int = 0
    """0 lets the system choose."""
    dial_from: str | None = None
    """The local address to dial from; a devnet's nodes share one machine and differ by it."""
    persistent: tuple[Target, ...] = ()
    """Peers that are dialled for ever, always have a seat, and are never banned."""
    unconditional: frozenset[bytes] = frozenset()
    """Node ids that always have a seat and are never banned, whoever dials."""
    private: frozenset[bytes] = frozenset()
    """Node ids of which nobody is told."""
    joins_mesh: bool = False
    """Whether to dial every validator that has announced itself: validators do."""
    allow_private_hosts: bool = False
    """Whether addresses in private networks may be told and kept; for networks inside one."""
    inbound_max: int = INBOUND_MAX
    outbound_max: int = OUTBOUND_MAX
    per_address_max: int = PER_ADDRESS_MAX
    """Inbound connections from one address."""

    @property
    def trusted(self) -> frozenset[bytes]:
        """Node ids that the operator named: never banned, always seated."""
        return self.unconditional | {target.node_id for target in self.persistent}

    @property
    def trusted_hosts(self) -> frozenset[str]:
        """Hosts that pass the gate freely: those of persistent peers."""
        return frozenset(target.address.host for target in self.persistent)
