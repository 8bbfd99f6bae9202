"""Where settings come from, which source wins, and what is said about wrong ones."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.config import SETTINGS, ConfigInvalid, NodeConfig, load_config, meaning_of
from node.genesis_file import configs_folder
from node.home import PROFILES


def write(home: Path, text: str) -> None:
    (home / "config.toml").write_text(text)


def load(home: Path, environment: dict[str, str] | None = None, **flags: Any) -> NodeConfig:
    return load_config(home, environment=environment or {}, flags=flags)


def test_each_source_wins_over_those_before_it(tmp_path: Path) -> None:
    assert load(tmp_path) == NodeConfig(home=tmp_path)
    write(tmp_path, "rpc_port = 1\nidle_interval_ms = 2000\nrpc_unsafe = true\n")
    environment = {"SAHARA_RPC_PORT": "2", "SAHARA_LOG_FORMAT": "json", "PATH": "/bin"}
    assert load(tmp_path).rpc_port == 1
    assert load(tmp_path, environment).rpc_port == 2
    found = load(tmp_path, environment, rpc_port=3, idle_interval_ms=None)
    assert found == replace(
        NodeConfig(home=tmp_path),
        rpc_port=3,
        idle_interval_ms=2_000,
        rpc_unsafe=True,
        log_format="json",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rpc_prot = 1", "no setting 'rpc_prot'"),
        ("home = 'x'", "no setting 'home'"),
        ("[rpc]\nport = 1", "no setting 'rpc'"),
        ("rpc_port = '1'", "'rpc_port'"),
        ("rpc_port = 65536", "'rpc_port'"),
        ("rpc_port = 1.0", "'rpc_port'"),
        ("rpc_port = true", "'rpc_port'"),
        ("rpc_unsafe = 1", "'rpc_unsafe'"),
        ("log_level = 'loud'", "'log_level'"),
        ("passphrase_file = 3", "'passphrase_file'"),
        ("vote_after_loss = '1-2'", "'vote_after_loss' in .* does not fit: EPOCH:VIEW above"),
        ("rpc_port = ", "no TOML"),
        ("rpc_port = 1\nrpc_port = 2", "no TOML"),
    ],
)
def test_a_wrong_file_is_named_with_the_setting(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigInvalid, match=said) as caught:
        load(tmp_path)
    assert str(tmp_path / "config.toml") in caught.value.sentence


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SAHARA_RPC_PROT", "1"),
        ("SAHARA_RPC_PORT", "x"),
        ("SAHARA_RPC_UNSAFE", "maybe"),
        ("SAHARA_PASSPHRASE_FILE", ""),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(ConfigInvalid, match=variable):
        load(tmp_path, {variable: value})


def test_variables_that_are_no_settings_pass(tmp_path: Path) -> None:
    assert load(tmp_path, {"SAHARA_PURE_PYTHON": "1"}) == NodeConfig(home=tmp_path)


def test_a_wrong_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="--rpc-port"):
        load(tmp_path, rpc_port=-1)


def test_relations_between_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="slower than empty"):
        load(tmp_path, block_interval_ms_min=2_000)


def test_types_other_than_integers(tmp_path: Path) -> None:
    write(tmp_path, "passphrase_file = 'words'\nvote_after_loss = '2:31'\n")
    found = load(tmp_path, {"SAHARA_RPC_UNSAFE": "true"})
    assert found.passphrase_file == tmp_path / "words"
    assert found.loss_round == (2, 31)
    assert found.rpc_unsafe is True
    assert load(tmp_path, passphrase_file="/x").passphrase_file == Path("/x")


def test_lists_are_written_alike_in_every_source(tmp_path: Path) -> None:
    write(tmp_path, "rpc_hosts = 'node, box,'\n")
    found = load(tmp_path, {"SAHARA_RPC_ORIGINS": "http://a,https://b.example"})
    assert (found.hosts, found.origins) == (("node", "box"), ("http://a", "https://b.example"))
    assert (NodeConfig(home=tmp_path).hosts, NodeConfig(home=tmp_path).origins) == ((), ())
    with pytest.raises(ConfigInvalid, match="'rpc_hosts' in the flag --rpc-hosts"):
        load(tmp_path, rpc_hosts="a\nb")


def test_every_setting_has_a_default_and_a_meaning() -> None:
    assert "home" not in SETTINGS
    NodeConfig(home=Path())
    assert all(meaning_of(name).endswith(".") for name in SETTINGS)


PROFILE_CHANGES: dict[str, dict[str, Any]] = {
    "devnet": {
        "timeouts": "devnet",
        "invariants_every_blocks": 100,
        "p2p_inbound_per_address_max": 40,
        "p2p_allow_private_hosts": True,
        "mempool_per_sender_max": 256,
        "snapshot_every_blocks": 200,
        "state_sync": True,
    },
    "testnet": {
        "p2p_host": "0.0.0.0",
        "timeouts": "devnet",
        "blocks_kept": 100_000,
        "snapshot_every_blocks": 5_000,
        "state_sync": True,
    },
    "validator": {
        "p2p_host": "0.0.0.0",
        "blocks_kept": 100_000,
        "snapshot_every_blocks": 10_000,
        "state_sync": True,
    },
    "full": {
        "p2p_host": "0.0.0.0",
        "p2p_inbound_max": 100,
        "key_name": "",
        "blocks_kept": 500_000,
        "snapshot_every_blocks": 10_000,
        "state_sync": True,
    },
    "archive": {
        "p2p_host": "0.0.0.0",
        "p2p_inbound_max": 100,
        "key_name": "",
        "snapshot_every_blocks": 10_000,
    },
}
"""How each profile differs from the defaults; nothing else may."""


@pytest.mark.parametrize("profile", PROFILES)
def test_the_files_that_homes_start_with(tmp_path: Path, profile: str) -> None:
    """They hold every setting that has a use in a file, in order, and each line says what it is."""
    text = (configs_folder() / "node" / f"{profile}.toml").read_text()
    write(tmp_path, text)
    assert load(tmp_path) == replace(NodeConfig(home=tmp_path), **PROFILE_CHANGES[profile])
    assert {*tomllib.loads(text)} == {*SETTINGS} - {"passphrase_file", "vote_after_loss"}
    plain = {"rpc_port", "p2p_port", "mempool_transactions_max", "mempool_bytes_max"}
    for line in text.splitlines():
        name, separator, value = line.partition(" = ")
        assert not separator or name in plain or line.startswith("#") or " # " in value, line
    assert all(len(line) <= 100 for line in text.splitlines())


def test_no_profile_is_forgotten() -> None:
    names = {path.stem for path in (configs_folder() / "node").glob("*")}
    assert names == {*PROFILES} == {*PROFILE_CHANGES}
