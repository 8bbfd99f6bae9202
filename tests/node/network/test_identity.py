"""Who a node is: its key, sealed and kept; where it says it is; and the record of its validator."""

from pathlib import Path

import pytest

from node.home import NODE_KEY
from node.keystore import LIGHT_COST, KeystoreError, Passphrase, key_info, key_path
from node.network.identity import addresses_of, announcement, load_node_key
from node.network_settings import PeerSettings
from p2p.addresses import Address
from p2p.announce import is_signed
from p2p.handshake import NodeKey

PASSPHRASE = Passphrase("correct horse battery")
GENESIS = b"g" * 32
SEED = b"v" * 32


def test_the_node_key_is_made_once_and_sealed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = load_node_key(home, PASSPHRASE, LIGHT_COST)
    path = key_path(home, NODE_KEY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key_info(home, NODE_KEY).public_key == made.node_id
    assert load_node_key(home, PASSPHRASE, LIGHT_COST).node_id == made.node_id
    assert load_node_key(tmp_path / "other", PASSPHRASE, LIGHT_COST).node_id != made.node_id
    with pytest.raises(KeystoreError):
        load_node_key(home, Passphrase("wrong"), LIGHT_COST)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (PeerSettings(p2p_host="0.0.0.0", p2p_external_address="203.0.113.7:4181"), True),
        (PeerSettings(p2p_host="1.1.1.1"), True),
        (PeerSettings(p2p_host="127.0.0.3", p2p_allow_private_hosts=True), True),
        (PeerSettings(p2p_host="127.0.0.3"), False),
        (PeerSettings(p2p_host="0.0.0.0", p2p_allow_private_hosts=True), False),
        (PeerSettings(p2p_host="box.example"), False),
    ],
)
def test_a_node_tells_its_address_where_others_can_use_it(
    settings: PeerSettings, told: bool
) -> None:
    found = addresses_of(settings, 5_000)
    if not told:
        assert found == ()
    elif settings.external_address is not None:
        assert found == (Address("203.0.113.7", 4_181),), "as its operator says, port included"
    else:
        assert found == (Address(settings.p2p_host, 5_000),)


def test_an_announcement_is_signed_by_the_validator_and_by_its_node() -> None:
    key, node_key = NodeKey(SEED), NodeKey(b"n" * 32)
    address = Address("203.0.113.7", 4_181)
    record = announcement(key.node_id, key.sign, node_key, GENESIS, (address,), 77)
    said = record.announcement
    assert (said.validator_key, said.node_id) == (key.node_id, node_key.node_id)
    assert (said.addresses, said.sequence) == ((address,), 77)
    assert is_signed(record, GENESIS)
    assert not is_signed(record, b"h" * 32), "of another network"
    stranger = announcement(key.node_id, node_key.sign, node_key, GENESIS, (address,), 77)
    assert not is_signed(stranger, GENESIS), "the validator has not signed"
