"""The network: frames, handshake, gossip and peers; it moves bytes with sizes and topics.

A node makes a `SocketNetwork` (or a `MemoryNetwork`, which has the same face), hands it a `Handler`
and settles every message that it brings with a `Verdict`; see p2p/interface.py.
"""

from p2p.addresses import Address, Target, parse_target
from p2p.announce import Announce, Announcement, sign_announce
from p2p.counters import Counters
from p2p.errors import LocalError, NetworkError, NotConnected, QueueFull, RequestFailed
from p2p.handshake import NodeKey
from p2p.interface import Delivery, Handler, Network, PeerInfo, Request
from p2p.memory import Hub, MemoryNetwork
from p2p.network import SocketNetwork
from p2p.peerbook import CorruptBook, PeerBook
from p2p.scores import Verdict
from p2p.settings import NetworkSettings
from p2p.topics import LIMITS, Topic

__all__ = ["Network", "SocketNetwork", "MemoryNetwork", "Hub", "NetworkSettings", "NodeKey"]
__all__ += ["Handler", "Delivery", "Request", "Verdict", "PeerInfo", "Topic", "LIMITS", "Counters"]
__all__ += ["Address", "Target", "parse_target", "PeerBook", "CorruptBook"]
__all__ += ["Announce", "Announcement", "sign_announce"]
__all__ += ["NetworkError", "LocalError", "NotConnected", "QueueFull", "RequestFailed"]
