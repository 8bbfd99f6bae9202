"""Log lines: one an event, whole, and without secrets."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from node.keystore import Passphrase
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
