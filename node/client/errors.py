"""What can go wrong for a client.

ClientError
├── Unreachable     no answer, or none that is JSON-RPC
├── Refused         the node answered with an error; `code` is the node's own
├── WrongNetwork    the node is of another network than the client was pinned to
├── NotFinal        the transaction was not final in time; it may still become so
├── Dropped         the node let the transaction go; it can no longer become final unless sent anew
├── OutcomeNotOk    the transaction is final and failed or was refused
└── ProofInvalid    a proof does not show what it claims
"""

from typing import Any

from state.block import Outcome
from state.types import Hash


class ClientError(Exception):
    """Base of all: a stable `code` and a `sentence`."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class Unreachable(ClientError):
    """No answer came, or none that is JSON-RPC."""

    def __init__(self, sentence: str) -> None:
        super().__init__("client.unreachable", sentence)


class Refused(ClientError):
    """The node answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        data = error.get("data") or {}
        super().__init__(data.get("code", "rpc.error"), error.get("message", ""))
        self.number: int = error.get("code", 0)
        self.path: str | None = data.get("path")


class WrongNetwork(ClientError):
    """The node is of another network than the client was pinned to."""

    def __init__(self, found: Hash, expected: Hash) -> None:
        super().__init__(
            "client.wrong_network",
            f"The node's genesis hash is {found.hex()}, expected {expected.hex()}; use its node.",
        )
        self.found = found
        self.expected = expected


class NotFinal(ClientError):
    """A transaction or block was not final in time; it may still become so."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            "client.not_final", f"{what} was not final after {seconds:g} s; ask again later."
        )


class Dropped(ClientError):
    """The node let the transaction go."""

    def __init__(self, tx_id: Hash, reason: str) -> None:
        super().__init__("client.dropped", f"Transaction {tx_id.hex()} was dropped: {reason}")
        self.tx_id = tx_id
        self.reason = reason


class OutcomeNotOk(ClientError):
    """The transaction is final and failed or was refused; `code` is the outcome's."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.code, outcome.sentence)
        self.outcome = outcome


class ProofInvalid(ClientError):
    """A proof does not show what it claims; the sentence names the step that fails."""

    def __init__(self, sentence: str) -> None:
        super().__init__("client.proof_invalid", sentence)
