"""What the demo refuses, as sentences with stable codes.

DemoError
 +-- TraceError            one demand trace cannot be used
 |    +-- TraceNotFound    trace.not_found
 |    +-- TraceUnreadable  trace.unreadable
 |    +-- TraceEmpty       trace.empty
 |    +-- TraceTooLong     trace.too_long
 |    +-- BadHeader        trace.bad_header
 |    +-- BadRow           trace.bad_row
 |    +-- BadTraceName     trace.bad_name
 |    +-- DuplicateTrace   trace.duplicate_name
 +-- PlotUnavailable       demo.plot_unavailable
 +-- DemandOverCap         demo.demand_over_cap
 +-- RunError              the run cannot be brought to its end
      +-- StepFailed       demo.step_failed
      +-- MachineTooSlow   demo.machine_too_slow

A node process that dies, stays silent or gets no port raises what node/devnet/errors.py declares.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(eq=False)
class DemoError(Exception):
    """Something the person who runs the demo can put right."""

    code: ClassVar[str] = "demo.error"

    def __str__(self) -> str:
        """The sentence a person reads."""
        return self.sentence()

    def sentence(self) -> str:
        """What happened, what was expected, what to do."""
        return "The demo cannot go on."


@dataclass(eq=False)
class TraceError(DemoError):
    """A demand trace that cannot be used as it is."""

    code: ClassVar[str] = "trace.error"
    file: str


@dataclass(eq=False)
class TraceNotFound(TraceError):
    """No file stands at the given path."""

    code: ClassVar[str] = "trace.not_found"

    def sentence(self) -> str:
        """What happened and what to do."""
        return f"{self.file}: there is no such trace file; check the path given with --trace."


@dataclass(eq=False)
class TraceUnreadable(TraceError):
    """The path exists and the system does not let it be read as a file."""

    code: ClassVar[str] = "trace.unreadable"
    reason: str

    def sentence(self) -> str:
        """What happened and what to do."""
        return (
            f"{self.file}: the trace file cannot be read ({self.reason}); "
            "give --trace a regular file that you may read."
        )


@dataclass(eq=False)
class TraceEmpty(TraceError):
    """The file holds no row that can become a call."""

    code: ClassVar[str] = "trace.empty"
    rows_skipped: int = 0

    def sentence(self) -> str:
        """What happened and what to do."""
        if self.rows_skipped:
            return (
                f"{self.file}: all {self.rows_skipped} rows of the trace are broken; run without "
                "--skip-bad to see what is wrong with the first of them."
            )
        return f"{self.file}: the trace holds no rows; at least one call is needed."


@dataclass(eq=False)
class TraceTooLong(TraceError):
    """The file holds more rows than one demo can carry."""

    code: ClassVar[str] = "trace.too_long"
    rows_max: int

    def sentence(self) -> str:
        """What happened and what to do."""
        return (
            f"{self.file}: the trace holds more than {self.rows_max} rows; "
            "cut it into a shorter one."
        )


@dataclass(eq=False)
class BadHeader(TraceError):
    """The first line belongs to neither trace format."""

    code: ClassVar[str] = "trace.bad_header"
    line: int
    found: str

    def sentence(self) -> str:
        """What happened, what was expected and what to do."""
        return (
            f"{self.file} line {self.line}: {self.found} opens neither trace format; expected the "
            "header TIMESTAMP,ContextTokens,GeneratedTokens or a JSON object with timestamp, "
            "input_length and output_length on every line."
        )


@dataclass(eq=False)
class BadRow(TraceError):
    """One row cannot become a call."""

    code: ClassVar[str] = "trace.bad_row"
    line: int
    problem: str

    def sentence(self) -> str:
        """What happened and what to do."""
        return (
            f"{self.file} line {self.line}: {self.problem}; "
            "correct the row, or pass --skip-bad to go on without it."
        )


@dataclass(eq=False)
class BadTraceName(TraceError):
    """The stem of the file name cannot be the name of a model."""

    code: ClassVar[str] = "trace.bad_name"

    def sentence(self) -> str:
        """What happened and what to do."""
        return (
            f"{self.file}: the model is named after the file, and a model's name is 1 to 64 "
            "characters of text; rename the file."
        )


@dataclass(eq=False)
class DuplicateTrace(TraceError):
    """Two files would give two models one name."""

    code: ClassVar[str] = "trace.duplicate_name"
    other: str

    def sentence(self) -> str:
        """What happened and what to do."""
        return (
            f"{self.file}: the model is named after the file, and {self.other} gives the same "
            "name; rename one of the two files."
        )


@dataclass(eq=False)
class PlotUnavailable(DemoError):
    """The picture needs a library that is not installed."""

    code: ClassVar[str] = "demo.plot_unavailable"

    def sentence(self) -> str:
        """What happened and what to do."""
        return (
            "No picture was drawn because matplotlib is not installed; "
            "install it with: pip install 'sahara-node[plot]'."
        )


@dataclass(eq=False)
class DemandOverCap(DemoError):
    """A trace holds more demand than the futures' price cap lets them settle on."""

    code: ClassVar[str] = "demo.demand_over_cap"
    model: str
    price: int
    cap: int
    reference_min: int
    reference_max: int

    def sentence(self) -> str:
        """What happened, what was expected and what to do."""
        wanted = (
            f"use a --reference-price of at least {self.reference_min}, or a smaller trace"
            if self.reference_min <= self.reference_max
            else f"a --reference-price of more than {self.reference_max} is not to be had: use a "
            "smaller trace"
        )
        return (
            f"The demand for {self.model} comes to {self.price} ticks and the price cap is "
            f"{self.cap}, ten times the reference price; {wanted}."
        )


@dataclass(eq=False)
class RunError(DemoError):
    """The run cannot be brought to its end."""

    code: ClassVar[str] = "demo.run_failed"


@dataclass(eq=False)
class StepFailed(RunError):
    """A transaction of the demo did not succeed."""

    code: ClassVar[str] = "demo.step_failed"
    step: str
    outcome: str
    reason: str

    def sentence(self) -> str:
        """What happened and what to do."""
        return (
            f"The demo failed while {self.step}: {self.outcome}: {self.reason} "
            "Run it again with --keep and look into the node's log in its home."
        )


@dataclass(eq=False)
class MachineTooSlow(RunError):
    """The claims did not get into the window."""

    code: ClassVar[str] = "demo.machine_too_slow"
    found: str

    def sentence(self) -> str:
        """What happened and what to do."""
        return (
            f"The machine is too slow for this pace: {self.found}; give the trace more time with "
            "a smaller --speed, take a shorter trace, or stop what else is running."
        )
