"""The codes that the operations page explains are codes that the node has."""

import re
from pathlib import Path

import node.cli.rollback
import node.cli.run
import node.cli.snapshot
import node.rpc.server
from state.errors import SaharaError

ROOT = Path(__file__).resolve().parents[2]


def leaves(kind: type[SaharaError]) -> set[type[SaharaError]]:
    return {kind}.union(*[leaves(below) for below in kind.__subclasses__()])


def test_what_the_operations_page_says_of_codes() -> None:
    assert node.cli.run and node.rpc.server  # whatever can keep a node from starting is imported
    assert node.cli.rollback and node.cli.snapshot  # and what else works on a home
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page[page.index("## When it will not start") :]
    rows = [row for row in table.splitlines() if row.startswith("| `")]
    told = {code for row in rows for code in re.findall(r"`([a-z]+\.[a-z_]+)`", row.split("|")[1])}
    known = {kind.code for kind in leaves(SaharaError)}
    assert len(told) >= 18
    assert told <= known, told - known
    families = ("guard.", "storage.", "snapshot.")
    abstract = {"guard.error", "storage.error", "snapshot.error"}
    elsewhere = {"guard.exists", "guard.refused", "storage.exists", "storage.missing"}
    assert {code for code in known if code.startswith(families)} - told == abstract | elsewhere
