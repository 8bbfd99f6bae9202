"""Who a node is among its peers: the key that names it, and the record that a validator runs there.

The node key lies sealed beside the other keys, under the same passphrase. It signs handshakes and
announcements, never a vote; whoever loses it gets a new name, and nothing else is lost.
"""

from pathlib import Path

from node.home import NODE_KEY
from node.keystore import COST, Passphrase, ScryptCost, create_key, key_path, load_seed
from node.network_settings import PeerSettings
from p2p.addresses import Address, is_tellable
from p2p.announce import Announce, Announcement, Sign, sign_announce
from p2p.handshake import NodeKey


def load_node_key(home: Path, passphrase: Passphrase, cost: ScryptCost = COST) -> NodeKey:
    """Open the node key of a home, made first where there is none; raises KeystoreError."""
    if not key_path(home, NODE_KEY).exists():
        create_key(home, NODE_KEY, passphrase, cost)
    return NodeKey(load_seed(home, NODE_KEY, passphrase))


def addresses_of(settings: PeerSettings, port: int) -> tuple[Address, ...]:
    """Return where others reach this node: as its operator says, or where it listens alone."""
    told = settings.external_address
    if told is not None:
        return (told,)
    listening = Address(settings.p2p_host, port)
    private = settings.p2p_allow_private_hosts
    return (listening,) if is_tellable(listening, allow_private=private) else ()


def announcement(
    validator_key: bytes,
    sign: Sign,
    node_key: NodeKey,
    genesis_hash: bytes,
    addresses: tuple[Address, ...],
    sequence: int,
) -> Announce:
    """Return the signed record that this node runs a validator; the highest sequence wins."""
    record = Announcement(validator_key, node_key.node_id, addresses, sequence)
    return sign_announce(record, genesis_hash, sign, node_key)
