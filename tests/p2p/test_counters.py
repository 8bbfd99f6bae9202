"""Counters read as plain values."""

import json

from p2p.counters import Counters, count
from p2p.topics import Topic


def test_counters_are_plain_values_by_name() -> None:
    counters = Counters()
    counters.sent_bytes[Topic.BLOCKS] += 5
    count(counters.endings, "p2p.silent")
    count(counters.endings, "p2p.silent")
    plain = json.loads(json.dumps(counters.as_dict()))
    assert plain["sent_bytes"] == {
        **{topic.name.lower(): 0 for topic in Topic},
        "blocks": 5,
    }
    assert plain["endings"] == {"p2p.silent": 2} and plain["frames_sent"] == 0
