"""Every query and every transaction with any arguments of its types: an answer or a refusal."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.rpc.catalogue import Method, module_methods
from node.rpc.jsonform import FORMS
from state.errors import Rejected
from state.modules.all import MESSAGES
from state.registry import Message
from state.transaction import Body

QUERIES = module_methods()


@pytest.mark.parametrize("method", QUERIES, ids=lambda method: method.name)
def test_queries_answer_or_refuse(method: Method, make_node: Any, values_of: Any) -> None:
    node = make_node()
    write = FORMS.writer(method.result)

    @settings(max_examples=20)
    @given(st.fixed_dictionaries({each.name: values_of(each.kind) for each in method.parameters}))
    def check(arguments: dict[str, Any]) -> None:
        try:
            write(node.query(method.name, arguments))
        except Rejected as error:
            assert error.code != Rejected.code and len(error.sentence) > 10

    check()


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_transactions_succeed_or_are_refused(
    kind: type[Message], make_node: Any, values_of: Any
) -> None:
    node = make_node()
    account = node.accounts[0]

    @settings(max_examples=20)
    @given(values_of(kind))
    def check(message: Message) -> None:
        body = Body(account.address, 1, 100, 10**12, (message,))
        wire, _ = account.sign_body(body, node.genesis.hash)
        try:
            message.check()
            outcome = node.simulate(wire)
        except Rejected as error:
            assert error.code != Rejected.code and len(error.sentence) > 10
        else:
            assert outcome.code != Rejected.code

    check()
