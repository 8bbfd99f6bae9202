"""What happened in the application of a run: transactions, votes and evidence in bodies, justice.

Read from the database of one node, block by block, as the state machine reported it.
"""

from collections import Counter
from functools import reduce
from operator import or_

from node.sim.elections import Elections
from node.sim.full import FullMachine
from node.sim.report import ApplicationRow, SlashRow, TransactionRow
from state.block import Result, Status
from state.codec import Decoder
from state.context import Event
from state.modules.all import EVENTS
from state.modules.staking.events import Jailed, Unjailed, ValidatorCreated
from state.modules.staking.queries import SlashView

_events: Decoder[Event] = Decoder(reduce(or_, EVENTS))


def read_happenings(machine: FullMachine, elections: Elections) -> ApplicationRow:
    """Return what happened in a node's final blocks."""
    tried: Counter[tuple[str, Status]] = Counter()
    late = proofs = 0
    found: list[Event] = []
    for height in range(1, machine.application.head.header.height + 1):
        body, result = machine.store.body(height), machine.store.result(height)
        late += body.late is not None
        proofs += len(body.evidence)
        for wire, outcome in zip(body.transactions, result.outcomes, strict=True):
            tried[(machine.kind_of(wire), outcome.status)] += 1
        found += _events_of(result)
    kinds = sorted({kind for kind, _ in tried})
    return ApplicationRow(
        transactions=[
            TransactionRow(kind, *[tried[(kind, status)] for status in Status]) for kind in kinds
        ],
        late_votes=late,
        evidence=proofs,
        slashed=[_slash_row(view, elections) for view in machine.slashes()],
        created=_who(elections, found, ValidatorCreated),
        jailed=_who(elections, found, Jailed),
        unjailed=_who(elections, found, Unjailed),
        sets=elections.different,
    )


def _events_of(result: Result) -> list[Event]:
    raw = [*result.events, *[event for outcome in result.outcomes for event in outcome.events]]
    return [_events.trusted(bytes(each)) for each in raw]


Entered = ValidatorCreated | Jailed | Unjailed


def _who(elections: Elections, events: list[Event], kind: type[Entered]) -> list[int]:
    """Return the validators of whom such an event tells, in its order."""
    told = [event.validator for event in events if isinstance(event, kind)]
    return [elections.number(account) for account in told]


def _slash_row(view: SlashView, elections: Elections) -> SlashRow:
    number, slash = elections.number(view.validator), view.slash
    return SlashRow(
        validator=number,
        offence=slash.offence,
        epoch=slash.epoch,
        height=slash.height,
        burned=slash.burned,
        byzantine=number in elections.scenario.byzantine,
    )
