"""Keys at rest: what opens them, what is refused, and that no secret shows itself."""

import json
import traceback
from pathlib import Path

import pytest

from node import keystore
from node.keystore import (
    COST,
    LIGHT_COST,
    KeyExists,
    KeyFileExposed,
    KeyFileInvalid,
    KeyMissing,
    KeyNameInvalid,
    Passphrase,
    PassphraseUnusable,
    PassphraseWrong,
    create_key,
    key_info,
    list_keys,
    load_key,
    read_passphrase,
)
from state.crypto import address_of, verify

WORDS = "correct horse battery"
PASSPHRASE = Passphrase(WORDS)


def test_a_key_signs_after_it_was_stored(tmp_path: Path) -> None:
    public_key = create_key(tmp_path, "validator", PASSPHRASE, LIGHT_COST)
    key = load_key(tmp_path, "validator", PASSPHRASE)
    assert key.public_key == public_key
    assert key.address == address_of(public_key) == key.account().address
    assert verify(public_key, b"d" * 32, key.sign(b"d" * 32))
    assert [info.name for info in list_keys(tmp_path)] == ["validator"]
    assert key_info(tmp_path, "validator").cost == LIGHT_COST


def test_the_default_cost_is_not_light(tmp_path: Path) -> None:
    assert COST.n * COST.r * 128 >= 2**27
    create_key(tmp_path, "one", PASSPHRASE)
    assert key_info(tmp_path, "one").cost == COST
    load_key(tmp_path, "one", PASSPHRASE)


def test_files_are_private_and_wider_ones_refused(tmp_path: Path) -> None:
    create_key(tmp_path, "one", PASSPHRASE, LIGHT_COST)
    path = tmp_path / "keys" / "one.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [other.name for other in path.parent.iterdir()] == ["one.json"]
    for mode in (0o640, 0o604, 0o610, 0o602):
        path.chmod(mode)
        with pytest.raises(KeyFileExposed, match="chmod 600"):
            load_key(tmp_path, "one", PASSPHRASE)
        with pytest.raises(KeyFileExposed):
            list_keys(tmp_path)


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_key(tmp_path, "one", PASSPHRASE, LIGHT_COST)
    path = tmp_path / "keys" / "one.json"
    before = path.read_bytes()
    with pytest.raises(KeyExists):
        create_key(tmp_path, "one", PASSPHRASE, LIGHT_COST)
    # A second process that makes the file between the check and the write does not lose it either.
    with pytest.raises(KeyExists, match="never overwritten"):
        keystore.write_secret(path, b"other")
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_another_passphrase_and_any_changed_field_are_refused(tmp_path: Path) -> None:
    create_key(tmp_path, "one", PASSPHRASE, LIGHT_COST)
    with pytest.raises(PassphraseWrong):
        load_key(tmp_path, "one", Passphrase(WORDS + "x"))
    path = tmp_path / "keys" / "one.json"
    whole = json.loads(path.read_text())
    create_key(tmp_path, "two", PASSPHRASE, LIGHT_COST)
    other = json.loads((tmp_path / "keys" / "two.json").read_text())
    changed = {name: other[name] for name in ("public_key", "address", "salt", "nonce", "sealed")}
    for name, value in {**changed, "cost": {"n": 2**13, "r": 8, "p": 1}}.items():
        path.write_text(json.dumps({**whole, name: value}))
        with pytest.raises(PassphraseWrong):
            load_key(tmp_path, "one", PASSPHRASE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2}',
        "x" * 5_000,
        pytest.param({"version": 2}, id="version"),
        pytest.param({"kdf": "none"}, id="kdf"),
        pytest.param({"cost": {"n": 2**30, "r": 8, "p": 1}}, id="memory"),
        pytest.param({"sealed": "00"}, id="short"),
        pytest.param({"more": 1}, id="unknown"),
    ],
)
def test_other_files_are_named(tmp_path: Path, text: str | dict[str, object]) -> None:
    create_key(tmp_path, "one", PASSPHRASE, LIGHT_COST)
    path = tmp_path / "keys" / "one.json"
    whole = json.loads(path.read_text())
    path.write_text(text if isinstance(text, str) else json.dumps({**whole, **text}))
    with pytest.raises(KeyFileInvalid, match=r"one\.json"):
        load_key(tmp_path, "one", PASSPHRASE)


@pytest.mark.parametrize("name", ["", "../x", "A", ".x", "x/y", "x" * 65, "x\n", "-x"])
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyNameInvalid):
        create_key(tmp_path, name, PASSPHRASE, LIGHT_COST)
    with pytest.raises(KeyNameInvalid):
        load_key(tmp_path, name, PASSPHRASE)


def test_passphrases(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_text(WORDS + "\n")
    with pytest.raises(KeyFileExposed):
        read_passphrase(path)
    path.chmod(0o600)
    create_key(tmp_path, "one", read_passphrase(path), LIGHT_COST)
    load_key(tmp_path, "one", PASSPHRASE)
    for text in ("", "\n", "x" * 2_000):
        path.write_text(text)
        with pytest.raises(keystore.KeystoreError):
            read_passphrase(path)
    with pytest.raises(PassphraseUnusable, match="no passphrase file"):
        read_passphrase(tmp_path / "none")
    with pytest.raises(PassphraseUnusable, match="shorter"):
        create_key(tmp_path, "two", Passphrase("short"), LIGHT_COST)
    with pytest.raises(KeyMissing, match="no key 'two'"):
        load_key(tmp_path, "two", PASSPHRASE)


def test_no_secret_shows_itself(tmp_path: Path) -> None:
    create_key(tmp_path, "one", PASSPHRASE, LIGHT_COST)
    key = load_key(tmp_path, "one", PASSPHRASE)
    seed = key._key.private_bytes_raw()
    shown = [repr(PASSPHRASE), str(PASSPHRASE), repr(key), str(key), f"{key}"]
    try:
        load_key(tmp_path, "one", Passphrase(WORDS + " staple"))
    except PassphraseWrong as error:
        shown += [repr(error), error.sentence, "".join(traceback.format_exception(error))]
    text = (tmp_path / "keys" / "one.json").read_text()
    for line in (*shown, text):
        assert WORDS not in line
        assert seed.hex() not in line
        assert repr(seed) not in line


def test_credentials_of_a_service_may_show_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd opens them to the service's user by an access list, seen as the group's bits."""
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    path.chmod(0o440)
    with pytest.raises(KeyFileExposed):
        read_passphrase(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "elsewhere"))
    with pytest.raises(KeyFileExposed):
        read_passphrase(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    read_passphrase(path)
    for mode in (0o460, 0o444):
        path.chmod(mode)
        with pytest.raises(KeyFileExposed):
            read_passphrase(path)
