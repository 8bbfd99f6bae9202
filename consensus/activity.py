"""Who has been silent while a quorum was not: the local hint of R4.

A leader who is known to be away need not be waited for. It is only a hint: it makes a node give a
view up sooner, never later, and says nothing to anybody else.
"""

SILENT_VIEWS_MIN = 3
"""One who was not heard in fewer views may only have been slower than a quorum."""


class Activity:
    """Since when, and through how many views, each validator of an epoch was silent."""

    __slots__ = ("_silent",)

    def __init__(self, validators: int) -> None:
        self._silent: list[tuple[int, int] | None] = [None] * validators

    def heard(self, validator: int) -> None:
        """Note that a validator has sent something, or signed a vote that was not known."""
        self._silent[validator] = None

    def entered(self, now_ms: int) -> None:
        """Note that a view was entered: by a certificate, so a quorum was active."""
        for validator, silent in enumerate(self._silent):
            since_ms, views = (now_ms, 0) if silent is None else silent
            self._silent[validator] = (since_ms, views + 1)

    def is_silent(self, validator: int, now_ms: int, skip_ms: int) -> bool:
        """Tell whether a quorum went on for longer than `skip_ms` without this validator."""
        silent = self._silent[validator]
        return silent is not None and silent[1] > SILENT_VIEWS_MIN and now_ms > silent[0] + skip_ms
