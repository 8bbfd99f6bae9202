"""A wiped validator whose operator names a round: it is judged by what block sync brings."""

import logging
from pathlib import Path

import pytest

from node import service
from node.config import NodeConfig
from p2p import NodeKey
from tests.node.sync.chains import EPOCH_BLOCKS, GENESIS, KEYS, Chain
from tests.node.test_turning import HOST, said, serving, stopped_once

HEIGHT = 3 * EPOCH_BLOCKS + 3


@pytest.mark.parametrize(("word", "stands"), [("0:1", False), ("9:1", True)])
def test_a_round_below_what_the_network_has_lets_nobody_vote(
    word: str, stands: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with serving(Chain().grow(HEIGHT), tmp_path / "shelf") as address:
        config = NodeConfig(
            home=tmp_path / "home",
            p2p_host=HOST,
            p2p_port=0,
            rpc_port=0,
            p2p_persistent_peers=address,
            vote_after_loss=word,
        )
        config.home.mkdir()
        with stopped_once(lambda: said(caplog, "sync ends")):
            assert service.run(config, GENESIS, KEYS[0], NodeKey(b"\x09" * 32)) == 0
    told = [one.code for one in said(caplog, "follows without a vote")]
    assert told == ([] if stands else ["node.round_unfit"])
