"""Wishes that cannot be had are refused before anything is founded."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.campaign import campaign


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--loopback", "--delay", "5"), "need namespaces"),
        (("--loopback", "--loss", "1"), "need namespaces"),
        (("--loopback", "--kind", "kill", "--kind", "split"), "cut off"),
        (("--kind", "explode"), "explode"),
        (("--validators", "3"), "3"),
        (("--seconds", "3600", "--rate", "1000"), "lower --seconds or --rate"),
    ],
)
def test_wishes_that_cannot_be_had_are_refused(
    tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    home = tmp_path / "net"
    done = CliRunner().invoke(campaign, [*words, "--home", str(home)])
    assert done.exit_code == 2
    assert told in done.output
    assert not home.exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "node-1").mkdir()
    (tmp_path / "node-1" / "mine").write_text("mine")
    done = CliRunner().invoke(campaign, ["--loopback", "--home", str(tmp_path)])
    assert done.exit_code == 1
    assert "home.exists" in done.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["node-1"]
