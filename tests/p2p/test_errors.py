"""Codes are stable and unique, and only what the peer's own key sealed is provable."""

from p2p import channel, errors, handshake, wire
from p2p.errors import Breach, LocalError, NetworkError, RemoteError

assert wire and channel and handshake and errors  # their leaves are part of the tree


def leaves(kind: type[NetworkError]) -> list[type[NetworkError]]:
    below = kind.__subclasses__()
    return [kind, *[leaf for one in below for leaf in leaves(one)]]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in leaves(NetworkError)]
    assert len(set(codes)) == len(codes)
    assert all(code.startswith("p2p.") for code in codes)


def test_only_breaches_are_provable() -> None:
    provable = {kind for kind in leaves(NetworkError) if kind.is_provable}
    assert provable == set(leaves(Breach))
    assert not provable & set(leaves(LocalError))
    assert provable < set(leaves(RemoteError))


def test_an_error_says_its_sentence() -> None:
    assert LocalError("Too much.", "Send less.").sentence == "Too much. Send less."
