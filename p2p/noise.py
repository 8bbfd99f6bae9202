"""What strangers make aiohttp log, with a traceback each time: dropped, lest they fill the disk."""

import logging

from aiohttp.http_exceptions import HttpProcessingError


class _NotTheirNoise(logging.Filter):
    """Drops errors that say only that somebody spoke no HTTP, or hung up while it was served."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | ConnectionError)


def quiet_logger(name: str) -> logging.Logger:
    """Return the logger of this name, for an aiohttp server that strangers can reach."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, _NotTheirNoise) for one in logger.filters):
        logger.addFilter(_NotTheirNoise())
    return logger
