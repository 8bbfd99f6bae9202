"""The README's map names every file of the rooms, in the words of the file's own first sentence.

`python tests/test_layout.py` writes the map anew; the test only compares.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FOLDERS = ("cython_ext", "state", "consensus", "p2p", "node", "bench", "fuzz", "docs")
SUFFIXES = (".py", ".pyx", ".pxd", ".md")
NAME_WIDTH = 36
BLOCK = re.compile(r"(^## Map\n.*?^```\w*\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)
WRITE = "python tests/test_layout.py"


def first_sentence(path: Path) -> str:
    """What a file says it is: a docstring, a leading comment, or the title of a page."""
    text = path.read_text()
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    elif path.suffix == ".pyx":
        text = text.split('"""')[1]
    paragraph = text.strip().split("\n\n")[0].splitlines()
    if path.suffix == ".md":
        paragraph = paragraph[:1]  # the title, without the date below it
    said = " ".join(line.lstrip("# ").strip() for line in paragraph)
    return re.split(r"(?<=[.])\s", said)[0].rstrip(".")


def tree() -> str:
    """The map of the files that are there, one a line, a blank line between rooms."""
    rooms = []
    for folder in FOLDERS:
        paths = [path for path in (ROOT / folder).rglob("*.*") if path.suffix in SUFFIXES]
        names = {path.relative_to(ROOT).as_posix(): path for path in paths}
        order = sorted(names, key=lambda name: (name.count("/"), name.replace("__init__", "")))
        rooms.append([f"{name:<{NAME_WIDTH}}  {first_sentence(names[name])}" for name in order])
    return "\n\n".join("\n".join(lines) for lines in rooms if lines) + "\n"


def mapped(readme: str) -> str:
    """The map as the README has it; nothing when it has none."""
    found = BLOCK.search(readme)
    return found[2] if found else ""


def rewritten(readme: str, block: str) -> str:
    """The README with this map under its heading, which is appended when it is not there yet."""
    if not BLOCK.search(readme):
        readme = readme.rstrip("\n") + "\n\n## Map\n```\n```\n"
    return BLOCK.sub(lambda found: found[1] + block + found[3], readme)


def test_the_map_is_the_tree() -> None:
    there, told = tree().splitlines(), mapped(README.read_text()).splitlines()
    missing = [f"+ {line}" for line in there if line not in told]
    stale = [f"- {line}" for line in told if line not in there]
    changes = "\n".join([*stale, *missing])
    assert there == told, f"\nREADME's map is not the tree; write it with `{WRITE}`:\n{changes}"


def test_every_file_says_what_it_is() -> None:
    mute = [line for line in tree().splitlines() if line and not line.partition("  ")[2].strip()]
    assert not mute


def test_a_map_is_written_once_and_kept_apart_from_the_rest() -> None:
    once = rewritten("# Title\n\nText.\n", "a.py  A file\n")
    assert once == "# Title\n\nText.\n\n## Map\n```\na.py  A file\n```\n"
    twice = rewritten(once + "\n## More\n```\ncode\n```\n", "b.py  Another\n")
    assert mapped(twice) == "b.py  Another\n"
    assert twice.endswith("\n## More\n```\ncode\n```\n")


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text(), tree()))
