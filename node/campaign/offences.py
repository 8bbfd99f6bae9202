"""What nodes hold against each other: no honest node of a campaign may be accused of anything."""

from node.campaign.findings import Findings
from node.campaign.member import Member
from node.home import Home
from node.service import DATABASE_FOLDER
from node.storage.chain_store import ChainStore
from node.storage.kv import LevelDb
from state.finality import offender
from state.modules.staking.records import Standing


async def find_offences(member: Member, findings: Findings) -> None:
    """Find wrong that the state, as a node has it, punished anybody; may raise ClientError."""
    for slash in await member.client.query("staking.slashes"):
        findings.add(
            "campaign.slashed",
            slash.validator.hex(),
            f"Validator {slash.validator.hex()} was slashed for a misbehaviour.",
        )
    for validator in await member.client.query("staking.validators"):
        if validator.standing != Standing.ACTIVE:
            findings.add(
                "campaign.out_of_sets",
                validator.account.hex(),
                f"Validator {validator.account.hex()} is {Standing(validator.standing).name}.",
            )


def find_evidence(member: Member, findings: Findings) -> None:
    """Find wrong that a node, which has been stopped, keeps evidence against anybody."""
    home = Home(member.seat.home)
    store = ChainStore(LevelDb(home.path / DATABASE_FOLDER, create=False), home.genesis())
    try:
        for _, evidence in store.finality.evidence():
            findings.add(
                "campaign.accused",
                f"{offender(evidence)}",
                f"Node {member.index} holds evidence against validator {offender(evidence)}.",
            )
    finally:
        store.close()
