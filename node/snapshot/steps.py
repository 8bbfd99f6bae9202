"""The steps of the chain as far as peers tell them: taken once, for every snapshot that is tried.

They lie on disk, page by page, and whichever snapshot is fetched gets those that lead to its crown.
So a snapshot that comes to nothing costs no second walk, and nobody's word decides how far to go:
the walk ends where nobody proves another step.
"""

import shutil
import threading
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from node.snapshot.folder import DRAFT, SnapshotFolder, steps_name
from node.snapshot.form import STEPS_BYTES_MAX, STEPS_MAX, Step, Steps, paged
from node.snapshot.sources import NoSource, Sources
from node.snapshot.walk import Walk
from node.snapshot.wire import ROOM_BYTES, StepsRequest, steps_answers
from state.codec import encode
from state.errors import Malformed

TIP_SECONDS: Final = 4.0
"""For so long peers have time to tell of a step that nothing has asked for so far."""


class ChainSteps:
    """The walk from genesis on, and its steps."""

    def __init__(self, sources: Sources, walk: Walk, folder: Path) -> None:
        self.walk = walk
        self.reason = ""
        """Why nobody told more, where somebody said."""
        self._sources = sources
        self._draft = SnapshotFolder(folder / f"steps{DRAFT}")
        self._pages = 0
        self._lock = threading.Lock()
        self._brought: dict[bytes, int] = {}
        """Steps in the last answer of each who gave some."""
        self._tried: set[bytes] = set()
        """Who was asked first for once, as others brought less than they were asked for."""
        self._is_brief = False
        """Whether the last answer was such a one."""

    async def reach(self, epoch: int) -> bool:
        """Walk until an epoch is reached; tell whether peers lead there."""
        return await self._walk(lambda: self.walk.epoch >= epoch, None)

    async def reach_tip(self) -> None:
        """Walk as far as peers lead who answer soon."""
        await self._walk(lambda: False, TIP_SECONDS)

    def write(self, draft: SnapshotFolder, count: int) -> None:
        """Give a draft the first steps, and take away whatever pages it had."""
        draft.remove_steps()
        for number, page in enumerate(paged(islice(self._draft.steps(), count))):
            draft.write(steps_name(number), encode(Steps(tuple(page))))

    def remove(self) -> None:
        """Remove the steps from disk."""
        with self._lock:
            shutil.rmtree(self._draft.path, ignore_errors=True)

    async def _walk(self, is_there: Callable[[], bool], seconds: float | None) -> bool:
        while not is_there():
            before = self.walk.epoch
            request = StepsRequest(before, STEPS_MAX)
            asks = [(peer_id, partial(self._ask, peer_id, request)) for peer_id in self._ranked()]
            try:
                await self._sources.first_of(asks, seconds=seconds)
            except NoSource as error:
                self.reason = error.sentence
            if self.walk.epoch == before:  # else what was true of a false answer was taken
                return False
        return True

    def _ranked(self) -> list[bytes]:
        """Return whom to ask: those who bring half of what another does come last, however quick.

        After an answer that was short somebody comes first of whom is not known what it brings.
        """
        usable, brought = self._sources.usable(), self._brought
        most = max(brought.values(), default=0)
        usable.sort(key=lambda peer_id: 2 * brought.get(peer_id, most) <= most)
        if self._is_brief:
            unknown = [one for one in usable if one not in brought and one not in self._tried]
            for peer_id in unknown[:1]:
                self._tried.add(peer_id)
                usable.remove(peer_id)
                usable.insert(0, peer_id)
        return usable

    async def _ask(self, peer_id: bytes, request: StepsRequest) -> None:
        count = await self._sources.ask(peer_id, request, partial(self._take, request))
        self._is_brief = count < request.count
        if count:
            self._brought[peer_id] = count

    def _take(self, request: StepsRequest, data: bytes) -> int:
        """Take the steps of an answer, one by one, and return how many it has.

        An error leaves those before it taken.
        """
        steps = steps_answers.decode(data, bytes_max=STEPS_BYTES_MAX + ROOM_BYTES).steps
        if len(steps) > request.count:
            raise Malformed("The answer has more steps than were asked for; ask another peer.")
        taken: list[Step] = []
        with self._lock:  # another peer's answer may be read beside this one
            known = self.walk.epoch - request.epoch
            try:
                for step in steps[known:]:
                    self.walk.take(step)
                    taken.append(step)
            finally:
                self._keep(taken)
        if not taken and not known:
            raise NoSource(f"Nobody tells how epoch {request.epoch} ended.")
        return len(steps)

    def _keep(self, taken: list[Step]) -> None:
        if not taken:
            return
        if not self._pages:
            self._draft.begin()
        self._draft.write(steps_name(self._pages), encode(Steps(tuple(taken))))
        self._pages += 1
