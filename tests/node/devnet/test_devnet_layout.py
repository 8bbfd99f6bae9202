"""The folder of a devnet: founded whole, extended, recognised, and removed only when it is one."""

import socket
from pathlib import Path

import pytest

from node.devnet.errors import DevnetExists, DevnetMissing
from node.devnet.layout import (
    FAUCET_GRAINS,
    Seat,
    add_home,
    faucet_of,
    found,
    homes_in,
    node_home,
    remove,
    take_seat,
)
from node.home import open_home

TIME_MS = 1_700_000_000_000


def test_a_devnet_is_founded_with_a_faucet_and_takes_in_a_follower(tmp_path: Path) -> None:
    folder = tmp_path / "dn"
    found(folder, 2, TIME_MS)
    assert folder.stat().st_mode & 0o777 == 0o700
    homes = homes_in(folder)
    genesis = open_home(homes[0]).genesis()
    assert [home.name for home in homes] == ["node-0", "node-1"]
    assert len(genesis.validators) == 2
    rich = {entry.address: entry.amount for entry in genesis.allocations}
    assert rich[faucet_of(folder).address] == FAUCET_GRAINS
    added = add_home(folder, TIME_MS)
    assert homes_in(folder) == [*homes, added]
    assert open_home(added).genesis() == genesis
    targets = [take_seat(index, home).target for index, home in enumerate(homes_in(folder))]
    assert None not in targets
    assert [str(target).split("@")[1].split(":")[0] for target in targets] == [
        *("127.0.0.1", "127.0.0.2", "127.0.0.3")
    ]
    with pytest.raises(DevnetExists):
        found(folder, 2, TIME_MS)
    remove(folder)
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_neither_founded_in_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DevnetExists):
        found(tmp_path, 1, TIME_MS)
    with pytest.raises(DevnetExists):
        remove(tmp_path)
    with pytest.raises(DevnetMissing):
        homes_in(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    remove(tmp_path / "none")


def test_an_empty_folder_becomes_a_devnet(tmp_path: Path) -> None:
    found(tmp_path, 1, TIME_MS)
    assert len(homes_in(tmp_path)) == 1


def test_a_seat_stays_where_it_was_unless_somebody_took_it(tmp_path: Path) -> None:
    home = node_home(tmp_path, 40)
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.41", 0)):
        port = taken.getsockname()[1]
        seat = take_seat(40, home, Seat(40, home, port, 5))
        assert seat.rpc_port != port
        assert seat.p2p_port == 5 or seat.p2p_port > 1023
        assert seat.p2p_host == "127.0.0.41"
        assert seat.target is None
    assert take_seat(40, home, seat) == seat
