"""What a module is: tables, transactions, events, queries, block hooks, genesis and invariants.

A transaction type is written in exactly one place: a class in its module's file. Codec, RPC schema,
command line, reference page, golden vectors and fuzz generators derive from what is registered
here.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from state.codec import Struct
from state.context import BlockContext, TxContext
from state.crypto import SignatureClaim
from state.genesis import Genesis
from state.keys import KeyShape, Part
from state.tables import Table
from state.types import Hash

K = TypeVar("K")
R = TypeVar("R", bound=Struct)
M = TypeVar("M", bound="Message")
F = TypeVar("F", bound=Callable[..., Any])


class Message(Struct):
    """One instruction of a transaction; subclasses are declared with `tag=0xMMNN`.

    MM is the module's number and NN its own: chosen once, never reused, pinned by a golden list.
    """

    WEIGHT: ClassVar[int] = 100
    """Cost of execution in weight units; a unit is about one microsecond."""

    def weight(self) -> int:
        """Return the cost of this message in weight units, known before it is executed."""
        return self.WEIGHT

    def check(self) -> None:
        """Raise Rejected for what no state could make right; the mempool calls this."""

    def claims(self, genesis_hash: Hash) -> list[SignatureClaim]:
        """Return the signatures inside this message, to be verified together with the envelope's.

        So a message names every key it relies on, `apply` only compares those keys with the state,
        and no signature is verified one by one while a block executes.
        """
        return []

    def apply(self, ctx: TxContext) -> None:
        """Check against the state, then write; raise Rejected to change nothing."""
        raise AssertionError(f"{type(self).__name__} does not apply")


@dataclass(frozen=True, slots=True)
class Query:
    """A read-only question: its name, the function that answers it, and the module it asks."""

    name: str
    function: Callable[..., Any]

    @property
    def signature(self) -> inspect.Signature:
        """The parameters behind the context, from which schema and command line derive."""
        return inspect.signature(self.function)


@dataclass(frozen=True, slots=True)
class Invariant:
    """A statement about the whole state; None when it holds, else the sentence that says how not.

    `always` marks the cheap ones, asserted after every block in production.
    """

    name: str
    holds: Callable[[BlockContext], str | None]
    always: bool


@dataclass(slots=True)
class Module:
    """A part of the state machine: everything it declares, in the order of its declaration."""

    name: str
    number: int
    messages: list[type[Message]] = field(default_factory=list)
    tables: list[Table[Any, Any]] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    begin_hooks: list[Callable[[BlockContext], None]] = field(default_factory=list)
    end_hooks: list[Callable[[BlockContext], None]] = field(default_factory=list)
    genesis_hooks: list[Callable[[BlockContext, Genesis], None]] = field(default_factory=list)
    invariants: list[Invariant] = field(default_factory=list)

    def table(self, number: int, name: str, parts: tuple[Part, ...], row: type[R]) -> Table[Any, R]:
        """Declare a table under the prefix (module number, table number)."""
        table: Table[Any, R] = Table(
            bytes((self.number, number)), f"{self.name}.{name}", KeyShape(*parts), row
        )
        assert all(other.prefix != table.prefix for other in self.tables), "prefix is taken"
        self.tables.append(table)
        return table

    def tx(self, message: type[M]) -> type[M]:
        """Register a transaction type; its tag must carry this module's number."""
        tag = message.__struct_config__.tag
        assert isinstance(tag, int), f"{message.__name__} needs a tag"
        assert tag >> 8 == self.number, f"{message.__name__}: the tag is not of module {self.name}"
        assert message.__doc__, f"{message.__name__} needs a docstring"
        assert message.apply is not Message.apply, f"{message.__name__} needs an apply"
        self.messages.append(message)
        return message

    def query(self, function: F) -> F:
        """Register a function (QueryContext, ...) as the RPC method `module.function`."""
        assert function.__doc__, f"{function.__name__} needs a docstring"
        self.queries.append(Query(f"{self.name}.{function.__name__}", function))
        return function

    def begin_block(
        self, function: Callable[[BlockContext], None]
    ) -> Callable[[BlockContext], None]:
        """Register a hook that runs before the transactions of every block."""
        self.begin_hooks.append(function)
        return function

    def end_block(self, function: Callable[[BlockContext], None]) -> Callable[[BlockContext], None]:
        """Register a hook that runs after the transactions of every block."""
        self.end_hooks.append(function)
        return function

    def genesis(
        self, function: Callable[[BlockContext, Genesis], None]
    ) -> Callable[[BlockContext, Genesis], None]:
        """Register a hook that writes this module's first rows from the genesis document."""
        self.genesis_hooks.append(function)
        return function

    def invariant(
        self, *, always: bool
    ) -> Callable[[Callable[[BlockContext], str | None]], Callable[[BlockContext], str | None]]:
        """Register a statement about the state; `always` asserts it in production too."""

        def register(
            function: Callable[[BlockContext], str | None],
        ) -> Callable[[BlockContext], str | None]:
            self.invariants.append(Invariant(f"{self.name}.{function.__name__}", function, always))
            return function

        return register
