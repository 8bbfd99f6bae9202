"""Peers and places as settings: what they mean, and what is said about wrong ones."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import NodeConfig
from node.errors import ConfigInvalid
from p2p.addresses import Address, Target

ONE, TWO = "1" * 64, "2" * 64


def settings(**changes: Any) -> NodeConfig:
    return NodeConfig(home=Path(), **changes)


def test_what_lists_mean() -> None:
    found = settings(
        p2p_external_address="[2001:db8::7]:4181",
        p2p_persistent_peers=f"{ONE}@box.example:4181, {TWO}@[2001:db8::1]:9,",
        p2p_private_peers=ONE,
        p2p_unconditional_peers=f"{ONE},{TWO},{TWO}",
    )
    one, two = bytes.fromhex(ONE), bytes.fromhex(TWO)
    assert found.external_address == Address("2001:db8::7", 4181)
    assert found.persistent_peers == (
        Target(one, Address("box.example", 4181)),
        Target(two, Address("2001:db8::1", 9)),
    )
    assert found.private_ids == {one}
    assert found.unconditional_ids == {one, two}
    assert settings().external_address is None
    assert settings().persistent_peers == ()
    started = found.network_settings(joins_mesh=True)
    assert (started.listen_host, started.listen_port) == ("127.0.0.1", 4181)
    assert (started.persistent, started.joins_mesh) == (found.persistent_peers, True)
    assert (started.private, started.unconditional) == ({one}, {one, two})
    limits = (started.inbound_max, started.outbound_max, started.per_address_max)
    assert limits == (40, 10, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"p2p_external_address": "203.0.113.7"}, "no ADDRESS:PORT"),
        ({"p2p_external_address": "203.0.113.7:0"}, "no ADDRESS:PORT"),
        ({"p2p_external_address": "203.0.113.7:65536"}, "no ADDRESS:PORT"),
        ({"p2p_external_address": "box.example:4181"}, "names are not looked up"),
        ({"p2p_persistent_peers": "box:4181"}, "write NODE_ID@HOST:PORT"),
        ({"p2p_persistent_peers": f"{ONE[1:]}@box:4181"}, "names no peer"),
        ({"p2p_persistent_peers": f"{ONE}@box:0"}, "names no peer"),
        ({"p2p_unconditional_peers": "A" * 64}, "no node id"),
        ({"p2p_persistent_peers": f"{ONE}@a:1,{ONE}@b:1"}, "twice"),
        ({"p2p_private_peers": f"{ONE}@a:1"}, "no node id"),
        ({"p2p_unconditional_peers": "x"}, "no node id"),
        ({"p2p_private_peers": ",".join(f"{n:064x}" for n in range(257))}, "256 are the most"),
        ({"p2p_inbound_max": 3, "p2p_inbound_per_address_max": 4}, "more than all"),
    ],
)
def test_wrong_ones_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said) as caught:
        settings(**changes)
    assert next(iter(changes)) in caught.value.sentence


def test_a_node_may_take_no_connections() -> None:
    assert settings(p2p_inbound_max=0).p2p_inbound_max == 0


@given(st.text(max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    for name in ("p2p_external_address", "p2p_persistent_peers", "p2p_private_peers"):
        try:
            settings(**{name: text})
        except ConfigInvalid as error:
            assert name in error.sentence
