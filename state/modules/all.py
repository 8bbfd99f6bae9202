"""The modules of the state machine: one explicit tuple, in the order in which their hooks run."""

from state.context import Event
from state.modules import bank, chain, datasets, futures, index, inference, models, staking
from state.registry import Message, Module

MODULES: tuple[Module, ...] = (
    chain.MODULE,
    bank.MODULE,
    datasets.MODULE,
    models.MODULE,
    inference.MODULE,
    index.MODULE,
    futures.MODULE,
    staking.MODULE,
)

MESSAGES: tuple[type[Message], ...] = tuple(
    message for module in MODULES for message in module.messages
)

EVENTS: tuple[type[Event], ...] = tuple(
    sorted(Event.__subclasses__(), key=lambda event: str(event.__struct_config__.tag))
)
"""Every event that the modules declare, by tag: importing the modules declared them."""

assert len({module.number for module in MODULES}) == len(MODULES), "module numbers are unique"
assert len({message.__struct_config__.tag for message in MESSAGES}) == len(MESSAGES), (
    "a transaction type's tag is its own for ever"
)
assert len({message.__name__ for message in MESSAGES}) == len(MESSAGES), (
    "a transaction type's name is its own, so that clients can name it without its module"
)
