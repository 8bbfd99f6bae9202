"""In which order one message goes out to many: whom a quorum waits for comes first.

An uplink sends one packet after the other, and a hundred proposals take their time. The votes that
complete a quorum come from the nearest two thirds of the stake, and of these the farthest are on
the way longest. Whoever is farther still is not waited for, and has the time to come last.
"""

from collections.abc import Sequence

from state.finality import is_quorum

QUORUM_SHARE = (17, 20)
"""The nearest share of the stake that goes first, a quorum at least; and more, since votes are on
the way to the next leader for as long, and who is near it may be farther from the sender."""


def fan_out(delays_us: Sequence[int], stakes: Sequence[int], sender: int) -> list[int]:
    """Return the other validators in the order in which to send to them.

    `delays_us` are from the sender to each, however they were measured; order is all they decide.
    """
    share, of = QUORUM_SHARE
    nearest = sorted(range(len(stakes)), key=lambda at: (at != sender, delays_us[at], at))
    total = sum(stakes)
    reached, first = stakes[sender], 1
    for at in nearest[1:]:
        if is_quorum(reached, total) and (reached + stakes[at]) * of > total * share:
            break
        reached, first = reached + stakes[at], first + 1
    return [*reversed(nearest[1:first]), *nearest[first:]]
