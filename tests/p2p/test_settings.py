"""Settings: who is trusted follows from the operator's lists."""

from p2p.addresses import Address, Target
from p2p.settings import NetworkSettings

A, B = b"A" * 32, b"B" * 32


def test_persistent_and_unconditional_peers_are_trusted() -> None:
    settings = NetworkSettings(
        persistent=(Target(A, Address("127.0.0.2", 5)),), unconditional=frozenset({B})
    )
    assert settings.trusted == {A, B}
    assert settings.trusted_hosts == {"127.0.0.2"}


def test_the_defaults_trust_nobody_and_listen_nowhere() -> None:
    settings = NetworkSettings()
    assert not settings.trusted and not settings.trusted_hosts
    assert settings.listen_host is None and not settings.allow_private_hosts
