"""Every attack on a node by whoever is no validator of its network, by name."""

from collections.abc import Awaitable, Callable
from typing import Final

from tests.node.hostile import peers, strangers
from tests.node.hostile.victim import Victim

Attack = Callable[[Victim, float], Awaitable[None]]

_ALL: Final[tuple[Attack, ...]] = (
    *(strangers.garbage, strangers.garbage_in_the_handshake, strangers.slow_loris),
    *(strangers.slow_headers, strangers.five_hundred_connections),
    *(strangers.five_hundred_from_a_friends_host, strangers.all_handles),
    *(strangers.churn, strangers.compression_bombs, strangers.browsers),
    *(peers.garbage_under_seal, peers.oversize_messages, peers.floods_without_leave),
    *(
        peers.frames_on_the_way,
        peers.forged_votes,
        peers.forged_certificates,
        peers.echoed_votes,
        peers.lying_heights,
    ),
    *(peers.bad_blocks, peers.endless_announcements, peers.ids_that_nobody_has),
    *(peers.never_valid_transactions, peers.requests_without_end, peers.who_never_reads),
    peers.hoarders,
)
ATTACKS: Final[dict[str, Attack]] = {attack.__name__: attack for attack in _ALL}
