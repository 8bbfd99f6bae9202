"""Frames: whatever a peer seals, the connection takes it or ends with an error of the peer's.

The input is a row of steps in MessagePack. A number lets so many milliseconds pass; bytes are a
frame as it is; a list is a frame made of items whose data is given by its length, or something that
the node itself does meanwhile. All is sealed under the peer's own key, as only the peer can. What
has to become of each item says a ledger, which is kept beside the connection.
"""

from typing import Any, Final

import msgpack

from fuzz.ledger import SILENT_MS, Incoming, Outgoing, Verdict
from fuzz.rows import (
    ASK,
    AT_ONCE,
    HOLD,
    LONGER,
    PIECE_BYTES,
    REFUSE,
    REPEATS_MAX,
    SHORTER,
    WHOLE,
    mutate,
    seeds,
    steps_of,
)
from p2p.channel import Channel
from p2p.connection import (
    TAKEN_TOPICS,
    Answered,
    Connection,
    Departed,
    Failed,
    Received,
    Requested,
    Silent,
    Stalled,
)
from p2p.counters import Counters
from p2p.errors import Breach, FrameForged, QueueFull, RemoteError, RequestFailed
from p2p.handshake import Established
from p2p.limits import POOL_BYTES, Pool
from p2p.topics import LIMITS, MIB, Topic
from p2p.wire import (
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    PIECE_BYTES_MIN,
    Credit,
    Kind,
    More,
    Start,
    decode_frame,
    encode_frame,
)

__all__ = ["check", "mutate", "seeds"]

OURS, THEIRS = b"\x01" * 32, b"\x02" * 32
SEALED_BYTES_MAX: Final = 6 * MIB
"""Of one input: enough for a message longer than any window."""
WAIT_MS_MAX: Final = 40_000
LONGEST_BYTES: Final = 3 * MIB + 1


def check(data: bytes) -> None:
    """Take the steps one after the other, and hold the connection to the ledger."""
    run = _Run()
    for step in steps_of(data):
        if not run.step(step):
            break
    else:
        run.goes_on()
    run.ends()
    _forged(data)


class _Run:
    """A connection, its peer, and the ledgers of both directions."""

    def __init__(self) -> None:
        self.pool, self.queue_pool = Pool(), Pool()
        keys = Established(b"A" * 32, OURS, THEIRS, bytes(32))
        self.connection = Connection(keys, self.pool, Counters(), 0, self.queue_pool)
        self.peer, self.reader = Channel(THEIRS, OURS), Channel(THEIRS, OURS)
        self.incoming, self.outgoing = Incoming(), Outgoing()
        self.now_ms = self.sealed_bytes = self.others_bytes = self.answer_bytes = 0
        self.answered_bytes = self.said = 0
        self.how = AT_ONCE
        self.held: list[Received | Requested] = []
        self.asked: dict[int, int] = {}
        """How often each of our questions was told to have ended."""
        self.ask(Topic.CONSENSUS, 5)
        self.ask(Topic.SYNC, 5)

    def step(self, step: Any) -> bool:
        """Do one step; tell whether the connection goes on."""
        try:
            match step:
                case int(wait_ms):
                    self._wait(abs(wait_ms) % WAIT_MS_MAX)
                case bytes(frame):
                    self.receive(frame)
                case [0, int(repeats), list(items)]:
                    for at in range(min(repeats, REPEATS_MAX)):
                        if at and _is_done(items, self.incoming):
                            break
                        self.receive(_frame(items, self.incoming))
                        self._serve()
                case [1 | 2 as act, int(topic), int(size)] if topic in Topic.__members__.values():
                    self._say(act, Topic(topic), abs(size))
                case [3, int(how), int(size)]:
                    self.how, self.answer_bytes = how % 3, abs(size) % LONGEST_BYTES
                case [4]:
                    self._deal(AT_ONCE)
                case [5, int(mib)]:
                    self._others(abs(mib) % 160 * MIB)
            self._serve()
        except RemoteError as error:
            assert error.code.startswith("p2p.") and error.sentence.endswith("."), error
            return False
        return True

    # --- what the peer does -----------------------------------------------------------------------

    def receive(self, frame: bytes) -> None:
        """Take a frame if the ledger does; raises the Breach that the ledger demands."""
        self.sealed_bytes += len(frame)
        if self.sealed_bytes > SEALED_BYTES_MAX:
            return
        verdicts = self._judged(frame)
        try:
            self.connection.receive_data(self.peer.seal(frame), self.now_ms)
        except Breach:
            assert verdicts != {Verdict.TAKEN}, "what was allowed is refused"
            raise
        assert Verdict.REFUSED not in verdicts, "what is forbidden is taken"
        self._told()

    def _judged(self, frame: bytes) -> set[Verdict]:
        """What has to become of the frame's items, up to the first that ends the connection."""
        self.incoming.fresh.clear()
        try:
            items = decode_frame(frame)
        except Breach:
            return {Verdict.REFUSED}
        assert 0 < len(items) <= FRAME_ITEMS_MAX
        assert encode_frame(list(items)) == frame, "it has one form only"
        self.incoming.heard_ms = self.now_ms
        found = {Verdict.TAKEN}
        for item in items:
            if isinstance(item, Credit):
                self.outgoing.credit(item)
            found.add(self.incoming.judge(item, self.now_ms))
            if Verdict.REFUSED in found:
                break
        return found

    def _told(self) -> None:
        """Deal with what happened, and see that it is what the ledger knows of."""
        fresh = list(self.incoming.fresh)
        self.incoming.fresh.clear()
        while (event := self.connection.next_event()) is not None:
            match event:
                case Received(topic, data):
                    assert len(data) <= LIMITS[topic].message_bytes_max
                    self.held.append(event)
                case Requested(topic, number, data):
                    fresh.remove((topic, number, len(data)))
                    self.incoming.open.add((topic, number))
                    self.held.append(event)
                case Answered(_, number, _) | Failed(_, number, _):
                    self.asked[number] += 1
                    self.incoming.asked.pop(number, None)
                case Departed():
                    pass
        for topic, number, size in fresh:  # refused at once: too many, or too much was served
            is_full = len(self.incoming.open) == REPEATS_MAX
            assert is_full or self.answered_bytes, "a request is refused for nothing"
            self.incoming.settle(topic, size)
            self.outgoing.queued[topic].append((Kind.REFUSAL, number, b"p2p.busy"))
        if self.how != HOLD:
            self._deal(self.how)

    # --- what the node does -----------------------------------------------------------------------

    def ask(self, topic: Topic, size: int) -> None:
        """Ask the peer something."""
        data = self._data(size)
        try:
            number = self.connection.request(topic, data, 5_000, self.now_ms)
        except (RequestFailed, QueueFull):
            return
        self.outgoing.queued[topic].append((Kind.REQUEST, number, data))
        self.incoming.asked[number] = (topic, self.now_ms + 5_000)
        self.incoming.numbers = number
        self.asked[number] = 0

    def _say(self, act: int, topic: Topic, size: int) -> None:
        size = min(size % LONGEST_BYTES, LIMITS[topic].message_bytes_max)
        if act == ASK:
            self.ask(topic, size)
            return
        data = self._data(size)
        if self.connection.notice(topic, data):
            self.outgoing.queued[topic].append((Kind.NOTICE, 0, data))

    def _data(self, size: int) -> bytes:
        """Something to say that is unlike the last."""
        self.said += 1
        return bytes([self.said % 256]) * size

    def _deal(self, how: int) -> None:
        for event in self.held:
            size, topic = len(event.data), event.topic
            if isinstance(event, Requested):
                self.incoming.open.discard((topic, event.request_id))
                self._answer(event, how)
            self.connection.settle(topic, size)
            self.incoming.settle(topic, size)
        self.held.clear()

    def _answer(self, event: Requested, how: int) -> None:
        topic, number, queued = event.topic, event.request_id, self.outgoing.queued[event.topic]
        if how == REFUSE:
            self.connection.refuse(topic, number, "chain.unknown")
            queued.append((Kind.REFUSAL, number, b"chain.unknown"))
            return
        data = self._data(min(self.answer_bytes, LIMITS[topic].message_bytes_max))
        self.answered_bytes += len(data)
        if not self.connection.answer(topic, number, data, self.now_ms):
            _, messages = self.connection.queued(topic)
            assert messages == LIMITS[topic].queue_messages_max, "there is room for a refusal"
        queued += [(Kind.RESPONSE, number, data), (Kind.REFUSAL, number, b"p2p.busy")]

    def _others(self, size: int) -> None:
        """Let other connections hold so much of the pool instead of what they held."""
        self.pool.release(self.others_bytes)
        self.others_bytes = size if self.pool.reserve(size) else 0

    def _wait(self, wait_ms: int) -> None:
        self.now_ms += wait_ms
        now_ms, incoming = self.now_ms, self.incoming
        is_untaken = any(self.connection.queued(topic)[1] for topic in TAKEN_TOPICS)
        is_silent = now_ms - incoming.heard_ms >= SILENT_MS
        try:
            self.connection.poll(now_ms)
        except Stalled:
            assert incoming.is_stalled(now_ms) or is_untaken, "nothing is too late"
            raise
        except Silent:
            assert is_silent, "the peer was heard"
            raise
        assert not incoming.is_stalled(now_ms), "a message may take for ever"
        assert not is_silent, "a silent peer may stay for ever"
        self._told()
        assert all(now_ms < until_ms for _, until_ms in incoming.asked.values()), "no answer comes"

    def _serve(self) -> None:
        """Read every frame that goes out, and see that both ledgers hold."""
        self._told()
        while (sealed := self.connection.data_to_send(self.now_ms)) is not None:
            frame = self.reader.open(sealed)
            assert len(frame) <= FRAME_BYTES_MAX
            for item in decode_frame(frame):
                match item:
                    case Start() | More():
                        self.outgoing.take(item)
                    case Credit():
                        self.incoming.grant(item)
        self.incoming.holds(self.now_ms)
        assert self.connection.held_bytes == sum(self.incoming.held_bytes.values())
        reserved, unfinished = self._reserved, self.incoming.unfinished_bytes
        assert reserved <= unfinished, "more is reserved than is unfinished"
        if self.others_bytes + unfinished <= POOL_BYTES:
            assert reserved == unfinished, "there is room, and it is not reserved"
        waiting = 0
        for topic, limits in LIMITS.items():
            size, messages = self.connection.queued(topic)
            _, sent = self.outgoing.begun.get(topic, (None, b""))
            waiting += max(0, size + len(sent) - limits.window_bytes)
            assert size <= limits.queue_bytes_max and messages <= limits.queue_messages_max
            self.outgoing.waits(topic, messages)
        assert self.queue_pool.held_bytes == waiting, "what waits is reserved, and nothing else"

    @property
    def _reserved(self) -> int:
        return self.pool.held_bytes - self.others_bytes

    # --- the end ----------------------------------------------------------------------------------

    def goes_on(self) -> None:
        """Whatever came, leave comes back, and an honest message gets through."""
        self._deal(AT_ONCE)
        for _ in range(10):
            self.now_ms += 1_000
            self._serve()
        free = [topic for topic in LIMITS if topic not in self.incoming.begun]
        for topic in free:
            window, messages = LIMITS[topic].window_bytes, LIMITS[topic].window_messages
            assert 4 * self.incoming.leave_bytes[topic] >= 3 * window, "no leave comes back"
            assert 4 * self.incoming.leave_messages[topic] >= 3 * messages, "no leave comes back"
        self.how, self.sealed_bytes = HOLD, 0
        if free:
            self.receive(encode_frame([Start(topic, Kind.NOTICE, 0, 3, b"yes") for topic in free]))
        assert [(one.topic, one.data) for one in self.held] == [(topic, b"yes") for topic in free]

    def ends(self) -> None:
        """What was reserved is given back, and every question of ours has ended once."""
        self.connection.close("p2p.stopped")
        assert self._reserved == 0, "what was reserved is given back"
        assert self.queue_pool.held_bytes == 0, "nothing waits any more"
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, Answered | Failed):
                self.asked[event.request_id] += 1
        assert set(self.asked.values()) <= {1}, "each question ends once"


def _frame(items: list[Any], incoming: Incoming) -> bytes:
    """Return the frame of these items, whose data may be given by its length."""
    left = {topic.value: incoming.left(topic) for topic in LIMITS}
    leave = {topic.value: incoming.leave_bytes[topic] for topic in LIMITS}
    made = []
    for item in items[:FRAME_ITEMS_MAX]:
        match item:
            case [0, int(topic), kind, number, int(total), int(size)]:
                made.append(
                    [0, topic, kind, number, total, _piece(size, total, leave.get(topic, 0))]
                )
                if topic in left:
                    left[topic] = total - len(made[-1][5])
                    leave[topic] -= len(made[-1][5])
            case [1, int(topic), int(size)]:
                made.append([1, topic, _piece(size, left.get(topic, 0), leave.get(topic, 0))])
                if topic in left:
                    left[topic] -= len(made[-1][2])
                    leave[topic] -= len(made[-1][2])
            case _:
                made.append(item)
    try:
        return bytes(msgpack.packb(made, use_bin_type=True))
    except (ValueError, TypeError, OverflowError):
        return b"\x90"


def _is_done(items: list[Any], incoming: Incoming) -> bool:
    """Whether an honest peer would send no such piece now: none is missing, or it has no leave."""
    match items:
        case [[1, int(topic), -1]] if topic in Topic.__members__.values():
            left, leave = incoming.left(topic), incoming.leave_bytes[Topic(topic)]
            return not left or leave < min(left, PIECE_BYTES_MIN)
    return False


def _piece(size: int, left: int, leave: int) -> bytes:
    left = max(0, left)
    sizes = {WHOLE: min(left, PIECE_BYTES, leave), LONGER: left + 1, SHORTER: left - 1}
    return bytes(max(0, min(sizes.get(size, size), FRAME_BYTES_MAX)))


def _forged(data: bytes) -> None:
    """Bytes that nobody sealed never open, and nobody is to blame for them."""
    try:
        Channel(OURS, THEIRS).open(data)
    except FrameForged as error:
        assert not error.is_provable
    else:
        raise AssertionError("a frame opened that nobody sealed")
