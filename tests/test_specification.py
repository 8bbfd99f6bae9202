"""Every number that a comment or a page cites is told in docs/specification.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("node", "state", "consensus", "p2p", "cython_ext", "docs", "tests", "fuzz", "bench")
PAGE = ROOT / "docs" / "specification.md"
POINTS = r"settled points? (?P<points>\d+(?:(?:, | and |, and )\d+)*)"
CITED = re.compile(
    rf"(?:(?P<page>consensus|assets|markets|architecture)(?:\.md)? )?{POINTS}"
    r"|(?P<of>consensus|assets|markets|architecture)(?:\.md)? (?P<section>C\.\d+|0a\.\d+|\d+\.\d+)"
)
ASSETS = ("state/modules/inference", "state/modules/models", "state/modules/split")


def told() -> set[tuple[str, str]]:
    """Return page and number of every row."""
    found, page = set(), ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            page, _, rest = line[3:].lower().partition(":")
            kind = "point " if "settled" in rest and page != "markets" else ""
        elif row := re.match(r"\| ([C\d][\da., C]*?(?: to [C.\d]+)?) \|", line):
            found |= {(page, kind + number) for number in _numbers(row[1])}
    return found


def _numbers(cell: str) -> Iterator[str]:
    for part in cell.split(", "):
        first, _, last = part.partition(" to ")
        if not last:
            yield first
            continue
        head, low = first[: first.rfind(".") + 1], int(first.rpartition(".")[2])
        for number in range(low, int(last.rpartition(".")[2]) + 1):
            yield f"{head}{number}"


def cited(text: str, where: str) -> Iterator[tuple[str, str]]:
    """Yield page and number of every citation in a text."""
    plain = re.sub(r"\s+(?:#\s+)?", " ", text)
    for match in CITED.finditer(plain):
        if match["points"]:
            page = match["page"] or ("assets" if where.startswith(ASSETS) else "consensus")
            for number in re.findall(r"\d+", match["points"]):
                yield page, f"point {number}"
        else:
            yield match["of"], match["section"]


def test_every_citation_is_told() -> None:
    rows, missing, seen = told(), set(), 0
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix not in (".py", ".pyx", ".md") or path in (PAGE, Path(__file__)):
                continue
            where = path.relative_to(ROOT).as_posix()
            for page, number in cited(path.read_text(), where):
                seen += 1
                if (page, number) not in rows:
                    missing.add((where, page, number))
    assert not missing
    assert seen > 200


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (
            "(consensus settled points 1 and 11)",
            {("consensus", "point 1"), ("consensus", "point 11")},
        ),
        ("settled\n    points 4, 17, 18).", {("consensus", f"point {n}") for n in (4, 17, 18)}),
        ("(consensus\n# settled point 99)", {("consensus", "point 99")}),
        ("markets 0a.16, assets C.3", {("markets", "0a.16"), ("assets", "C.3")}),
        ("consensus.md 2.11", {("consensus", "2.11")}),
    ],
)
def test_citations_are_seen(text: str, numbers: set[tuple[str, str]]) -> None:
    assert set(cited(text, "node/host.py")) == numbers
    assert not {("consensus", "point 99")} & told()
