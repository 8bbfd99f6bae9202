"""Keys at rest: Ed25519 seeds in one JSON file each, encrypted under a passphrase.

The passphrase becomes a key by scrypt, and ChaCha20-Poly1305 seals the seed together with
everything else that the file says, so that no field can be changed unseen. A passphrase comes from
a prompt or a file, never from the command line, and shows itself in no error, log or repr.

KeystoreError                  NodeError (node/errors.py)
├── KeyMissing                 keys.missing
├── KeyExists                  keys.exists
├── KeyNameInvalid             keys.bad_name
├── KeyFileInvalid             keys.bad_file
├── KeyFileExposed             keys.exposed
├── PassphraseWrong            keys.wrong_passphrase
└── PassphraseUnusable         keys.bad_passphrase
"""

import json
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Meta

from node.addresses import format_address
from node.client.accounts import Account
from node.errors import NodeError
from state import crypto
from state.types import Address, Hash, PublicKey, Signature

KEYS_FOLDER = "keys"
FILE_VERSION: Final = 1
FILE_BYTES_MAX = 4_096
SEED_BYTES = 32
SALT_BYTES = 16
NONCE_BYTES = 12
PASSPHRASE_LENGTH_MIN = 8
PASSPHRASE_BYTES_MAX = 1_024
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what a unit names under LoadCredential."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class KeystoreError(NodeError):
    """A key cannot be made, found or opened."""

    code: ClassVar[str] = "keys.error"


class KeyMissing(KeystoreError):
    """There is no key of that name."""

    code: ClassVar[str] = "keys.missing"


class KeyExists(KeystoreError):
    """There is a key of that name already, and keys are never overwritten."""

    code: ClassVar[str] = "keys.exists"


class KeyNameInvalid(KeystoreError):
    """The name cannot be the name of a key."""

    code: ClassVar[str] = "keys.bad_name"


class KeyFileInvalid(KeystoreError):
    """The file is no key file of a version that this node reads."""

    code: ClassVar[str] = "keys.bad_file"


class KeyFileExposed(KeystoreError):
    """Others than the owner may touch a file that holds a secret."""

    code: ClassVar[str] = "keys.exposed"


class PassphraseWrong(KeystoreError):
    """The passphrase does not open the key, or the file was changed."""

    code: ClassVar[str] = "keys.wrong_passphrase"


class PassphraseUnusable(KeystoreError):
    """There is no passphrase, or none that may protect a key."""

    code: ClassVar[str] = "keys.bad_passphrase"


class Passphrase:
    """A passphrase that does not show itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text or len(text.encode()) > PASSPHRASE_BYTES_MAX:
            raise PassphraseUnusable(
                f"The passphrase is empty or longer than {PASSPHRASE_BYTES_MAX} bytes; give one "
                f"of at least {PASSPHRASE_LENGTH_MIN} characters."
            )
        self._text = text

    def __repr__(self) -> str:
        """Return the type alone."""
        return "Passphrase(hidden)"

    @property
    def is_long_enough(self) -> bool:
        """Whether a new key may be protected by it."""
        return len(self._text) >= PASSPHRASE_LENGTH_MIN

    def derive(self, cost: "ScryptCost", salt: bytes) -> bytes:
        """Return the 32-byte key that scrypt makes of it; slow and memory-hungry by design."""
        scrypt = Scrypt(salt=salt, length=32, n=cost.n, r=cost.r, p=cost.p)
        return scrypt.derive(self._text.encode())


class ScryptCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cost of guessing; bounded, since a file that asks for more would only exhaust memory."""

    n: Annotated[int, Meta(ge=2**10, le=2**20)]
    r: Annotated[int, Meta(ge=1, le=16)]
    p: Annotated[int, Meta(ge=1, le=4)]


COST = ScryptCost(n=2**17, r=8, p=1)
"""128 MiB and about half a second a guess: what every key gets unless a test asks for less."""

LIGHT_COST = ScryptCost(n=2**12, r=8, p=1)
"""For tests and throw-away devnets only; the key file records that it was used."""


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key file, version 1; byte strings are lower-case hex."""

    version: Literal[1]
    public_key: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    address: Annotated[str, Meta(max_length=90)]
    kdf: Literal["scrypt"]
    cost: ScryptCost
    salt: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
    cipher: Literal["chacha20-poly1305"]
    nonce: Annotated[str, Meta(pattern=r"^[0-9a-f]{24}$")]
    sealed: Annotated[str, Meta(pattern=r"^[0-9a-f]{96}$")]

    def associated(self) -> bytes:
        """Return what the seal covers besides the seed: every field but the seal itself."""
        fields = msgspec.to_builtins(self)
        del fields["sealed"]
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What a key file tells without its passphrase."""

    name: str
    public_key: PublicKey
    address: Address
    cost: ScryptCost


class UnlockedKey:
    """A key in memory: it signs, and does not show itself."""

    __slots__ = ("_key", "address", "name", "public_key")

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.name = name
        self.public_key: PublicKey = self._key.public_key().public_bytes_raw()
        self.address: Address = crypto.address_of(self.public_key)

    def __repr__(self) -> str:
        """Return name and address."""
        return f"UnlockedKey({self.name}, {format_address(self.address)})"

    def sign(self, digest: Hash) -> Signature:
        """Return the Ed25519 signature of a 32-byte digest."""
        return self._key.sign(digest)

    def account(self) -> Account:
        """Return the key as an account that sends transactions."""
        return Account(self._key)


def create_key(home: Path, name: str, passphrase: Passphrase, cost: ScryptCost = COST) -> PublicKey:
    """Make a new key under `home`, which is made for its owner alone where it is not there yet.

    Returns the public key. Raises KeyExists, KeyNameInvalid and PassphraseUnusable; nothing is
    written then.
    """
    path = key_path(home, name)
    if path.exists():
        raise KeyExists(f"There is a key '{name}' at {path} already; choose another name.")
    if not passphrase.is_long_enough:
        raise PassphraseUnusable(
            f"The passphrase is shorter than {PASSPHRASE_LENGTH_MIN} characters; choose a longer."
        )
    seed = secrets.token_bytes(SEED_BYTES)
    key = UnlockedKey(name, seed)
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    unsealed = _KeyFile(
        version=FILE_VERSION,
        public_key=key.public_key.hex(),
        address=format_address(key.address),
        kdf="scrypt",
        cost=cost,
        salt=salt.hex(),
        cipher="chacha20-poly1305",
        nonce=nonce.hex(),
        sealed="",
    )
    cipher = ChaCha20Poly1305(passphrase.derive(cost, salt))
    sealed = cipher.encrypt(nonce, seed, unsealed.associated())
    fields = msgspec.to_builtins(msgspec.structs.replace(unsealed, sealed=sealed.hex()))
    text = json.dumps(fields, indent=2) + "\n"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)  # `mkdir` gives it to the last one only
    write_secret(path, text.encode())
    return key.public_key


def load_key(home: Path, name: str, passphrase: Passphrase) -> UnlockedKey:
    """Open a key; raises KeyMissing, KeyFileInvalid, KeyFileExposed or PassphraseWrong."""
    return UnlockedKey(name, load_seed(home, name, passphrase))


def load_seed(home: Path, name: str, passphrase: Passphrase) -> bytes:
    """Return the 32 bytes that a key is made of; raises what `load_key` raises."""
    path = key_path(home, name)
    file = _read_file(path)
    cipher = ChaCha20Poly1305(passphrase.derive(file.cost, bytes.fromhex(file.salt)))
    try:
        seed = cipher.decrypt(
            bytes.fromhex(file.nonce), bytes.fromhex(file.sealed), file.associated()
        )
    except InvalidTag as error:
        raise PassphraseWrong(
            f"The passphrase does not open {path}, or the file was changed; try again, or restore "
            "the file from a backup."
        ) from error
    if UnlockedKey(name, seed).public_key.hex() != file.public_key:
        raise KeyFileInvalid(f"{path} names another public key than it holds; restore a backup.")
    return seed


def key_info(home: Path, name: str) -> KeyInfo:
    """Return what is public of a key; raises KeyMissing, KeyFileInvalid or KeyFileExposed."""
    path = key_path(home, name)
    file = _read_file(path)
    public_key = bytes.fromhex(file.public_key)
    address = crypto.address_of(public_key)
    if format_address(address) != file.address:
        raise KeyFileInvalid(f"{path} names an address of another key; restore a backup.")
    return KeyInfo(name, public_key, address, file.cost)


def list_keys(home: Path) -> list[KeyInfo]:
    """Return what is public of every key under `home`, by name."""
    names = sorted(path.stem for path in (home / KEYS_FOLDER).glob("*.json"))
    return [key_info(home, name) for name in names]


def key_path(home: Path, name: str) -> Path:
    """Return where the key of that name lies; raises KeyNameInvalid."""
    if not _NAME.fullmatch(name):
        raise KeyNameInvalid(
            f"{name!r} cannot name a key; use 1 to 64 of a-z, 0-9, - and _, and begin with a "
            "letter or digit."
        )
    return home / KEYS_FOLDER / f"{name}.json"


def read_passphrase(path: Path) -> Passphrase:
    """Return the passphrase in a file of its owner's alone, without the line's end."""
    try:
        text = _read_private(path, PASSPHRASE_BYTES_MAX + 2).decode()
    except FileNotFoundError as error:
        raise PassphraseUnusable(f"There is no passphrase file {path}; check the path.") from error
    except UnicodeDecodeError as error:
        raise PassphraseUnusable(f"The passphrase file {path} is not UTF-8 text.") from error
    return Passphrase(text.removesuffix("\n").removesuffix("\r"))


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file for its owner alone, whole or not at all; raises KeyExists."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)  # unlike a rename, this never replaces what is there
        sync_folder(path.parent)
    except FileExistsError as error:
        raise KeyExists(f"{path} exists already and is never overwritten; move it away.") from error
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_private(path: Path, bytes_max: int) -> bytes:
    """Return a file's bytes; raises KeyFileExposed when others may touch it."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_mode & _others(path):
            raise KeyFileExposed(
                f"{path} may be touched by others than its owner (mode "
                f"{stat.S_IMODE(status.st_mode):04o}); run: chmod 600 {path}"
            )
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise KeyFileInvalid(f"{path} is larger than {bytes_max} bytes; it is no such file.")
    return data


def _others(path: Path) -> int:
    """Return the bits of a mode by which others than the owner may touch a file.

    systemd hands a service its credentials in a folder that nobody else may enter, as files that
    root owns and an access list opens to the service's user: their mode shows that as the group's.
    """
    folder = os.environ.get(CREDENTIALS_VARIABLE)
    return 0o037 if folder and path.parent == Path(folder) else 0o077


def _read_file(path: Path) -> _KeyFile:
    try:
        data = _read_private(path, FILE_BYTES_MAX)
    except FileNotFoundError as error:
        raise KeyMissing(
            f"There is no key '{path.stem}' in {path.parent}; `sahara keys list` shows those "
            "that are there."
        ) from error
    try:
        return msgspec.json.decode(data, type=_KeyFile)
    except msgspec.DecodeError as error:
        raise KeyFileInvalid(
            f"{path} is no key file of version {FILE_VERSION}: {error}; restore it from a backup."
        ) from error
