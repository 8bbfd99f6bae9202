"""The report: its JSON keeps the public keys and types, its screen tells the verdict."""

import json

import msgspec
import pytest
from rich.console import Console

from node.demo.report import ModelReport, Report, report_from_json, report_json
from node.demo.report_table import report_screen, sahara

CONV = ModelReport(
    calls=19_366,
    tokens_in=22_361_870,
    tokens_cached=0,
    tokens_out=4_088_665,
    grains_paid="193582650000",
    index=38_716_530,
    settlement_price=38_716,
    tick_index=1_000,
    settlement_price_expected=38_716,
)
CODE = ModelReport(
    calls=8_819,
    tokens_in=18_059_974,
    tokens_cached=0,
    tokens_out=245_896,
    grains_paid="95217790000",
    index=19_043_558,
    settlement_price=19_043,
    tick_index=1_000,
    settlement_price_expected=19_043,
)
PNL = {
    f"{role}/{model}": str(grains)
    for model in ("azure_llm_2023_conv", "azure_llm_2023_code")
    for role, grains in [
        ("market_maker", 1_500_000_001),
        ("hedging_provider", -2_250_000_000),
        ("compute_buyer", 700_000_000),
        ("speculator", 49_999_999),
    ]
}
CHECKS = dict.fromkeys(
    [
        "settlement_price_recomputed/conv",
        "settlement_price_recomputed/code",
        "receipt_proof/conv",
        "receipt_proof/code",
        "supply_conserved",
        "pnl_sum_zero",
        "payment_split",
        "traded_every_role",
        "both_sides_quoted",
        "oi_within_budget",
    ],
    True,
)


def report(**changes: object) -> Report:
    whole = Report(
        models={"azure_llm_2023_conv": CONV, "azure_llm_2023_code": CODE},
        pnl=PNL,
        trading_fees=dict.fromkeys(PNL, "1200"),
        pnl_sum="0",
        supply_conserved=True,
        state_root="5f" * 32,
        height=131,
        seconds=74.25,
        checks=CHECKS,
        seed=1,
    )
    return msgspec.structs.replace(whole, **changes)


def screen(shown: Report, width: int = 80) -> list[str]:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(report_screen(shown))
    return captured.get().splitlines()


def test_json_has_the_public_keys_with_their_types() -> None:
    found = json.loads(report_json(report()))
    assert list(found)[:9] == [
        "models",
        "pnl",
        "trading_fees",
        "pnl_sum",
        "supply_conserved",
        "state_root",
        "height",
        "seconds",
        "checks",
    ]
    conv = found["models"]["azure_llm_2023_conv"]
    assert {key: conv[key] for key in list(conv)[:8]} == {
        "calls": 19_366,
        "tokens_in": 22_361_870,
        "tokens_cached": 0,
        "tokens_out": 4_088_665,
        "grains_paid": "193582650000",
        "index": 38_716_530,
        "settlement_price": 38_716,
        "tick_index": 1_000,
    }
    assert found["pnl_sum"] == "0"
    assert found["supply_conserved"] is True
    assert all(isinstance(grains, str) for grains in found["pnl"].values())
    assert set(found["checks"].values()) == {True}


def test_json_reads_back_and_a_number_for_an_amount_does_not() -> None:
    text = report_json(report())
    assert text.endswith(b"}\n")
    assert report_from_json(text) == report()
    with pytest.raises(msgspec.ValidationError):
        report_from_json(text.replace(b'"pnl_sum": "0"', b'"pnl_sum": 0'))


def test_one_broken_check_or_none_at_all_is_no_pass() -> None:
    assert report().passed
    assert not report(checks={**CHECKS, "payment_split": False}).passed
    assert not report(checks={}).passed


def test_screen_fits_one_screen_and_names_everything() -> None:
    lines = screen(report())
    assert len(lines) <= 40
    assert max(len(line) for line in lines) <= 80
    text = "\n".join(lines)
    for needle in ("19,366", "193.58265", "38,716,530", "+1.500000001", "-2.250", "✓ both_sides"):
        assert needle in text
    assert lines[-1].startswith("PASSED in 74.2 s: 10 of 10 checks hold, 28,185 paid calls")


def test_screen_of_a_failure_says_what_failed() -> None:
    wrong = msgspec.structs.replace(CODE, settlement_price=19_044)
    failed = report(
        models={"code": wrong},
        checks={**CHECKS, "settlement_price_recomputed/code": False},
        failures={"settlement_price_recomputed/code": "settled at 19,044, expected 19,043"},
    )
    lines = screen(failed)
    text = "\n".join(lines)
    assert "✗ 19,043" in text
    assert "✗ settlement_price_recomputed/code: settled at 19,044" in text
    assert lines[-1].startswith("FAILED")


@pytest.mark.parametrize(
    ("grains", "shown"),
    [
        (0, "0.000"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (1234500000000, "1,234.500"),
        (-2250000000, "-2.250"),
    ],
)
def test_amounts_are_shown_to_the_last_grain(grains: int, shown: str) -> None:
    assert sahara(grains) == shown
