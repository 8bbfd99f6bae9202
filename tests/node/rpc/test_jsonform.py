"""JSON forms: every registered type goes to JSON and back, and nothing else comes in."""

import json
from enum import Enum
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from node.rpc.catalogue import Method, module_methods, node_methods
from node.rpc.errors import InvalidParams
from node.rpc.jsonform import FORMS, FormError
from state.block import Outcome, Status
from state.codec import Struct, encode
from state.genesis import Genesis
from state.modules.all import EVENTS, MESSAGES, MODULES
from state.modules.bank import Transfer, Transferred
from state.types import U128, Address, Amount, SignedAmount

ROWS = [table.row_type for module in MODULES for table in module.tables]
TYPES = [*MESSAGES, *EVENTS, *dict.fromkeys(ROWS), Genesis, Outcome]
METHODS = [*node_methods(), *module_methods()]

ADDRESS = bytes(range(20))
SHOWN = "sah1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnp259ge"


class Colour(Enum):
    DARK_RED = 1
    BLUE = 2


class Sample(Struct):
    amount: Amount
    signed: SignedAmount
    wide: U128
    address: Address
    raw: bytes
    flag: bool
    colour: Colour
    pair: tuple[int, str]
    many: tuple[Amount, ...]
    maybe: Address | None = None
    small: Annotated[int, Meta(gt=0, lt=10)] = 5


SAMPLE = Sample(
    10**18,
    -5,
    (2**100).to_bytes(16, "big"),
    ADDRESS,
    b"\x00\xff",
    True,
    Colour.DARK_RED,
    (1, "x"),
    (1, 2),
)
SAMPLE_JSON: dict[str, Any] = {
    "amount": "1000000000000000000",
    "signed": "-5",
    "wide": "1267650600228229401496703205376",
    "address": SHOWN,
    "raw": "00ff",
    "flag": True,
    "colour": "dark_red",
    "pair": [1, "x"],
    "many": ["1", "2"],
    "maybe": None,
    "small": 5,
}


def test_the_form_of_each_kind_is_golden() -> None:
    assert FORMS.writer(Sample)(SAMPLE) == SAMPLE_JSON
    assert FORMS.read(Sample, SAMPLE_JSON) == SAMPLE
    left_out = {name: v for name, v in SAMPLE_JSON.items() if name not in ("maybe", "small")}
    assert FORMS.read(Sample, left_out) == SAMPLE


def test_tagged_types_carry_their_name() -> None:
    transfer = Transfer(ADDRESS, 5)
    event = Transferred(ADDRESS, ADDRESS, "sahara", 5)
    outcome = Outcome(bytes(32), Status.OK, "ok", "", 7, 9, (msgspec.Raw(encode(event)),))
    assert FORMS.writer(Transfer)(transfer) == {
        "type": "Transfer",
        "recipient": SHOWN,
        "amount": "5",
        "denom": "sahara",
        "memo": "",
    }
    assert FORMS.writer(Outcome)(outcome) == {
        "tx_id": "00" * 32,
        "status": "ok",
        "code": "ok",
        "sentence": "",
        "fee": "7",
        "weight": 9,
        "events": [
            {
                "type": "bank.transferred",
                "sender": SHOWN,
                "recipient": SHOWN,
                "denom": "sahara",
                "amount": "5",
            }
        ],
    }


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_type_goes_to_json_and_back(kind: Any, values_of: Any) -> None:
    write, read = FORMS.writer(kind), FORMS.reader(kind)

    @settings(max_examples=15)
    @given(values_of(kind))
    def check(value: Any) -> None:
        text = json.dumps(write(value))
        assert encode(read(json.loads(text))) == encode(value)

    check()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_has_forms_for_parameters_and_result(method: Method, values_of: Any) -> None:
    @settings(max_examples=5)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        for kind in [*[each.kind for each in method.parameters], method.result]:
            value = data.draw(values_of(kind))
            read = FORMS.reader(kind)(json.loads(json.dumps(FORMS.writer(kind)(value))))
            assert encode(read) == encode(value)

    check()


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["Transfer", "1", "-0", "01", "00", SHOWN]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "amount", "x", "recipient"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(ANY_JSON, st.sampled_from([*TYPES, Sample]))
def test_other_json_is_refused_and_nothing_else_happens(data: Any, kind: Any) -> None:
    try:
        value = FORMS.reader(kind)(data)
    except FormError as error:
        assert error.sentence
    else:
        assert isinstance(value, kind)


WRONG = [
    ("amount", 5),
    ("amount", "-1"),
    ("amount", "05"),
    ("amount", "+5"),
    ("amount", " 5"),
    ("amount", "5.0"),
    ("amount", "1e3"),
    ("amount", ""),
    ("amount", str(2**63)),
    ("amount", "9" * 10_000),
    ("amount", "\u0665"),
    ("signed", "-0"),
    ("signed", str(-(2**63))),
    ("wide", str(2**128)),
    ("wide", "-1"),
    ("address", SHOWN.upper()),
    ("address", SHOWN[:-1]),
    ("address", "00" * 20),
    ("raw", "0"),
    ("raw", "0X"),
    ("raw", "FF"),
    ("raw", "0x00"),
    ("raw", " 00 "),
    ("raw", 0),
    ("flag", 1),
    ("flag", "true"),
    ("colour", "DARK_RED"),
    ("colour", 1),
    ("pair", [1]),
    ("pair", [1, 2]),
    ("pair", {"0": 1}),
    ("many", ["1", 2]),
    ("many", "12"),
    ("small", 0),
    ("small", 10),
    ("small", 5.0),
    ("small", True),
    ("small", None),
    ("unknown", 1),
    ("type", "Sample"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_members_are_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidParams) as refused:
        FORMS.read(Sample, {**SAMPLE_JSON, name: value}, "body")
    assert refused.value.path.startswith(f"body.{name}")
    assert refused.value.sentence.startswith(f"body.{name}")


@pytest.mark.parametrize("name", [n for n in SAMPLE_JSON if n not in ("maybe", "small")])
def test_missing_members_are_named(name: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        FORMS.read(Sample, {key: v for key, v in SAMPLE_JSON.items() if key != name}, "body")
    assert refused.value.path == f"body.{name}"


def test_types_without_a_form_are_refused_at_once() -> None:
    for kind in (float, dict[str, int], int | str, set[int]):
        with pytest.raises(TypeError):
            FORMS.writer(kind)
