"""Addresses: how operators write them, which subnet they are in, whom strangers may name."""

import pytest

from p2p.addresses import Address, BadAddress, group_of, holder_of, is_tellable, parse_target

ID = "ab" * 32


def test_a_target_is_written_as_id_host_and_port() -> None:
    target = parse_target(f"{ID}@127.0.0.2:4181")
    assert (target.node_id.hex(), target.address) == (ID, Address("127.0.0.2", 4181))
    assert parse_target(f"{ID}@[::1]:1").address == Address("::1", 1)
    assert parse_target(f"{ID}@node.example.org:9").address.host == "node.example.org"
    assert str(Address("::1", 1)) == "[::1]:1" and str(Address("1.2.3.4", 5)) == "1.2.3.4:5"


@pytest.mark.parametrize(
    "text",
    ["", ID, f"{ID}@", f"{ID}@h", f"{ID}@:1", f"{ID}@h:0", f"{ID}@h:65536", "ab@h:1", "zz@h:1"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_target(text)


@pytest.mark.parametrize(
    ("host", "group", "holder"),
    [
        ("10.1.2.3", "10.1.0.0/16", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.0.0/16", "10.1.2.3"),
        ("2001:db8:1:2:3::4", "2001:db8::/32", "2001:db8:1:2::/64"),
        ("node.example.org", "node.example.org", "node.example.org"),
    ],
)
def test_subnets_and_holders(host: str, group: str, holder: str) -> None:
    assert (group_of(host), holder_of(host)) == (group, holder)


@pytest.mark.parametrize(
    ("host", "private", "public"),
    [
        ("8.8.8.8", True, True),
        ("127.0.0.1", True, False),
        ("192.168.1.1", True, False),
        ("fe80::1", True, False),
        ("2606:4700::1", True, True),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
        ("example.org", False, False),
        ("2606:4700:0::1", False, False),  # not the one way to write it
        ("fe80::1%eth0", False, False),  # means something on one machine alone
        ("2606:4700::1%" + "\U0001f600" * 200, False, False),
    ],
)
def test_whom_strangers_may_name(host: str, private: bool, public: bool) -> None:
    address = Address(host, 1)
    assert is_tellable(address, allow_private=True) is private
    assert is_tellable(address, allow_private=False) is public
