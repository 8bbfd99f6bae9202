"""The report of the main job: what it measured and verified, as one JSON document.

Amounts are decimal strings of grains, token counts JSON integers, the index in units, the
settlement price in ticks. The keys of `Report` up to `checks` are a public interface; what
follows them is there to help a reader and may grow.
"""

import msgspec


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """One model: what its calls added up to and what its future settled at."""

    calls: int
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    grains_paid: str
    index: int
    settlement_price: int
    tick_index: int

    settlement_price_expected: int
    """Recomputed from the trace alone."""
    rows_skipped: int = 0
    payment_split: dict[str, str] = {}
    """Grains each kind of recipient got of everything paid."""
    fills: dict[str, int] = {}
    """Lots each role bought and sold."""
    open_interest_lots_max: int = 0
    budget_lots: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole run. It passed when every check holds."""

    models: dict[str, ModelReport]
    pnl: dict[str, str]
    trading_fees: dict[str, str]
    pnl_sum: str
    supply_conserved: bool
    state_root: str
    height: int
    seconds: float
    checks: dict[str, bool]

    failures: dict[str, str] = {}
    """For a check that does not hold: what was found and what was expected."""
    seed: int = 0
    options: dict[str, str] = {}
    accounts: dict[str, str] = {}
    """The address behind each account name of `pnl`."""

    @property
    def passed(self) -> bool:
        """True when there are checks and every one of them holds."""
        return bool(self.checks) and all(self.checks.values())


def report_json(report: Report) -> bytes:
    """The report as indented UTF-8 JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def report_from_json(text: bytes) -> Report:
    """Read a report back; raises msgspec.ValidationError for anything else."""
    return msgspec.json.decode(text, type=Report)
