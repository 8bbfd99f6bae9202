"""The node's configuration: one frozen value, made once, from four sources.

Defaults < the home's config.toml < environment variables SAHARA_* < flags. A setting has one name
everywhere: `rpc_port` in the file, SAHARA_RPC_PORT in the environment, --rpc-port on the command
line. What is unknown or of a wrong type is an error that names the setting and where it stands.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from node.errors import ConfigInvalid
from node.history_settings import HistorySettings
from node.network_settings import LIST_PATTERN, listed

CONFIG_FILE = "config.toml"
ENVIRONMENT_PREFIX = "SAHARA_"
OTHER_VARIABLES = ("SAHARA_PURE_PYTHON", "SAHARA_HOME", "SAHARA_NODE")
"""Variables of this prefix that are no settings of the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig(HistorySettings):
    """Every setting of a node, valid by construction; network and history are inherited."""

    home: Path
    """The folder that holds everything of this node."""

    rpc_host: Annotated[
        str,
        Meta(min_length=1, max_length=255, description="The address that JSON-RPC listens on."),
    ] = "127.0.0.1"
    rpc_port: Annotated[
        int, Meta(ge=0, le=65_535, description="The port of JSON-RPC; 0 takes a free one.")
    ] = 4180
    rpc_unsafe: Annotated[
        bool, Meta(description="Let callers beyond loopback use unsafe methods and /metrics.")
    ] = False
    rpc_requests_per_second: Annotated[
        int, Meta(ge=1, le=10**6, description="Sustained rate of one address beyond loopback.")
    ] = 500
    rpc_hosts: Annotated[
        str,
        Meta(
            pattern=LIST_PATTERN,
            description="Names that Host may carry besides loopback's own, with commas between.",
        ),
    ] = ""
    rpc_origins: Annotated[
        str,
        Meta(
            pattern=LIST_PATTERN,
            description="Origins of web pages that may call, with commas between.",
        ),
    ] = ""
    block_interval_ms_min: Annotated[
        int, Meta(ge=0, le=3_600_000, description="Between blocks while transactions wait.")
    ] = 100
    idle_interval_ms: Annotated[
        int, Meta(ge=0, le=3_600_000, description="Between blocks while none wait.")
    ] = 1_000
    timeouts: Annotated[
        Literal["mainnet", "devnet"],
        Meta(description="How long messages may take: 1 s on the mainnet, 200 ms on a devnet."),
    ] = "mainnet"
    invariants_every_blocks: Annotated[
        int, Meta(ge=1, le=10**6, description="How often all invariants are checked.")
    ] = 100
    mempool_transactions_max: Annotated[
        int, Meta(ge=1, le=10**6, description="Transactions that wait at most.")
    ] = 100_000
    mempool_bytes_max: Annotated[
        int, Meta(ge=2**20, le=2**32, description="Bytes of transactions that wait at most.")
    ] = 2**27
    mempool_per_sender_max: Annotated[
        int, Meta(ge=1, le=256, description="Transactions of one account that wait at most.")
    ] = 64
    key_name: Annotated[
        str,
        Meta(
            pattern=r"^([a-z0-9][a-z0-9_-]{0,63})?(?!\n)$",
            description="The key that signs this node's votes; empty: it only follows.",
        ),
    ] = "validator"
    passphrase_file: Annotated[
        Path | None, Meta(description="The file with the key's passphrase; else it is asked for.")
    ] = None
    vote_after_loss: Annotated[
        str,
        Meta(
            pattern=r"^(\d{1,18}:\d{1,18})?(?!\n)$",
            description="EPOCH:VIEW above all votes ever sent, once, after the guard was lost.",
        ),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least important messages that are logged."),
    ] = "info"
    log_format: Annotated[
        Literal["human", "json"], Meta(description="Logs for people or, as JSON lines, machines.")
    ] = "human"

    def __post_init__(self) -> None:
        """Hold the relations between settings; raises ConfigInvalid."""
        self.check_network()
        if self.block_interval_ms_min > self.idle_interval_ms:
            raise ConfigInvalid(
                f"block_interval_ms_min is {self.block_interval_ms_min} and idle_interval_ms "
                f"{self.idle_interval_ms}; blocks with transactions may not be slower than empty "
                "ones."
            )

    @property
    def loss_round(self) -> tuple[int, int] | None:
        """The round of vote_after_loss: votes are signed above it."""
        if not self.vote_after_loss:
            return None
        epoch, view = self.vote_after_loss.split(":")
        return int(epoch), int(view)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of rpc_hosts."""
        return listed(self.rpc_hosts)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of rpc_origins."""
        return listed(self.rpc_origins)


_KINDS: dict[str, Any] = get_type_hints(NodeConfig, include_extras=True)
SETTINGS: dict[str, Field[Any]] = {
    field.name: field for field in fields(NodeConfig) if field.name != "home"
}
"""Every setting by name, in the order of the class."""


def load_config(
    home: Path, *, environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] = {}
) -> NodeConfig:
    """Return the configuration of the node in `home`; raises ConfigInvalid.

    Flags that are None were not given. Relative paths in the file start at the home.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    values.update(_from_file(home / CONFIG_FILE))
    values.update(_from_environment(environment))
    for name, value in flags.items():
        if value is not None:
            values[name] = _setting(name, value, f"the flag {flag_of(name)}", strict=False)
    return NodeConfig(home=home, **values)


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def bare_type(name: str) -> Any:
    """Return the type of a setting without its bounds."""
    return get_args(_KINDS[name])[0]


def meaning_of(name: str) -> str:
    """Return what a setting means, as one sentence."""
    return str(get_args(_KINDS[name])[1].description)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} is no TOML: {error}; correct that line.") from error
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read ({error.strerror}).") from error
    values = {}
    for name, value in table.items():
        values[name] = _setting(name, value, str(path), strict=True)
        if isinstance(values[name], Path):
            values[name] = path.parent / values[name]
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable in sorted(environment):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in OTHER_VARIABLES:
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            where = f"the environment variable {variable}"
            values[name] = _setting(name, environment[variable], where, strict=False)
    return values


def _setting(name: str, value: object, where: str, *, strict: bool) -> Any:
    """Return the value as the setting's type; text from outside TOML is read as that type."""
    if name not in SETTINGS:
        raise ConfigInvalid(
            f"There is no setting '{name}' ({where}); remove it, or use one of: "
            f"{', '.join(SETTINGS)}."
        )
    if bare_type(name) == Path | None:
        if not isinstance(value, str | Path) or not str(value):
            raise ConfigInvalid(f"'{name}' in {where} must be a path.")
        return Path(value).expanduser()
    try:
        return msgspec.convert(value, _KINDS[name], strict=strict)
    except msgspec.ValidationError as error:
        wrong = meaning_of(name) if "regex" in str(error) else f"{error}."
        raise ConfigInvalid(f"'{name}' in {where} does not fit: {wrong}") from error
