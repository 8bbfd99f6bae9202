"""The house rules as tests: who may import whom, what a room may not contain, how large is large.

Every rule is a function from one file to its complaints; `test_each_rule_bites` feeds each of them
code that breaks it, so that a rule which has gone blind is a red test.
"""

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("cython_ext", "state", "consensus", "p2p", "node")
FILE_LINES_MAX = 500
FILE_LINES_MEDIAN_MAX = 180
FUNCTION_LINES_MAX = 70
INIT_LINES_MAX = 40
LINE_MAX = 100

MAY_IMPORT = {
    "cython_ext": {"cython_ext"},
    "state": {"cython_ext", "state"},
    "consensus": {"cython_ext", "consensus"}
    | {f"state.{name}" for name in ("types", "codec", "crypto", "errors", "finality")},
    "p2p": {"cython_ext", "p2p"},
    "node": set(ROOMS),
}
CLOCKS_AND_CHANCE = {"asyncio", "aiohttp", "time", "random", "logging"}
OUTSIDE = {
    *("os", "socket", "threading", "datetime", "secrets", "pathlib", "io", "subprocess", "shutil"),
    *("tempfile", "multiprocessing", "concurrent", "uuid", "sqlite3", "http", "urllib", "select"),
}
BANNED_MODULES = {
    "cython_ext": CLOCKS_AND_CHANCE,
    "state": CLOCKS_AND_CHANCE | OUTSIDE,
    "consensus": CLOCKS_AND_CHANCE | OUTSIDE,
}
PURE_ROOMS = ("state", "consensus")
PURE_THIRD_PARTIES = {"msgspec", "msgpack"}
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:work|tmp|home|root|Users)(?:/|\b)")
LEFTOVER = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|type: *ignore|\bnoqa\b|pylint:|mypy:|fmt: *off")


@dataclass(frozen=True)
class Source:
    """One file of the project, by its path from the root."""

    path: str
    text: str

    @property
    def room(self) -> str:
        """The folder at the top: a room, tests, bench or fuzz."""
        return self.path.split("/")[0]

    @property
    def is_python(self) -> bool:
        """Whether the file parses as Python; the others are Cython."""
        return self.path.endswith(".py")

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the syntax tree; none for Cython."""
        return list(ast.walk(ast.parse(self.text))) if self.is_python else []

    def of(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        """The nodes of these kinds."""
        return (node for node in self.nodes if isinstance(node, kinds))


Rule = Callable[[Source], Iterator[str]]


def sources() -> list[Source]:
    """All Python and Cython of the project, generated files excepted."""
    folders = [*ROOMS, "tests", "bench", "fuzz"]
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.p*"))]
    paths = [*paths, ROOT / "setup.py"]
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text())
        for path in paths
        if path.suffix in (".py", ".pyx", ".pxd")
    ]


# --- who imports whom -----------------------------------------------------------------------------


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, those inside functions and under `if` included."""
    if not source.is_python:
        pattern = re.compile(
            r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE
        )
        for match in pattern.finditer(source.text):
            yield source.text.count("\n", 0, match.start()) + 1, match[1] or match[2]
    package = source.path.split("/")[:-1]
    for node in source.of(ast.Import, ast.ImportFrom):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            deep = module in ROOMS  # `from state import codec` imports state.codec
            yield from (
                (node.lineno, f"{module}.{alias.name}" if deep else module) for alias in node.names
            )


def import_law(source: Source) -> Iterator[str]:
    """A room imports of ours only what the law of the house allows it."""
    allowed = MAY_IMPORT.get(source.room)
    for line, name in imports(source):
        ours = name.split(".")[0] in ROOMS
        prefixes = {".".join(name.split(".")[:size]) for size in range(1, name.count(".") + 2)}
        if allowed is not None and ours and not prefixes & allowed:
            yield f"{source.path}:{line}: {source.room} may not import {name}"
        if allowed is not None and name.split(".")[0] in ("tests", "bench", "fuzz"):
            yield f"{source.path}:{line}: {source.room} may not import {name}"


def banned_modules(source: Source) -> Iterator[str]:
    """Clocks, chance, files and sockets stay out of the rooms that must not know them."""
    for line, name in imports(source):
        top = name.split(".")[0]
        foreign = top not in sys.stdlib_module_names and top not in ROOMS
        if top in BANNED_MODULES.get(source.room, ()):
            yield f"{source.path}:{line}: {source.room} may not import {name}"
        elif source.room in PURE_ROOMS and foreign and top not in PURE_THIRD_PARTIES:
            yield f"{source.path}:{line}: {source.room} takes no third party but msgspec: {name}"


def dynamic_code(source: Source) -> Iterator[str]:
    """Outside node/, nothing is imported, evaluated, printed or opened behind the law's back."""
    banned = {"__import__", "import_module", "eval", "exec", "print", "open", "input"}
    for node in source.of(ast.Call):
        if source.room in ROOMS and source.room != "node":
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in banned and not (name == "open" and isinstance(node.func, ast.Attribute)):
                yield f"{source.path}:{node.lineno}: {name}() has no place in {source.room}"


# --- what must not be in a pure room --------------------------------------------------------------


def pure_arithmetic(source: Source) -> Iterator[str]:
    """No float and no `/` in state and consensus: rounding is named, in state/maths.py."""
    if source.room not in PURE_ROOMS:
        return
    for node in source.nodes:
        at = f"{source.path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield f"{at}: float literal {node.value}"
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield f"{at}: `/` divides into a float; use the named roundings of state/maths.py"
        if isinstance(node, ast.Name) and node.id in ("float", "complex"):
            yield f"{at}: {node.id}"


def pure_control(source: Source) -> Iterator[str]:
    """No async in state and consensus, and nothing whose answer differs from process to process."""
    if source.room not in PURE_ROOMS:
        return
    asynchronous = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    for node in source.nodes:
        at = f"{source.path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, asynchronous) or (
            isinstance(node, ast.comprehension) and node.is_async
        ):
            yield f"{at}: async"
        if _called(node) in ("hash", "id"):
            yield f"{at}: {_called(node)}() differs from process to process"


def _called(node: ast.AST) -> str:
    """The plain name that this node calls with an argument, or nothing."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=[_, *_]):
            return name
    return ""


def set_order(source: Source) -> Iterator[str]:
    """No iteration over a set in state and consensus: its order is nobody's promise."""
    if source.room not in PURE_ROOMS:
        return
    fields = {name for node in source.nodes for name in _set_fields(node)}
    module, *functions = source.of(ast.Module, ast.FunctionDef)
    shared = {name for node in module.body for name in _set_names(node)}
    lines = set()
    for scope in (module, *functions):
        inner = scope is not module
        names = shared | {name for node in ast.walk(scope) if inner for name in _set_names(node)}
        found = [one for node in ast.walk(scope) for one in _iterated(node)]
        lines |= {one.lineno for one in found if _is_set(one, names, fields)}
    for line in sorted(lines):
        yield f"{source.path}:{line}: iterates over a set; sort it first"


def _set_names(node: ast.AST) -> Iterator[str]:
    """The names that this statement or argument binds to a set."""
    annotation = getattr(node, "annotation", None)
    if annotation is not None and re.match(r"(frozen)?set\b", ast.unparse(annotation)):
        yield node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
    if isinstance(node, ast.Assign) and _is_set(node.value):
        yield from (ast.unparse(target) for target in node.targets)


def _set_fields(node: ast.AST) -> Iterator[str]:
    """The attributes that a class declares, or a method assigns, as sets."""
    if isinstance(node, ast.ClassDef):
        yield from (name for statement in node.body for name in _set_names(statement))
    yield from (name.split(".")[-1] for name in _set_names(node) if "." in name)


def _is_set(node: ast.expr, names: Collection[str] = (), fields: Collection[str] = ()) -> bool:
    """Whether this expression is, by its looks, a set."""
    match node:
        case ast.Call(func=ast.Name(id="set" | "frozenset")) | ast.Set() | ast.SetComp():
            return True
        case ast.Name(id=name):
            return name in names
        case ast.Attribute(attr=name):
            return name in fields
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() | ast.BitXor() | ast.Sub()):
            is_keys = isinstance(left, ast.Call) and ast.unparse(left.func).endswith(".keys")
            return is_keys or _is_set(left, names, fields)
    return False


def _iterated(node: ast.AST) -> Iterator[ast.expr]:
    """What this node walks through in order."""
    if isinstance(node, ast.For | ast.comprehension):
        yield node.iter
    if isinstance(node, ast.Starred):
        yield node.value
    if _called(node) in ("list", "tuple", "enumerate", "iter", "zip", "map", "dict"):
        yield from node.args
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("join", "extend"):
        yield from node.args


# --- leftovers and swallowed errors ---------------------------------------------------------------


def leftovers(source: Source) -> Iterator[str]:
    """No note to self, no switched-off check, no stub."""
    for line, text in _comments(source):
        if found := LEFTOVER.search(text):
            yield f"{source.path}:{line}: {found[0]}"
    for node in source.of(ast.Name, ast.Attribute):
        name = getattr(node, "id", getattr(node, "attr", ""))
        pytest_call = isinstance(node, ast.Attribute) and ast.unparse(node).startswith("pytest.")
        if name == "NotImplementedError":
            yield f"{source.path}:{getattr(node, 'lineno', 0)}: {name}"
        if pytest_call and name in ("skip", "skipif", "xfail", "importorskip"):
            yield f"{source.path}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}"


def _comments(source: Source) -> Iterator[tuple[int, str]]:
    if not source.is_python:
        yield from enumerate(source.text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def machine_paths(source: Source) -> Iterator[str]:
    """No path of the machine on which the file was written."""
    strings = [
        (node.lineno, node.value) for node in source.of(ast.Constant) if isinstance(node.value, str)
    ]
    for line, text in (*strings, *_comments(source)):
        if found := MACHINE_PATH.search(text):
            yield f"{source.path}:{line}: machine path {found[0]}"


def swallowed(source: Source) -> Iterator[str]:
    """No bare except, no handler that does nothing."""
    for node in source.of(ast.ExceptHandler):
        at = f"{source.path}:{node.lineno}"
        if node.type is None:
            yield f"{at}: bare except"
        if all(isinstance(step, ast.Pass) or _is_ellipsis(step) for step in node.body):
            yield f"{at}: the error is swallowed; handle it, or say what its absence means"
    for node in source.of(ast.Call):
        kinds = {ast.unparse(kind) for kind in node.args}
        if ast.unparse(node.func).endswith("suppress") and kinds & {"Exception", "BaseException"}:
            yield f"{source.path}:{node.lineno}: suppress() of everything"


def _is_ellipsis(step: ast.stmt) -> bool:
    return isinstance(step, ast.Expr) and ast.unparse(step) == "..."


def broad_handlers(source: Source) -> Iterator[str]:
    """Every `except Exception`; the house has room for one, the supervisor of node's tasks."""
    for node in source.of(ast.ExceptHandler):
        if node.type is not None:
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            if caught & {"Exception", "BaseException"}:
                yield f"{source.path}:{node.lineno}: except {ast.unparse(node.type)}"


# --- size and words -------------------------------------------------------------------------------


def sizes(source: Source) -> Iterator[str]:
    """Files, functions and lines that a reader can hold."""
    lines = source.text.splitlines()
    is_init = source.path.endswith("__init__.py")
    limit = INIT_LINES_MAX if is_init and source.path.count("/") == 1 else FILE_LINES_MAX
    if len(lines) > limit:
        yield f"{source.path}: {len(lines)} lines, at most {limit}"
    for at, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            yield f"{source.path}:{at}: {len(line)} columns, at most {LINE_MAX}"
    for line, name, size in functions(source):
        if size > FUNCTION_LINES_MAX:
            yield f"{source.path}:{line}: {name} has {size} lines, at most {FUNCTION_LINES_MAX}"


def functions(source: Source) -> Iterator[tuple[int, str, int]]:
    """First line, name and number of lines of every function."""
    for node in source.of(ast.FunctionDef, ast.AsyncFunctionDef):
        yield node.lineno, node.name, node.end_lineno - node.lineno + 1
    if not source.is_python:
        starts = list(re.finditer(r"^ *c?p?def\b[^\n=]*?(\w+)\(", source.text, re.MULTILINE))
        lines = source.text.splitlines()
        for start in starts:
            first = source.text.count("\n", 0, start.start())
            indent = len(lines[first]) - len(lines[first].lstrip())
            last = first
            for at in range(first + 1, len(lines)):
                text = lines[at].strip()
                if text and not text.startswith(")"):
                    if len(lines[at]) - len(lines[at].lstrip()) <= indent:
                        break
                    last = at
            yield first + 1, start[1], last - first + 1


def docstrings(source: Source) -> Iterator[str]:
    """Every module says what it is for, every public name of a room what it does."""
    if not source.is_python:
        if source.path.endswith(".pyx") and not source.text.startswith('"""'):
            yield f"{source.path}:1: module without docstring"
        for match in re.finditer(
            r'^def ([a-z]\w*)\([^"]*?\):\n(?! *""")', source.text, re.MULTILINE
        ):
            yield f"{source.path}: {match[1]} without docstring"
        return
    module = ast.parse(source.text)
    if ast.get_docstring(module) is None:
        yield f"{source.path}:1: module without docstring"
    if source.room not in ("tests", "setup.py"):
        yield from _undocumented(source.path, module)


def _undocumented(path: str, scope: ast.Module | ast.ClassDef) -> Iterator[str]:
    for node in scope.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            overload = any("overload" in ast.unparse(mark) for mark in node.decorator_list)
            if node.name.startswith("_") or overload:
                continue
            if ast.get_docstring(node) is None:
                yield f"{path}:{node.lineno}: {node.name} without docstring"
            if isinstance(node, ast.ClassDef):
                yield from _undocumented(path, node)


RULES: list[Rule] = [
    *(import_law, banned_modules, dynamic_code, pure_arithmetic, pure_control, set_order),
    *(leftovers, machine_paths, swallowed, sizes, docstrings),
]
ALL = sources()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule) -> None:
    complaints = [complaint for source in ALL for complaint in rule(source)]
    assert not complaints, "\n" + "\n".join(complaints)


def test_one_place_at_most_catches_everything() -> None:
    found = [text for source in ALL if source.room != "tests" for text in broad_handlers(source)]
    assert len(found) <= 1, found
    assert all(text.startswith("node/") for text in found), found


def test_the_median_file_is_short() -> None:
    lengths = [source.text.count("\n") for source in ALL if source.room in ROOMS]
    assert statistics.median(lengths) <= FILE_LINES_MEDIAN_MAX


def test_tests_are_folders_not_packages() -> None:
    """tests/state/__init__.py would shadow the room of that name."""
    assert not [source.path for source in ALL if re.match(r"tests/.*__init__", source.path)]


def test_every_room_is_seen() -> None:
    assert {source.room for source in ALL} >= {*ROOMS, "tests"}
    assert {source.path for source in ALL} >= {"cython_ext/_hashing.pyx", "cython_ext/_sodium.pxd"}


BREACHES: list[tuple[Rule, str, str]] = [
    (import_law, "state/a.py", "import node.cli"),
    (import_law, "state/a.py", "def f():\n    from consensus import view"),
    (import_law, "state/a.py", "from ..p2p import wire"),
    (import_law, "consensus/a.py", "from state import tables"),
    (import_law, "consensus/a.py", "import state"),
    (import_law, "consensus/a.py", "from state.modules.bank import move"),
    (import_law, "p2p/a.py", "from state.types import Height"),
    (import_law, "cython_ext/a.pyx", "    from state cimport x"),
    (import_law, "node/a.py", "import bench.hash"),
    (banned_modules, "state/a.py", "import os.path"),
    (banned_modules, "state/modules/a.py", "if x:\n    from datetime import date"),
    (banned_modules, "consensus/a.py", "import asyncio"),
    (banned_modules, "state/a.py", "import numpy"),
    (banned_modules, "cython_ext/a.pyx", "import time"),
    (dynamic_code, "p2p/a.py", "importlib.import_module('state')"),
    (dynamic_code, "state/a.py", "open('x')"),
    (pure_arithmetic, "state/a.py", "x = 1.0"),
    (pure_arithmetic, "state/a.py", "x = 1e9"),
    (pure_arithmetic, "consensus/a.py", "x = a / b"),
    (pure_arithmetic, "state/a.py", "x /= 2"),
    (pure_arithmetic, "state/a.py", "x = float(y)"),
    (pure_control, "state/a.py", "async def f(): ..."),
    (pure_control, "consensus/a.py", "x = [y async for y in z]"),
    (pure_control, "state/a.py", "x = hash('a')"),
    (set_order, "state/a.py", "def f(): ...\nfor x in {1, 2}:\n    f(x)"),
    (set_order, "state/a.py", "x = [y for y in set(z)]"),
    (set_order, "state/a.py", "def f(seen: set[int]):\n    return list(seen)"),
    (set_order, "consensus/a.py", "x = frozenset(y)\nz = b''.join(x)"),
    (set_order, "state/a.py", "def g(): ...\nA = frozenset(y)\ndef f():\n    return [*A]"),
    (set_order, "state/a.py", "class A:\n    b: set[int]\n    def f(self):\n        f(*self.b)"),
    (
        set_order,
        "state/a.py",
        "class A:\n    def f(self):\n        self.b = {1}\n        iter(a.b)",
    ),
    (set_order, "state/a.py", "def f(a, b):\n    return list(a.keys() & b)"),
    (leftovers, "node/a.py", "x = 1  # TODO: later"),
    (leftovers, "node/a.py", "x = 1  # type: ignore"),
    (leftovers, "node/a.py", "x = 1  # noqa: E501"),
    (leftovers, "cython_ext/a.pyx", "# FIXME"),
    (leftovers, "tests/a.py", "@pytest.mark.skipif(x)\ndef f(): ..."),
    (leftovers, "tests/a.py", "pytest.xfail()"),
    (leftovers, "node/a.py", "raise NotImplementedError"),
    (machine_paths, "node/a.py", "x = '/{}/me/file'".format("home")),
    (machine_paths, "node/a.py", "x = 1  # see /{}/notes".format("tmp")),
    (swallowed, "node/a.py", "try:\n    f()\nexcept:\n    g()"),
    (swallowed, "node/a.py", "try:\n    f()\nexcept OSError:\n    pass"),
    (swallowed, "node/a.py", "with contextlib.suppress(Exception):\n    f()"),
    (broad_handlers, "node/a.py", "try:\n    f()\nexcept (OSError, Exception):\n    g()"),
    (sizes, "node/a.py", "x = 1\n" * 501),
    (sizes, "node/__init__.py", "x = 1\n" * 41),
    (sizes, "node/a.py", "x = '" + "x" * 96 + "'"),
    (sizes, "node/a.py", "def f():\n" + "    g()\n" * 70),
    (sizes, "cython_ext/a.pyx", "cdef inline int f(int a) nogil:\n" + "    g()\n" * 70),
    (docstrings, "node/a.py", "x = 1"),
    (docstrings, "node/a.py", '"""A."""\nclass A:\n    """A."""\n    def f(self): ...'),
    (docstrings, "cython_ext/a.pyx", '"""A."""\ndef f(int a):\n    return a'),
]


@pytest.mark.parametrize(("rule", "path", "text"), BREACHES)
def test_each_rule_bites(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text)))


def test_no_rule_bites_clean_code() -> None:
    text = (
        '"""A module."""\n\nfrom state.types import Amount\n\n'
        "LIMIT = 10**9\n\n"
        "def half(amount: Amount, seen: set[int]) -> int:\n"
        '    """Half, rounded down."""\n'
        "    for one in sorted(seen):\n        amount -= one in seen\n"
        "    return amount // 2\n"
    )
    for room in PURE_ROOMS:
        for rule in (*RULES, broad_handlers):
            assert not list(rule(Source(f"{room}/clean.py", text)))
    assert {rule for rule, *_ in BREACHES} == {*RULES, broad_handlers}
