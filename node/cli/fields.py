"""Options of the command line, derived from field types: one option a field, checked like JSON."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click
import msgspec

from node.rpc.errors import InvalidParams
from node.rpc.jsonform import FORMS, FormError
from node.rpc.kinds import Anything, Choice, Leaf, Maybe, Shape
from node.rpc.schema import phrase

RESERVED = ("from", "node", "json", "home", "help", "fee-max", "passphrase-file", "dry-run")
_ADDRESS = "sah1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnp259ge"


@dataclass(frozen=True, slots=True)
class Field:
    """One value that a command takes."""

    name: str
    kind: Any
    required: bool

    @property
    def option(self) -> str:
        """The option's name; a field called like one of the command's own gets a prefix."""
        dashed = self.name.replace("_", "-")
        return f"--field-{dashed}" if dashed in RESERVED else f"--{dashed}"

    @property
    def key(self) -> str:
        """The name under which click hands the text over."""
        return f"field_{self.name}"


def dashed(name: str) -> str:
    """Return a name as commands write it: RegisterModel and register_model -> register-model."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower()


def options(fields: Iterable[Field]) -> list[click.Option]:
    """Return one option a field."""
    return [
        click.Option(
            [field.option, field.key],
            required=field.required,
            help=f"{phrase(FORMS.shape(field.kind))}.",
            metavar=_metavar(FORMS.shape(field.kind)),
        )
        for field in fields
    ]


def values(fields: Iterable[Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return typed values of the options that were given; raises UsageError."""
    return {
        field.name: value(field.option, field.kind, given[field.key])
        for field in fields
        if given.get(field.key) is not None
    }


def value(shown: str, kind: Any, text: str) -> Any:
    """Return the typed value of one text, called `shown` on the command line; raises UsageError."""
    try:
        return FORMS.reader(kind)(as_json(FORMS.shape(kind), text))
    except FormError as error:
        told: InvalidParams = error.located(shown)
        raise click.UsageError(told.sentence) from error


def as_json(shape: Shape, text: str) -> Any:
    """Return the JSON that an option's text stands for: simple kinds as they are, others parsed."""
    match shape:
        case Maybe(inner):
            return as_json(inner, text)
        case Choice():
            return text.lower()
        case Leaf(form) if form not in ("integer", "boolean"):
            return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise FormError(f"expected JSON: {error}") from error


def example(command: str, fields: Iterable[Field]) -> str:
    """Return a command line that shows how the required fields are written."""
    shown = [
        f"{field.option} {_sample(FORMS.shape(field.kind))}" for field in fields if field.required
    ]
    return " ".join(["sahara", command, *shown])


def help_text(summary: str, command: str, fields: Iterable[Field]) -> str:
    """Return a command's help: what it does, and one example."""
    return f"{summary}\n\n\b\nExample:\n  {example(command, fields)}"


def command(
    name: str, help_: str, params: Iterable[click.Parameter], callback: Callable[..., None]
) -> click.Command:
    """Return a command whose callback also carries options added by decorators."""
    own = list(getattr(callback, "__click_params__", []))[::-1]
    return click.Command(name, params=[*params, *own], help=help_, callback=callback)


def _metavar(shape: Shape) -> str:
    match shape:
        case Maybe(inner):
            return _metavar(inner)
        case Choice(enum):
            return "|".join(member.name.lower() for member in enum)
        case Leaf(form):
            return form.upper()
        case _:
            return "JSON"


def _sample(shape: Shape) -> str:
    match shape:
        case Leaf("address"):
            return _ADDRESS
        case Leaf("boolean"):
            return "true"
        case Leaf("integer" | "decimal" | "uint", low):
            return str(max(low or 0, 5))
        case Leaf("text", pattern=None):
            return "TEXT"
        case Leaf("text"):
            return "sahara"
        case Leaf(_, length_max=length):
            return "00" * min(length or 4, 4) + ("..." if length and length > 4 else "")
        case Choice(enum):
            return next(iter(enum)).name.lower()
        case Maybe(inner):
            return _sample(inner)
        case Anything():
            return "JSON"
        case _:
            return "'[...]'"
