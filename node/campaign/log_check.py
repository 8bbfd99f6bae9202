"""What the logs of nodes hold that they must not: errors, tracebacks, secrets."""

import re
from collections.abc import Iterable
from pathlib import Path

from node.campaign.findings import Findings
from node.campaign.member import Member
from node.home import NODE_KEY, PASSPHRASE_FILE, VALIDATOR_KEY
from node.keystore import key_path, load_seed, read_passphrase

LINE = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} (\w+) +(.*)$")
BAD_LEVELS = ("error", "critical")
TRACEBACK = "Traceback (most recent call last)"
COUNTED = frozenset({"began with a snapshot"})
"""In order, and yet worth a number: whose disk was lost comes back so, or block by block."""
FIELD = re.compile(r" \w+=.*$")
SHOWN_MAX = 300


def read_logs(members: Iterable[Member], findings: Findings) -> dict[str, int]:
    """Find errors and secrets in all logs; return how often warnings, and what counts, occur."""
    warnings: dict[str, int] = {}
    for member in members:
        text = member.log_file.read_text(errors="replace")
        is_readable = False
        for line in text.splitlines():
            matched = LINE.match(line)
            is_readable |= matched is not None
            if (matched and matched[1] in BAD_LEVELS) or TRACEBACK in line:
                findings.add(
                    "campaign.error_logged",
                    f"{member.index}:{line[12:]}",
                    f"Node {member.index} logged: {line[:SHOWN_MAX]}",
                )
            words = FIELD.sub("", matched[2]) if matched else ""
            if matched and (matched[1] == "warning" or words in COUNTED):
                warnings[words] = warnings.get(words, 0) + 1
        if not is_readable:
            findings.add(
                "campaign.log_unreadable",
                f"{member.index}",
                f"No line of the log of node {member.index} has a time and a level, so nothing in "
                "it was judged.",
            )
        for name, secret in secrets_of(member.seat.home).items():
            if secret in text:
                findings.add(
                    "campaign.secret_logged",
                    f"{member.index}:{name}",
                    f"The {name} of node {member.index} stands in its log.",
                )
    return dict(sorted(warnings.items()))


def secrets_of(home: Path) -> dict[str, str]:
    """Return what of a home must never be told, as it would be written."""
    passphrase = read_passphrase(home / PASSPHRASE_FILE)
    found = {"passphrase": (home / PASSPHRASE_FILE).read_text().strip()}
    for name in (VALIDATOR_KEY, NODE_KEY):
        if key_path(home, name).exists():  # who votes on nothing has no validator's key
            found[f"{name} key"] = load_seed(home, name, passphrase).hex()
    return found
