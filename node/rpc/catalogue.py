"""Every method by name, with parameters and result as types, apart from any running node.

Server, client, command line and documents all derive from this list.
"""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from node.rpc.methods import NODE_METHODS
from node.rpc.subscriptions import Subscriber
from state.modules.all import MODULES


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named argument of a method and its annotated type; `default` is MISSING when required."""

    name: str
    kind: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether the caller has to give it."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Method:
    """What a method is called, takes and returns, apart from any running node."""

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    result: Any
    function: Callable[..., Any]
    unsafe: bool = False
    per_subscriber: bool = False
    """Whether the function's first argument is the subscriber that calls."""


def method_of(name: str, function: Callable[..., Any], **marks: bool) -> Method:
    """Read a method off a function whose first parameter is the context or the node."""
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return Method(
        name,
        inspect.getdoc(function) or "",
        tuple(Parameter(each.name, hints[each.name], each.default) for each in parameters),
        hints["return"],
        function,
        **marks,
    )


def module_methods() -> list[Method]:
    """Return every query of every module as a method, in the order of their declaration."""
    return [method_of(query.name, query.function) for module in MODULES for query in module.queries]


def node_methods() -> list[Method]:
    """Return the methods of the node itself."""
    return [method_of(name, function) for name, function in NODE_METHODS.items()] + [
        method_of("subscribe", Subscriber.subscribe, per_subscriber=True),
        method_of("unsubscribe", Subscriber.unsubscribe, per_subscriber=True),
    ]
