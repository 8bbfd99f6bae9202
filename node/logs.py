"""The node's logs: one line an event, for people or as JSON, with named fields and no secrets.

Whoever logs gives a constant message and passes values as `extra={...}`; the formatter writes them
behind the message, or as members of the JSON object.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

SECRET_WORDS = ("passphrase", "password", "secret", "seed", "private")
"""A field whose name holds one of these is written as `hidden`."""

HIDDEN = "hidden"
FIELD_LENGTH_MAX = 2_000
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send every message of at least `level` to `stream`, stderr unless given, in one form."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if form == "json" else HumanFormatter())
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was passed as `extra`, secrets hidden and values fit to be written."""
    return {
        name: HIDDEN if any(word in name.lower() for word in SECRET_WORDS) else _plain(value)
        for name, value in vars(record).items()
        if name not in _STANDARD
    }


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= FIELD_LENGTH_MAX else text[:FIELD_LENGTH_MAX] + "..."


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a field never replaces one of the first four members."""
        line = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line = {**fields_of(record), **line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class HumanFormatter(logging.Formatter):
    """Time, level, message and fields on one line; a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; line breaks inside it are shown as escapes."""
        fields = [f"{name}={_quoted(value)}" for name, value in fields_of(record).items()]
        words = [
            _time(record).strftime("%H:%M:%S.%f")[:-3],
            f"{record.levelname.lower():<7}",
            _one_line(record.getMessage()),
            *fields,
        ]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _quoted(value: object) -> str:
    text = _one_line(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
