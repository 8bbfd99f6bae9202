"""Log lines: one an event, whole, and without secrets."""

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.devnet.process import LOG_FILE, NodeWishes, start_node
from node.home import NODE_KEY, PASSPHRASE_FILE, VALIDATOR_KEY
from node.keystore import Passphrase, load_seed, read_passphrase
from node.logs import configure

log = logging.getLogger("node.test")


@pytest.fixture(autouse=True)
def former_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def lines(form: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(level, form, stream)
    return stream


def test_json_lines_hold_fields_and_nothing_replaces_the_message() -> None:
    stream = lines("json")
    log.info("block final", extra={"height": 7, "block": b"\x01\x02", "level": "x", "time": 1})
    log.debug("quiet")
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["message"], found["level"], found["logger"]) == (
        *("block final", "info", "node.test"),
    )
    assert (found["height"], found["block"]) == (7, "0102")
    assert found["time"].endswith("Z")


def test_lines_for_people() -> None:
    stream = lines("human")
    log.warning("peer said\nno", extra={"height": 7, "reason": "it is late"})
    (line,) = stream.getvalue().splitlines()
    assert line.split(" ", 1)[1] == 'warning peer said\\nno height=7 reason="it is late"'


@pytest.mark.parametrize("form", ["json", "human"])
def test_no_secret_and_no_flood(form: str) -> None:
    stream = lines(form)
    words = "correct horse battery"
    log.error(
        "opening %s",
        Passphrase(words),
        extra={"key_passphrase": words, "value": Passphrase(words), "long": "x" * 10_000},
    )
    text = stream.getvalue()
    assert words not in text
    assert "hidden" in text
    assert len(text) < 3_000


def test_tracebacks_stay_with_their_line() -> None:
    stream = lines("json")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("stopped")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: broken" in json.loads(line)["traceback"]


ROOT = Path(__file__).resolve().parents[2]
LEVELS = ("debug", "info", "warning", "error", "exception")


def calls_of_loggers() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a module's `log` in the rooms, with its place."""
    for room in ("node", "p2p", "consensus", "state"):
        for path in sorted((ROOT / room).rglob("*.py")):
            text = path.read_text()
            if "\nlog = logging.getLogger(" not in text:
                continue
            for found in ast.walk(ast.parse(text)):
                match found:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)):
                        assert level in LEVELS
                        yield f"{path.relative_to(ROOT)}:{found.lineno}", found


def test_messages_are_constant_and_values_are_named_fields() -> None:
    places = list(calls_of_loggers())
    assert len(places) > 10
    for place, call in places:
        (message,) = call.args
        assert isinstance(message, ast.Constant), f"{place}: the message is not constant"
        assert {word.arg for word in call.keywords} <= {"extra", "exc_info"}, place
        for word in call.keywords:
            if word.arg == "extra":
                assert isinstance(word.value, ast.Dict), place
                names = [ast.literal_eval(key) for key in word.value.keys if key is not None]
                assert all(name.isidentifier() and name.islower() for name in names), place
                assert not {*names} & {"time", "level", "logger", "message"}, place


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_node_logs_objects_without_secrets(tmp_path: Path) -> None:
    home = tmp_path / "home"
    wishes = NodeWishes(funds=(), flags={"--log-format": "json", "--log-level": "debug"})
    node = await start_node(home, wishes)
    line = command_line(node.pid)
    assert await node.stop() == 0
    text = (home / LOG_FILE).read_text()
    said = [json.loads(line) for line in text.splitlines()]
    for entry in said:
        assert {"time", "level", "logger", "message"} <= {*entry}
        assert entry["level"] in LEVELS and not entry["message"].endswith(".")
    messages = {entry["message"]: entry for entry in said}
    assert {"listening", "serving", "stopped"} <= {*messages}
    assert {"rpc", "height"} <= {*messages["serving"]}
    assert {"node_id", "address"} <= {*messages["listening"]}
    passphrase = read_passphrase(home / PASSPHRASE_FILE)
    seeds = [load_seed(home, name, passphrase).hex() for name in (VALIDATOR_KEY, NODE_KEY)]
    for secret in ((home / PASSPHRASE_FILE).read_text().strip(), *seeds):
        assert secret not in text
        assert secret.encode() not in line
