"""Deliveries are settled once, and both networks show the same face."""

import inspect

from p2p import MemoryNetwork, Network, SocketNetwork
from p2p.interface import Delivery, Request
from p2p.scores import Verdict
from p2p.topics import Topic


def test_the_first_verdict_counts() -> None:
    said: list[Verdict] = []
    delivery = Delivery(b"P", Topic.BLOCKS, b"x", said.append)
    delivery.settle(Verdict.USELESS)
    delivery.settle(Verdict.USEFUL)
    assert said == [Verdict.USELESS]


def test_an_answer_and_a_refusal_settle() -> None:
    said: list[object] = []
    request = Request(b"P", Topic.SYNC, b"?", said.append, said.append, said.append)
    request.answer(b"!")
    request.refuse("test.late", Verdict.INVALID)
    assert said == [b"!", Verdict.DUPLICATE, "test.late"]


def test_both_networks_have_every_method_with_the_same_arguments() -> None:
    for name, method in inspect.getmembers(Network, inspect.isfunction):
        if not name.startswith("_"):
            for kind in (SocketNetwork, MemoryNetwork):
                assert inspect.signature(getattr(kind, name)) == inspect.signature(method), name
