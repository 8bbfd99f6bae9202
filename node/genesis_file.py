"""Genesis documents and chain profiles as TOML, for people to read and compare.

A profile is what configs/chains/NAME holds: params.toml with the parameters that differ from their
defaults, and genesis.toml with the network's name, allocations and validators. A genesis file is
one such network in full: every parameter, written out.
"""

import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from node.addresses import ADDRESS_BYTES, format_address, parse_address
from node.errors import NodeError
from state.codec import Struct, replace
from state.crypto import address_of
from state.errors import Rejected
from state.genesis import Allocation, Genesis, GenesisValidator
from state.params import Params
from state.types import Amount, PositiveAmount, PublicKey

S = TypeVar("S", bound=Struct)

CHAINS = ("devnet", "testnet", "mainnet")
GENESIS_BYTES_MAX = 2**26


class GenesisInvalid(NodeError):
    """A genesis or profile file does not say what one must."""

    code: ClassVar[str] = "genesis.invalid"


class GenesisMissing(NodeError):
    """There is no genesis file where one was expected."""

    code: ClassVar[str] = "genesis.missing"


class Founding(Struct):
    """What the one validator of a network gets that whoever likes may found, in grains."""

    stake: PositiveAmount
    balance: Amount


@dataclass(frozen=True, slots=True)
class Profile:
    """A network as it is delivered; `founding` is there when anybody may found one of its kind."""

    chain_id: str
    time_ms: int
    params: Params
    allocations: tuple[Allocation, ...]
    validators: tuple[GenesisValidator, ...]
    founding: Founding | None

    def genesis(self) -> Genesis:
        """Return the network that the profile's own allocations and validators make."""
        return Genesis(self.chain_id, self.time_ms, self.params, self.allocations, self.validators)

    def begun(self, chain_id: str, time_ms: int) -> Genesis:
        """Return the network of this name and time, without a founder; raises GenesisInvalid."""
        terms = {"chain_id": chain_id, "time_ms": time_ms}
        kinds = get_type_hints(Genesis, include_extras=True)
        for name, value in terms.items():
            _value(kinds[name], value, name, Path("the new genesis"))
        return replace(self.genesis(), chain_id=chain_id, time_ms=time_ms)

    def founded(
        self, time_ms: int, public_keys: Sequence[PublicKey], funds: Sequence[Allocation]
    ) -> Genesis:
        """Return a new network of these validators, with `funds` besides; raises GenesisInvalid.

        Each of them gets the founding's stake and balance.
        """
        founding = self.founding
        if founding is None:
            raise GenesisInvalid(
                f"{self.chain_id} is not founded by one node; give the genesis file that its "
                "validators agreed on with --genesis."
            )
        owners = [(public_key, address_of(public_key)) for public_key in public_keys]
        balance = founding.stake + founding.balance
        own = [Allocation(account, balance) for _, account in owners]
        joined = [GenesisValidator(*owner, founding.stake) for owner in owners]
        return replace(
            self.genesis(),
            time_ms=time_ms,
            allocations=(*own, *self.allocations, *funds),
            validators=(*joined, *self.validators),
        )


def read_genesis(path: Path) -> Genesis:
    """Return the network that a genesis file founds; raises GenesisMissing or GenesisInvalid."""
    return checked(read_draft(path), str(path))


def read_draft(path: Path) -> Genesis:
    """Return what a genesis file holds that may lack validators yet; its relations are not checked.

    Raises GenesisMissing or GenesisInvalid.
    """
    table = _read(path)
    profile = _profile(table, table.pop("params", {}), path, path)
    if profile.founding is not None:
        raise GenesisInvalid(f"[founding] belongs to profiles, not to {path}; remove it.")
    return profile.genesis()


def read_struct(kind: type[S], path: Path) -> S:
    """Return the one struct that a TOML file holds; raises GenesisMissing or GenesisInvalid."""
    return _struct(kind, _read(path), kind.__name__.lower(), path)


def checked(genesis: Genesis, where: str) -> Genesis:
    """Return the genesis whose bounds and relations hold; raises GenesisInvalid."""
    try:
        msgspec.convert(msgspec.to_builtins(genesis, builtin_types=(bytes,)), Genesis)
        genesis.check()
    except (Rejected, msgspec.ValidationError) as error:
        raise GenesisInvalid(f"The genesis in {where} is refused: {error}") from error
    least = genesis.params.staking.self_bond_min
    if any(validator.stake < least for validator in genesis.validators):
        # It could sit in no set but the first two, and leave them to whoever bonds enough first.
        raise GenesisInvalid(
            f"A validator in {where} stands for less than staking.self_bond_min, {least} grains; "
            "raise its stake, or lower the minimum before others join."
        )
    return genesis


def read_profile(name: str) -> Profile:
    """Return the profile of one of the CHAINS; raises GenesisInvalid for another name."""
    if name not in CHAINS:
        raise GenesisInvalid(f"There is no chain '{name}'; choose one of {', '.join(CHAINS)}.")
    folder = configs_folder() / "chains" / name
    params = folder / "params.toml"
    genesis = folder / "genesis.toml"
    return _profile(_read(genesis), _read(params), genesis, params)


def configs_folder() -> Path:
    """Return the folder configs/ of this installation or checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "configs"
    return installed if installed.is_dir() else here.parent / "configs"


def write_genesis(genesis: Genesis) -> str:
    """Return the genesis as the text of a genesis file: `read_genesis` gives it back."""
    return "\n".join(_lines(genesis)) + "\n"


def _lines(genesis: Genesis) -> Iterator[str]:
    if genesis.validators:
        yield f"# Genesis hash: {genesis.hash.hex()}"
    yield f"chain_id = {_toml(genesis.chain_id)}"
    yield f"time_ms = {genesis.time_ms}"
    for section in Params.__struct_fields__:
        yield from ("", f"[params.{section}]")
        yield from fields_as_toml(getattr(genesis.params, section))
    for title, rows in (("allocations", genesis.allocations), ("validators", genesis.validators)):
        for row in rows:
            yield from ("", f"[[{title}]]", *fields_as_toml(row))


def fields_as_toml(row: Struct) -> Iterator[str]:
    """Yield a struct of plain values as lines of TOML, one a field."""
    yield from (f"{name} = {_toml(getattr(row, name))}" for name in row.__struct_fields__)


def _toml(value: object) -> str:
    """Return an integer, text, address, public key or a list of such as TOML."""
    if isinstance(value, tuple):
        return f"[{', '.join([_toml(item) for item in value])}]"
    if isinstance(value, bytes):
        return f'"{format_address(value) if len(value) == ADDRESS_BYTES else value.hex()}"'
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()  # JSON's strings are TOML's basic strings
    assert isinstance(value, int), "genesis holds integers, text, bytes and lists of them"
    return str(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > GENESIS_BYTES_MAX:
            raise GenesisInvalid(f"{path} is larger than {GENESIS_BYTES_MAX} bytes.")
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise GenesisMissing(f"There is no file {path}; check the path, or make a home.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GenesisInvalid(f"{path} is no TOML: {error}; correct that line.") from error
    except OSError as error:
        raise GenesisInvalid(f"{path} cannot be read ({error.strerror}).") from error


def _profile(
    table: dict[str, Any], params: dict[str, Any], path: Path, params_path: Path
) -> Profile:
    chain_id = _only(table, "chain_id", path)
    time_ms = _only(table, "time_ms", path)
    allocations = _rows(Allocation, table.pop("allocations", []), "allocations", path)
    validators = _rows(GenesisValidator, table.pop("validators", []), "validators", path)
    founding = table.pop("founding", None)
    if table:
        raise GenesisInvalid(f"There is no '{next(iter(table))}' in a genesis ({path}); remove it.")
    return Profile(
        chain_id,
        time_ms,
        _struct(Params, params, "params", params_path),
        allocations,
        validators,
        None if founding is None else _struct(Founding, founding, "founding", path),
    )


def _only(table: dict[str, Any], name: str, path: Path) -> Any:
    if name not in table:
        raise GenesisInvalid(f"There is no '{name}' in {path}; add it.")
    kind = get_type_hints(Genesis, include_extras=True)[name]
    return _value(kind, table.pop(name), name, path)


def _rows(kind: type[S], rows: object, where: str, path: Path) -> tuple[S, ...]:
    if not isinstance(rows, list):
        raise GenesisInvalid(f"'{where}' in {path} must be written as [[{where}]].")
    return tuple([_struct(kind, row, f"{where}[{at}]", path) for at, row in enumerate(rows)])


def _struct(kind: type[S], table: object, where: str, path: Path) -> S:
    """Return the struct of a table; whatever is unknown, missing or unfit is named."""
    if not isinstance(table, Mapping):
        raise GenesisInvalid(f"'{where}' in {path} must be a table.")
    names: Sequence[str] = kind.__struct_fields__
    for name in table:
        if name not in names:
            raise GenesisInvalid(
                f"There is no '{where}.{name}' ({path}); remove it, or use one of: "
                f"{', '.join(names)}."
            )
    kinds = get_type_hints(kind, include_extras=True)
    values = {
        name: _value(kinds[name], value, f"{where}.{name}", path) for name, value in table.items()
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise GenesisInvalid(f"'{where}' in {path} is not complete: {error}.") from error


def _value(kind: Any, value: object, where: str, path: Path) -> Any:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _struct(kind, value, where, path)
    try:
        if _is_bytes(kind):
            if not isinstance(value, str):
                raise GenesisInvalid(f"'{where}' in {path} must be text.")
            value = parse_address(value) if value.startswith("sah1") else bytes.fromhex(value)
        return msgspec.convert(value, kind)
    except (Rejected, msgspec.ValidationError, ValueError) as error:
        raise GenesisInvalid(f"'{where}' in {path} does not fit: {error}.") from error


def _is_bytes(kind: Any) -> bool:
    """Tell whether the type is a byte string, bounded or not."""
    if get_origin(kind) in (Union, types.UnionType):
        return any(_is_bytes(part) for part in get_args(kind))
    return bool(getattr(kind, "__origin__", kind) is bytes)
