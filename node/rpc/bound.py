"""A method bound to the node that answers it: typed arguments in, a value out, and both counted."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from node.rpc.catalogue import Method
from node.rpc.errors import InvalidParams, InvalidRequest
from node.rpc.jsonform import FORMS, FormError, Reader, Writer


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from, as far as it decides what may be asked."""

    trusted: bool
    """On loopback, or the operator lets everybody call unsafe methods."""

    subscriber: Any = None
    """The subscriber behind a WebSocket; None over HTTP."""


class BoundMethod:
    """A method with its readers and writer, and the function that answers it."""

    __slots__ = (
        "_defaults",
        "_invoke",
        "_readers",
        "_required",
        "failures",
        "is_async",
        "method",
        "successes",
        "write",
    )

    def __init__(self, method: Method, invoke: Callable[..., Any]) -> None:
        self.method = method
        self.is_async = inspect.iscoroutinefunction(method.function)
        self.write: Writer = FORMS.writer(method.result)
        self._invoke = invoke
        self._readers: dict[str, Reader] = {
            each.name: FORMS.reader(each.kind) for each in method.parameters
        }
        self._defaults = {
            each.name: each.default for each in method.parameters if not each.required
        }
        self._required = [each.name for each in method.parameters if each.required]
        self.successes = 0
        self.failures = 0

    def call(self, params: Any, caller: Caller) -> Any:
        """Return what the method answers, as a value; of an asynchronous one, its coroutine."""
        if self.method.per_subscriber:
            return self.method.function(_subscriber(caller), **self.arguments(params))
        return self._invoke(**self.arguments(params))

    def arguments(self, params: Any) -> dict[str, Any]:
        """Return typed arguments; raises InvalidParams."""
        if type(params) is list:
            if len(params) > len(self._readers):
                raise InvalidParams(
                    f"{self.method.name} takes at most {len(self._readers)} parameters.", "params"
                )
            params = dict(zip(self._readers, params, strict=False))
        values = dict(self._defaults)
        for name, data in params.items():
            read = self._readers.get(name)
            if read is None:
                known = ", ".join(self._readers) or "no parameters"
                raise InvalidParams(
                    f"{name}: {self.method.name} has no such parameter; it takes {known}.", name
                )
            try:
                values[name] = read(data)
            except FormError as error:
                raise error.located(name) from error
        for name in self._required:
            if name not in values:
                raise InvalidParams(f"{name}: this parameter is missing.", name)
        return values


def _subscriber(caller: Caller) -> Any:
    if caller.subscriber is None:
        raise InvalidRequest("Subscriptions need a WebSocket; connect to /ws and ask there.")
    return caller.subscriber


class RequestCounts(Collector):
    """The counts of all methods as Prometheus reads them; counting itself is an addition."""

    def __init__(self, methods: dict[str, BoundMethod]) -> None:
        self._methods = methods
        self.unknown = 0
        self.seconds = 0.0

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the counts of now."""
        requests = CounterMetricFamily(
            "sahara_rpc_requests", "RPC requests answered.", labels=["method", "outcome"]
        )
        for name, bound in self._methods.items():
            requests.add_metric([name, "ok"], bound.successes)
            requests.add_metric([name, "error"], bound.failures)
        requests.add_metric(["unknown", "error"], self.unknown)
        yield requests
        yield CounterMetricFamily(
            "sahara_rpc_seconds", "Seconds spent on answering requests.", value=self.seconds
        )
