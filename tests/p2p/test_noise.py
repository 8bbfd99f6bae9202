"""What is logged of strangers: nothing; of bugs: everything."""

import logging

import pytest
from aiohttp.http_exceptions import BadStatusLine

from p2p.noise import quiet_logger


def test_strangers_are_not_worth_a_line_and_bugs_are(caplog: pytest.LogCaptureFixture) -> None:
    logger = quiet_logger("test.noise")
    for error in (BadStatusLine("x"), ConnectionResetError(), KeyError("bug")):
        logger.error("Error handling request", exc_info=error)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]
    quiet_logger("test.noise")
    assert len(logging.getLogger("test.noise").filters) == 1
