"""Whom to ask: claims, turns, rests, and who is never asked again."""

from node.sync import sources as module
from node.sync.sources import (
    CREDIT_MAX,
    LIE_MS,
    REST_MS,
    REST_MS_MAX,
    SLOW_BYTES_S,
    SLOW_MS,
    STALE_HEIGHTS,
    Sources,
)


def made(*peers: bytes, height: int = 100) -> Sources:
    sources = Sources()
    for peer in peers:
        sources.claimed(peer, 1, height, 0)
    return sources


def test_only_who_claims_enough_is_asked() -> None:
    sources = made(b"a")
    sources.claimed(b"b", 2, 200, 0)
    assert sources.choose(0, 99) in (b"a", b"b")
    assert sources.choose(0, 100) == b"b" and sources.choose(0, 200) is None
    assert sources.claimants(99) == [b"a", b"b"] and sources.claim_of(b"b") == (2, 200)
    sources.claimed(b"b", 1, 50, 0)
    assert sources.choose(0, 100) is None, "the last word counts"
    sources.proved(b"b", 150)
    assert sources.choose(0, 100) == b"b", "what was shown counts more"
    sources.gone(b"b")
    assert sources.choose(0, 100) is None and sources.claim_of(b"b") == (0, 0)


def test_questions_are_spread_and_few_at_a_time() -> None:
    sources = made(b"a", b"b")
    asked = []
    while (peer := sources.choose(0, 0)) is not None:
        sources.asked(peer)
        asked.append(peer)
    assert sorted(asked) == [b"a"] * 3 + [b"b"] * 3
    assert {*asked[:2]} == {b"a", b"b"}
    sources.answered(b"a", 100, 10, 10)
    assert sources.choose(10, 0) == b"a" and sources.choose(10, 0, [b"a"]) is None


def test_the_quick_are_asked_first() -> None:
    sources = made(b"slow", b"quick")
    for peer, took_ms in ((b"slow", 900), (b"quick", 20)):
        sources.asked(peer)
        sources.answered(peer, 100, took_ms, 1_000)
    assert sources.choose(1_000, 0) == b"quick"


def test_who_has_proven_something_comes_before_strangers() -> None:
    """However many they are, and whatever they are called."""
    sources = made(b"z")
    sources.proved(b"z", 50)
    sources.asked(b"z")
    sources.answered(b"z", 100, 900, 900)
    for number in range(40):
        sources.claimed(bytes([number]), 1, 10**9, 900)
    assert sources.choose(900, 0) == b"z" and sources.proven(0, 0) == [b"z"]
    for _ in range(3):
        sources.asked(b"z")
    assert sources.choose(900, 0) not in (b"z", None), "others have what it has no hand free for"
    assert sources.choose(900, 0, is_wary=True) is None, "its turn comes"
    assert sources.choose(900, 0, [b"z"], is_wary=True) is not None, "nobody else has proven any"


def test_who_has_proven_something_may_have_more_than_it_last_said() -> None:
    sources = made(b"z", height=100)
    sources.claimed(b"a", 1, 10**9, 0)
    assert sources.choose(0, 110) == b"a"
    sources.proved(b"z", 90)
    assert sources.choose(0, 110) == b"z" and sources.choose(0, 100 + STALE_HEIGHTS) == b"a"
    sources.proved(b"a", 120)
    assert sources.choose(0, 110) == b"a", "whoever says so comes first"


def test_what_was_proven_is_used_up_by_failures() -> None:
    sources = made(b"a", b"b")
    for _ in range(CREDIT_MAX + 5):
        sources.proved(b"b", 50)
    for number in range(CREDIT_MAX):
        assert sources.proven(0, 0) == [b"b"]
        assert sources.choose(number * 10**5, 0) == b"b"
        sources.asked(b"b")
        sources.failed(b"b", number * 10**5)
    assert not sources.proven(0, 0) and sources.choose(10**6, 0) == b"a"


def test_finalizations_are_asked_for_by_turns_of_the_proven_and_of_the_longest_unasked() -> None:
    sources = made(b"z", b"y", b"x")
    sources.proved(b"x", 90)
    sources.proved(b"y", 80)
    asked: list[bytes] = []
    while (peer := sources.seek(0, 0, asked)) is not None:
        asked.append(peer)
        sources.asked(peer)
    assert asked == [b"x", b"z", b"y"]
    sources.fell_short(b"x", 0)
    assert sources.proven(0, 0) == [b"y"], "its claim is empty"
    assert sources.seek(1, 0, [b"y", b"z"]) is None
    assert sources.seek(REST_MS_MAX, 0, [b"y", b"z"]) == b"x"


def test_nobody_loses_its_turn_to_strangers_who_come_again_under_other_names() -> None:
    sources = made(*[bytes([at]) for at in range(8)], b"honest")
    asked = []
    for number in range(100, 120):
        peer = sources.seek(number, 0)
        assert peer is not None
        asked.append(peer)
        sources.asked(peer)
        sources.gone(peer)
        sources.claimed(bytes([0, number]), 1, 10**9, 0)
    assert asked.index(b"honest") <= 8


def test_failures_give_a_rest_that_grows_and_ends() -> None:
    sources = made(b"a")
    now_ms = 0
    rests = []
    for _ in range(8):
        sources.asked(b"a")
        sources.failed(b"a", now_ms)
        rest_ms = 0
        while sources.choose(now_ms + rest_ms, 0) is None:
            rest_ms += REST_MS
        rests.append(rest_ms)
        now_ms += rest_ms
    assert rests == [500, 1_000, 2_000, 4_000, *[REST_MS_MAX] * 4]
    sources.asked(b"a")
    sources.failed(b"a", now_ms)
    sources.wake()
    assert sources.choose(now_ms, 0) == b"a"


def test_slow_answers_count_as_failures() -> None:
    enough = SLOW_BYTES_S * (SLOW_MS + 1) // 1_000 + 1
    sources = made(b"long", b"short", b"quick")
    for peer, size, took_ms in (
        (b"long", enough, SLOW_MS + 1),
        (b"short", enough // 2, SLOW_MS + 1),
        (b"quick", 1, SLOW_MS),
    ):
        sources.asked(peer)
        sources.answered(peer, size, took_ms, 5_000)
    assert sources.choose(5_000, 0, [b"quick"]) == b"long"
    assert sources.choose(5_000, 0, [b"quick", b"long"]) is None


def test_who_lied_is_not_heard_again_and_all_is_bounded() -> None:
    sources = made(b"liar")
    sources.lied(b"liar", 0)
    sources.claimed(b"liar", 1, 10**9, 0)
    assert sources.choose(0, 0) is None
    for number in range(module.PEERS_MAX + 10):
        sources.claimed(number.to_bytes(32, "big"), 1, 5, 0)
    assert len(sources.claimants(0)) == module.PEERS_MAX
    for number in range(2 * module.PEERS_MAX):
        sources.lied(number.to_bytes(33, "big"), 0)
    assert len(sources._liars) == module.PEERS_MAX


def test_a_lie_is_forgotten_after_its_time_and_not_before() -> None:
    sources = made(b"liar")
    assert sources.lied(b"liar", 1_000) and not sources.lied(b"liar", 9_000), "told once"
    end_ms = 1_000 + LIE_MS
    sources.claimed(b"liar", 1, 100, end_ms - 1)
    assert sources.choose(end_ms - 1, 0) is None
    sources.claimed(b"liar", 1, 100, end_ms)
    assert sources.choose(end_ms, 0) == b"liar"
    assert sources.lied(b"liar", end_ms), "another lie is told again"
    sources.claimed(b"liar", 1, 100, end_ms + LIE_MS - 1)
    assert sources.choose(end_ms + LIE_MS - 1, 0) is None


def test_strangers_are_no_matter() -> None:
    sources = Sources()
    for act in (sources.asked, sources.gone):
        act(b"x")
    sources.failed(b"x", 0)
    sources.answered(b"x", 1, 1, 1)
    sources.proved(b"x", 9)
    assert sources.claimants(-1) == []
