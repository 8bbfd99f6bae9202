"""The folder of a devnet: a home for each node, and what its supervisor keeps beside them.

    node-0/ node-1/ ...   homes of nodes; each has its log in node.log
    faucet                seed of an account that is rich from genesis on, for traffic
    traffic.log           what the process that makes traffic said
    devnet.json           which processes run (node/devnet/state_file.py)
    devnet.lock           held by the supervisor
    devnet.sock           where the supervisor takes requests (node/devnet/control.py)

Node i listens for its peers on 127.0.0.(1+i) and dials from there, so that limits for one address
mean one node, as they do between machines.
"""

import secrets
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from node.client import Account
from node.devnet.errors import DevnetExists, DevnetMissing
from node.home import GENESIS_FILE, NODE_KEY, HomeWishes, create_home, create_homes
from node.keystore import key_info, key_path, write_secret
from state.genesis import Allocation
from state.types import GRAINS_PER_SAHARA

NODES_MAX = 100
"""Nodes of one devnet at most: each is a process, and has an address of 127.0.0.0/24."""

VALIDATORS_DEFAULT = 4
FAUCET_FILE = "faucet"
FAUCET_GRAINS = 4 * 10**9 * GRAINS_PER_SAHARA
FAUCET_SEED_BYTES = 32
RPC_HOST = "127.0.0.1"
RPC_PORT_FIRST = 4180
RPC_PORT_STEP = 10
P2P_PORT = 4181


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one node listens."""

    index: int
    home: Path
    rpc_port: int
    p2p_port: int

    @property
    def p2p_host(self) -> str:
        """The address at which its peers find it."""
        return p2p_host(self.index)

    @property
    def url(self) -> str:
        """Where its clients find it."""
        return f"http://{RPC_HOST}:{self.rpc_port}"

    @property
    def target(self) -> str | None:
        """How its peers' settings name it; None before it has a node key."""
        if not key_path(self.home, NODE_KEY).exists():
            return None
        node_id = key_info(self.home, NODE_KEY).public_key.hex()
        return f"{node_id}@{self.p2p_host}:{self.p2p_port}"


def p2p_host(index: int) -> str:
    """Return the address of a node for its peers."""
    return f"127.0.0.{1 + index}"


def node_home(folder: Path, index: int) -> Path:
    """Return the home of a node of the devnet in `folder`."""
    return folder / f"node-{index}"


def homes_in(folder: Path) -> list[Path]:
    """Return the homes of a devnet by index; raises DevnetMissing when there is none."""
    homes: list[Path] = []
    while (home := node_home(folder, len(homes))).joinpath(GENESIS_FILE).is_file():
        homes.append(home)
    if not homes or not (folder / FAUCET_FILE).is_file():
        raise DevnetMissing(
            f"There is no devnet in {folder}; found and run one with: "
            f"sahara devnet --home {quote(str(folder))}"
        )
    return homes


def found(folder: Path, validators: int, time_ms: int) -> None:
    """Found a devnet with so many validators, whole or not at all; raises DevnetExists."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DevnetExists(
            f"{folder} holds something else than a devnet; choose another folder with --home."
        )
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    try:
        draft.mkdir(mode=0o700, parents=True)
        seed = secrets.token_bytes(FAUCET_SEED_BYTES)
        write_secret(draft / FAUCET_FILE, f"{seed.hex()}\n".encode())
        funds = (Allocation(Account.from_seed(seed).address, FAUCET_GRAINS),)
        homes = [node_home(draft, index) for index in range(validators)]
        create_homes(homes, HomeWishes(time_ms=time_ms, funds=funds))
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def add_home(folder: Path, time_ms: int) -> Path:
    """Make the home of one more node, which follows the network, and return it."""
    homes = homes_in(folder)
    home = node_home(folder, len(homes))
    wishes = HomeWishes(profile="full", time_ms=time_ms, genesis=homes[0] / GENESIS_FILE)
    create_home(home, wishes)
    return home


def remove(folder: Path) -> None:
    """Remove a devnet with its chain; raises DevnetExists for a folder that holds none."""
    if not folder.exists():
        return
    try:
        homes_in(folder)
    except DevnetMissing as error:
        if not folder.is_dir() or any(folder.iterdir()):
            raise DevnetExists(
                f"{folder} holds something else than a devnet, and is left as it is; choose "
                "another folder with --home."
            ) from error
    shutil.rmtree(folder)


def faucet_of(folder: Path) -> Account:
    """Return the account that is rich from genesis on."""
    return Account.from_seed(bytes.fromhex((folder / FAUCET_FILE).read_text()))


def take_seat(index: int, home: Path, before: Seat | None = None) -> Seat:
    """Return where a node may listen: where it did before, at its usual ports, or at free ones."""
    rpc = [RPC_PORT_FIRST + RPC_PORT_STEP * index]
    p2p = [P2P_PORT]
    if before is not None:
        rpc.insert(0, before.rpc_port)
        p2p.insert(0, before.p2p_port)
    return Seat(index, home, free_port(RPC_HOST, rpc), free_port(p2p_host(index), p2p))


def free_port(host: str, wanted: Sequence[int]) -> int:
    """Return the first of some ports that is free, else one that the system picks."""
    for port in wanted:
        if is_free(host, port):
            return port
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Tell whether a program could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
